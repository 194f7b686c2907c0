"""Two stock kernels on one network, and the host behind it: what each reaches, what it does not, and what is left.

The guests and the network's process are shared by the tests.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.guests.net_host import services, tools
from tests.guests.shell import LIMIT, Shell
from tests.guests.stock import program
from tests.long import amount
from xenia.abi.xenbus import XenbusState
from xenia.toolstack.config.forward import Forward
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.config.net import parse_card
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.networks import named
from xenia.toolstack.provision.packages import PackageClient

pytestmark = [
    pytest.mark.guest,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"),
]
NETWORK = "lab"
HOST = "host.xenia.internal"
BYTES = amount(1 << 30, 16 * MIB)  # over HTTP
SHORT = amount(10000, 1500)  # connections, one after another
PROGRAMS = Path(__file__).with_name("net")
DATA = b"A frame is taken, or dropped and counted. "
LINES, DOUBLED = 1024, 7  # in a guest it is quicker to copy a file than to write words
BLOCK = (DATA + b"\n") * (LINES << DOUBLED)
SITE = f"""\
mkdir -p /www/cgi-bin; yes '{DATA.decode()}' | head -n {LINES} > /www/lines
for doubled in $(seq {DOUBLED}); do cat /www/lines /www/lines > /www/both; mv /www/both /www/lines; done
cat > /www/cgi-bin/data << 'END'
#!/bin/sh
printf 'Content-Type: application/octet-stream\\r\\n\\r\\n'
for block in $(seq $QUERY_STRING); do cat /www/lines; done
END
chmod 755 /www/cgi-bin/data; httpd -h /www"""


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    with services() as ports:
        yield ports


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        named.create(NETWORK, subnet="10.0.2.0/24", hosts=[ports[name] for name in ("echo", "word", "sink", "deaf")])
        yield NETWORK
        named.delete(NETWORK, force=True)


@pytest.fixture(scope="module")
def machine(network: str) -> Iterator[Machine]:
    with Machine(Machine.memory_for(*[128 * MIB] * 3)) as machine:
        free = machine.free_memory
        yield machine
    assert machine.free_memory == free


def guest_on(machine: Machine, name: str) -> Shell:
    """A guest on its way up, with a card on the network."""
    files = {"/bin/connections": program("connections", PROGRAMS), **tools("iperf3", "iperf3")}
    files |= tools("dropbear-bin", "dropbear", "dropbearkey", "dbclient")
    shell = Shell(machine, name, ("xen-netfront",), files=files)
    shell.domain.attach(parse_card(f"bridge={NETWORK}").for_guest(name, 0))
    shell.domain.start()
    return shell


@pytest.fixture(scope="module")
def guests(machine: Machine) -> Iterator[tuple[Shell, Shell]]:
    both = guest_on(machine, "alpha"), guest_on(machine, "beta")
    for guest in both:
        guest.do("true")
    yield both
    for guest in both:
        guest.domain.handle.stop()
        assert guest.domain.handle.audit() == []


@pytest.fixture(scope="module")
def alpha(guests: tuple[Shell, Shell]) -> Shell:
    return guests[0]


@pytest.fixture(scope="module")
def beta(guests: tuple[Shell, Shell]) -> Shell:
    return guests[1]


def until(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells of."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def number(guest: Shell, path: str) -> int:
    return int(guest.do(f"cat {path}"))


def held() -> tuple[int, int, int]:
    """Descriptors, threads and KiB of the network's process."""
    process = Path(f"/proc/{named.show(NETWORK)['pid']}")
    words = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return len(list((process / "fd").iterdir())), int(words["Threads"]), int(words["VmRSS"].split()[0])


def test_guests_come_up_with_addresses_routes_and_names_and_reach_each_other(alpha: Shell, beta: Shell) -> None:
    for guest, other in ((alpha, "beta"), (beta, "alpha")):
        assert guest.do("ip -4 route | grep -c ^default; ip -6 route | grep -c ^default") == "1\n1\n"
        assert "10.0.2.2" in guest.do(f"nslookup {HOST}")
        guest.do(f"ping -c 2 -W 5 {other} && ping -c 1 -W 5 10.0.2.2")
    address = beta.do("ip -6 addr show dev eth0 scope global").split("inet6 ")[1].split("/")[0]
    alpha.do(f"ping6 -c 1 -W 5 {address}")


def test_a_file_over_http_from_guest_to_guest_has_its_checksum_and_a_third_sees_nothing_of_it(
    machine: Machine, alpha: Shell, beta: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.guests.shell.LIMIT", max(LIMIT, BYTES // MIB))
    third = guest_on(machine, "gamma")
    third.do("ip link set eth0 promisc on")
    alpha.do(SITE)
    before = number(third, "/sys/class/net/eth0/statistics/rx_packets")
    blocks = -(-BYTES // len(BLOCK))
    heard = beta.do(f"wget -q -O - 'http://alpha/cgi-bin/data?{blocks}' | md5sum").split()[0]
    seen = number(third, "/sys/class/net/eth0/statistics/rx_packets") - before
    digest = hashlib.md5(usedforsecurity=False)  # a third of SHA-256's time in a guest
    for _ in range(blocks):
        digest.update(BLOCK)
    assert heard == digest.hexdigest()
    assert seen < 100  # broadcasts
    third.domain.destroy()
    until(lambda: "gamma" not in [port["name"] for port in named.show(NETWORK)["ports"]])


def test_at_a_mirror_port_a_guest_sees_what_passes_between_two_others_and_at_a_plain_port_it_does_not(
    machine: Machine, alpha: Shell, beta: Shell
) -> None:
    third = Shell(machine, "delta", ("xen-netfront",), files=tools("tcpdump", "tcpdump"))
    third.domain.start()
    for index, words in enumerate(("", ",mirror=on")):  # eth0, and eth1 when that is there
        third.domain.attach(parse_card(f"bridge={NETWORK}{words}").for_guest("delta", index))
        third.do(f"until ip link set eth{index} up promisc on; do sleep 0.05; done 2> /dev/null")
    beta.do("ping -4 -c 1 -W 5 alpha")  # the switch knows both
    for card in ("eth0", "eth1"):
        third.do(f"/tools/tcpdump -Z root -i {card} -nl 'icmp or arp' > /tmp/{card} 2> /tmp/said-{card} < /dev/null &")
        third.do(f"until grep -q listening /tmp/said-{card}; do sleep 0.05; done")
    beta.do("ping -4 -c 20 -i 0.02 -W 5 -s 77 alpha")  # of a length that no others have
    beta.run("arping -c 1 -w 1 -I eth0 10.0.2.200")  # for everybody, after all else
    for card, seen in (("eth0", 0), ("eth1", 20)):
        third.do(f"until grep -q 'who-has 10.0.2.200' /tmp/{card}; do sleep 0.05; done")
        for what in ("request", "reply"):
            assert third.run(f"grep -c 'ICMP echo {what}.* length 85' /tmp/{card}")[1] == f"{seen}\n"
    lease = "udhcpc -n -q -s /bin/true -T 1"
    third.do(f"{lease} -i eth0 -t 30")
    assert third.run(f"{lease} -i eth1 -t 1")[0] != 0  # nothing that it sends is heard
    third.domain.destroy()
    until(lambda: "delta" not in {port["name"].split("/")[0] for port in named.show(NETWORK)["ports"]})


def test_iperf3_and_ssh_run_from_guest_to_guest(alpha: Shell, beta: Shell) -> None:
    alpha.do("iperf3 -v > /dev/null 2>&1; /tools/iperf3 -s -D")
    assert "receiver" in beta.do("until /tools/iperf3 -c alpha -n 8M -P 2; do sleep 0.1; done")
    assert "receiver" in beta.do("/tools/iperf3 -c alpha -u -b 20M -t 1")
    key = beta.do("mkdir -p /root/.ssh; /tools/dropbearkey -t ed25519 -f /root/.ssh/id > /tmp/key; grep ^ssh- /tmp/key")
    alpha.do(f"mkdir -p /root/.ssh /etc/dropbear; echo '{key.strip()}' > /root/.ssh/authorized_keys")
    alpha.do("chmod 700 /root /root/.ssh; /tools/dropbear -R -E > /tmp/log 2>&1")
    assert beta.do("/tools/dbclient -y -i /root/.ssh/id root@alpha hostname 2>/dev/null") == "alpha\n"


def test_of_the_host_a_guest_reaches_what_was_named_by_ipv4_and_ipv6_and_nothing_else(
    alpha: Shell, ports: dict[str, int]
) -> None:
    gateway6 = named.show(NETWORK)["gateway6"]
    for address in (HOST, gateway6):
        assert alpha.do(f"echo hello | nc -w 10 {address} {ports['echo']}") == "hello\n"
    assert alpha.do(f"nc -w 10 {HOST} {ports['word']}") == "word"
    own = [one[4][0] for one in socket.getaddrinfo(socket.gethostname(), None, proto=socket.IPPROTO_TCP)]
    for address in (HOST, gateway6, *own):
        assert "word" not in alpha.run(f"nc -w 2 {address} {ports['secret']}")[1]
    alpha.do(f"connections datagram {named.show(NETWORK)['gateway']} {ports['echo']} 20")


def test_what_comes_for_a_guest_does_not_wake_who_waits_for_its_end(alpha: Shell) -> None:
    waits = [thread.native_id for thread in threading.enumerate() if thread.name == f"d{alpha.domain.domid}"]
    assert waits

    def woken() -> int:
        told = [Path(f"/proc/self/task/{thread}/status").read_text() for thread in waits]
        return sum(int(one.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for one in told)

    before = woken()
    alpha.do("ping -4 -c 200 -i 0.005 -W 5 10.0.2.2")
    assert woken() - before < 20


def test_a_port_of_the_host_leads_to_a_guest(beta: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    named.forward(NETWORK, Forward(port, 2000), to="beta")
    serving = beta.begin("nc -l -p 2000 > /tmp/got; cat /tmp/got")
    until(lambda: _said(port, b"over the forward\n"))
    assert beta.finish(serving) == (0, "over the forward\n")


def _said(port: int, text: bytes) -> bool:
    """Whether somebody took it, who may not listen yet."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as connection:
        try:
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(1) == b""
        except OSError:
            return False


def test_connections_of_all_kinds_leave_nothing_behind(alpha: Shell, ports: dict[str, int]) -> None:
    about = named.show(NETWORK)
    gateway, gateway6 = about["gateway"], about["gateway6"]

    def short(count: int) -> int:
        """Many, and how much memory is held then."""
        alpha.do(f"connections short {gateway} {ports['echo']} {count}")
        until(lambda: held()[0] <= descriptors)
        return held()[2]

    descriptors, threads, _ = held()
    memory = short(1000)  # what is kept for the next ones is there
    assert short(SHORT) - memory < 4096
    alpha.do(f"connections parallel {gateway} {ports['echo']} 200")
    alpha.do(f"connections parallel {gateway6} {ports['echo']} 50")
    alpha.do(f"connections reset {gateway} {ports['echo']} 100")
    alpha.do(f"connections lost {gateway} {ports['deaf']}")
    alpha.do(f"connections served {gateway} {ports['word']} 400")
    until(lambda: held()[0] <= descriptors)  # those that the host closed first are kept for a few seconds
    assert held()[1] == threads


def test_a_guest_that_is_killed_in_the_middle_leaves_no_port_and_its_neighbours_go_on(
    machine: Machine, alpha: Shell, ports: dict[str, int]
) -> None:
    threads, free = held()[1], machine.free_memory
    mortal = guest_on(machine, "mortal")
    mortal.do("true")
    card = mortal.domain.devices[0]
    assert card.wait(XenbusState.CONNECTED, LIMIT)
    mortal.do(f"for i in 1 2 3 4; do nc {HOST} {ports['sink']} < /dev/zero > /dev/null & done")
    until(lambda: number(mortal, "/sys/class/net/eth0/statistics/tx_packets") > 1000)
    mortal.domain.destroy()
    until(lambda: "mortal" not in [port["name"] for port in named.show(NETWORK)["ports"]])
    assert held()[1] == threads and machine.free_memory == free
    assert alpha.do(f"nc -w 10 {HOST} {ports['word']}") == "word"
