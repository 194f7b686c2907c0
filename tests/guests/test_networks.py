"""Stock guests on networks: those that a program makes, and those that `xenia run` and `xenia net` make."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import select
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP
from scapy.utils import PcapNgReader

from tests.guests.net_host import services
from tests.guests.shell import Shell
from xenia import ConfigError, Machine
from xenia.testing.guests import linux

SOURCE = Path(__file__).parents[2] / "src"
MIB = 1 << 20
LIMIT = 120.0
SIZE = 128 * MIB
XENIA = [sys.executable, "-m", "xenia"]


class Output:
    """What a guest says."""

    def __init__(self) -> None:
        self._said = b""
        self._changed = threading.Condition()

    def __call__(self, data: bytes) -> None:
        with self._changed:
            self._said += data
            self._changed.notify_all()

    def expect(self, pattern: bytes) -> re.Match[bytes]:
        """Wait until it has said that."""
        with self._changed:
            assert self._changed.wait_for(lambda: re.search(pattern, self._said), LIMIT), self._said
        found = re.search(pattern, self._said)
        assert found is not None
        return found


def test_guests_of_one_machine_reach_each_other_over_its_network_and_one_that_leaves_is_gone() -> None:
    said = Output()
    with Machine(Machine.memory_for(SIZE, SIZE)) as machine:
        network = machine.create_network("lan", nat=False)
        listens = linux(machine, "ip addr add 10.9.0.1/24 dev eth0; while :; do nc -l -p 7 -e cat; done",
                        name="a", memory=SIZE)  # fmt: skip
        asks = linux(
            machine,
            "ip addr add 10.9.0.2/24 dev eth0; until echo hello you | nc -w 2 10.9.0.1 7; do :; done; "
            "echo all said; read line; ping -c 1 -W 1 10.9.0.1 || echo nobody there",
            name="b", memory=SIZE, console=said,
        )  # fmt: skip
        cards = [domain.attach_vif(network, mtu=9000) for domain in (listens, asks)]
        assert len({card.mac for card in cards}) == 2
        with pytest.raises(ConfigError, match="there is a network card with the MAC"):
            asks.attach_vif(network, mac=cards[0].mac)
        listens.start()
        asks.start()
        said.expect(b"hello you\r\nall said")
        assert {address.mac for address in network.bridge.addresses()} == {card.mac for card in cards}
        assert cards[0].unplug(LIMIT)
        assert [address.mac for address in network.bridge.addresses()] == [cards[1].mac]
        asks.console.send(b"\n")
        said.expect(b"nobody there")
        with pytest.raises(ConfigError, match="the network 'lan' has no way out"):
            network.forward("2222:22")
    with pytest.raises(ConfigError, match="the network 'lan' is closed"):
        network.cable(cards[0].config)


def children() -> int:
    """Processes that this one started and has not waited for."""
    return sum(len((task / "children").read_text().split()) for task in Path("/proc/self/task").iterdir())


def held() -> tuple[int, int, int]:
    """Descriptors, threads and processes."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), children()


def test_guests_of_one_machine_know_each_other_and_the_world_until_its_network_is_closed() -> None:
    with services() as ports, Machine(Machine.memory_for(SIZE, SIZE)) as machine:
        network = machine.create_network("lan", hosts=[ports["word"], ports["sink"]])
        alpha, beta = (Shell(machine, name, ("xen-netfront",)) for name in ("alpha", "beta"))
        cards = [guest.domain.attach_vif(network) for guest in (alpha, beta)]
        assert network.outside is not None
        leases = {lease["name"]: lease["ip"] for lease in network.outside.show()["leases"]}
        for guest in (alpha, beta):
            guest.domain.start()
        for guest, name, other in ((alpha, "alpha", "beta"), (beta, "beta", "alpha")):
            assert f"inet {leases[name]}/24" in guest.do("ip -4 -o addr show eth0")
            guest.do(f"ping -c 1 -W 5 {other} && ping -c 1 -W 5 {other}.xenia.internal")
        assert alpha.do(f"nc -w 10 host.xenia.internal {ports['word']}") == "word"
        assert "refused" in alpha.run(f"nc -w 10 host.xenia.internal {ports['secret']}")[1]
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        assert network.forward(f"{port}:2000", to="beta")["to"] == leases["beta"]
        beta.do("echo over the forward > /tmp/word; nc -ll -p 2000 -e cat /tmp/word &")
        alpha.do("until nc -w 5 beta 2000 | grep -q forward; do :; done")
        with socket.create_connection(("127.0.0.1", port), LIMIT) as connection:
            assert connection.makefile().readline() == "over the forward\n"
        alpha.run("ip addr add 10.0.2.77/24 dev eth0; ping -c 1 -W 1 -I 10.0.2.77 beta")
        assert cards[0].cable.layers[1]["dropped"]["out"]["ipv4"] >= 1
        alpha.do(f"nc host.xenia.internal {ports['sink']} < /dev/zero > /dev/null &")
        alpha.do("until [ $(cat /sys/class/net/eth0/statistics/tx_packets) -gt 500 ]; do :; done")
        process = network.outside.client.process
        network.close()
        assert process is not None and process.returncode is not None  # it has ended, and was waited for
        assert network.bridge.ports == []
        assert [card.statistics["carrier"] for card in cards] == [False, False]
        assert beta.run(f"ping -c 1 -W 1 {leases['alpha']}")[0] != 0
        beta.domain.destroy()
        alpha.domain.destroy()


def test_networks_of_a_program_that_come_and_go_leave_nothing() -> None:
    with Machine(Machine.memory_for(SIZE)) as machine:
        machine.create_network("first").close()
        before = held()
        for number in range(10):
            network = machine.create_network(f"net{number}", hosts=[1])
            assert children() == before[2] + 1
            network.close()
            network.close()
        assert held() == before
        with pytest.raises(ConfigError, match="no way out"):
            machine.create_network("closed", nat=False, hosts=[1])
        assert held() == before


def test_a_card_that_is_plugged_into_a_guest_that_began_without_one_gets_an_address_each_time() -> None:
    with Machine(Machine.memory_for(SIZE)) as machine:
        guest = Shell(machine, "web", ("xen-netfront",))
        guest.domain.start()
        guest.do("true")
        for _ in range(2):
            card = guest.domain.attach_vif("user")
            guest.do("until ip -4 -o addr show | grep -q 10.0.2.15; do :; done")
            guest.do("until grep -q nameserver /etc/resolv.conf; do :; done; nslookup host.xenia.internal")
            assert card.unplug(LIMIT)
        guest.do("while [ -e /sys/class/net/eth0 ]; do sleep 0.05; done")  # it goes after its backend has


def test_name_servers_of_a_card_that_is_taken_out_are_asked_no_more() -> None:
    with Machine(Machine.memory_for(SIZE)) as machine:
        guest = Shell(machine, "web", ("xen-netfront",))
        cards = [guest.domain.attach_vif("user") for _ in range(2)]
        guest.domain.start()
        guest.do("until [ `grep -c nameserver /etc/resolv.conf` = 2 ]; do :; done; grep -q 10.0.2.3 /etc/resolv.conf")
        assert cards[0].unplug(LIMIT)
        guest.do("while grep -q 10.0.2.3 /etc/resolv.conf; do :; done; nslookup host.xenia.internal")
        assert cards[1].unplug(LIMIT)
        guest.do("while grep -q nameserver /etc/resolv.conf; do :; done")


def run(directory: Path, *arguments: str, script: str) -> subprocess.Popen[str]:
    """A guest of `xenia run`, which runs that."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "XDG_RUNTIME_DIR": str(directory)}
    return subprocess.Popen(
        [*XENIA, "run", "-q", *arguments, "--", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env=environment,
    )  # fmt: skip


def ask(directory: Path, *arguments: str) -> str:
    """What a command says; its complaint where it has one."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "XDG_RUNTIME_DIR": str(directory)}
    ended = subprocess.run(
        [*XENIA, "net", *arguments], capture_output=True, text=True, env=environment, check=False, timeout=LIMIT
    )
    return ended.stdout + ended.stderr


def test_a_guest_is_on_the_net_without_a_word_and_a_port_leads_to_it(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    guest = run(
        tmp_path, "--name", "web", "-p", f"{port}:80",
        script="ip -4 -o addr show eth0; ip route; cat /etc/resolv.conf; echo served > /x; nc -l -p 80 < /x; cat",
    )  # fmt: skip
    assert guest.stdout is not None
    said = [guest.stdout.readline() for _ in range(5)]
    assert "10.0.2.15/24" in said[0] and "default via 10.0.2.2" in said[1] and "nameserver 10.0.2.3" in said[4]
    shown = json.loads(ask(tmp_path, "show", "web", "--json"))
    assert [(one["port"], one["to_port"]) for one in shown["forwards"]] == [(port, 80)]
    with socket.create_connection(("127.0.0.1", port), LIMIT) as connection:
        assert connection.makefile().readline() == "served\n"
    guest.communicate(timeout=LIMIT)
    assert guest.returncode == 0
    assert list((tmp_path / "xenia" / "net").iterdir()) == []


def test_guests_meet_on_a_network_that_was_made_for_them(tmp_path: Path) -> None:
    assert ask(tmp_path, "create", "lan", "--subnet", "192.168.7.0/24") == "lan\n"
    try:
        assert "there is a network 'lan' already" in ask(tmp_path, "create", "lan")
        first = run(tmp_path, "--net", "bridge=lan", script="nc -l -p 7 -e cat; cat")
        second = run(
            tmp_path, "--name", "b", "--net", "bridge=lan",
            script="until echo hello you | nc -w 2 guest 7; do sleep 1; done; ip -4 -o addr show eth0; cat",
        )  # fmt: skip
        assert second.stdout is not None
        assert second.stdout.readline() == "hello you\n" and "192.168.7." in second.stdout.readline()
        assert "in use by b, guest (--force" in ask(tmp_path, "delete", "lan")
        assert "no network 'b' is running (running: lan); the guest b has cards at bridge=lan\n" in ask(
            tmp_path, "show", "b"
        )
        assert "say which guest a port is to lead to, of b, guest\n" in ask(tmp_path, "forward", "lan", "2222:7")
        listed = json.loads(ask(tmp_path, "list", "--json"))
        assert [(one["name"], one["ports"]) for one in listed["networks"]] == [("lan", 2)]
        assert {card["link"] for card in listed["cards"]} == {"bridge=lan"}
        assert len({card["mac"] for card in listed["cards"]}) == 2
        for guest in (first, second):
            guest.communicate(timeout=LIMIT)
            assert guest.returncode == 0
    finally:
        assert ask(tmp_path, "delete", "lan", "--force") == ""
    assert json.loads(ask(tmp_path, "list", "--json")) == {"networks": [], "cards": []}


def echoes_in(file: Path) -> int:
    """How many frames of ping there are in a file of whole blocks, from first to last."""
    data, at = file.read_bytes(), 0
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        assert data[at + length - 4 : at + length] == data[at + 4 : at + 8]
        at += length
    with PcapNgReader(str(file)) as frames:
        return sum(ICMP in frame for frame in frames)


def in_a_terminal(directory: Path, *arguments: str, until: Callable[[], bool]) -> tuple[int, str]:
    """A command of `xenia net` in a terminal, where somebody types Ctrl-C as soon as that is so: its status, and what
    is on the screen from first to last."""
    process, terminal = pty.fork()
    if process == 0:
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "XDG_RUNTIME_DIR": str(directory), "TERM": "vt100"}
        os.execve(sys.executable, [*XENIA, "net", *arguments], environment)
    said, typed = b"", False
    while True:
        if not typed and until():
            os.write(terminal, b"\x03")
            typed = True
        if select.select([terminal], [], [], LIMIT if typed else 0.02)[0]:
            try:
                said += os.read(terminal, 4096)
            except OSError:  # it has ended
                break
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said.decode()


class Asked:
    """A guest of `xenia run` that does what it is told, line by line."""

    def __init__(self, directory: Path, name: str) -> None:
        script = 'while read -r line; do eval "$line"; echo "=$?"; done'
        self.process = run(directory, "--name", name, script=script)

    def do(self, line: str) -> tuple[int, str]:
        """Its status, and what it said."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        said = ""
        while (more := self.process.stdout.readline()) and not re.fullmatch(r"=\d+\s*", more):
            said += more
        return int(more[1:]), said


def test_what_is_done_to_the_network_of_a_guest_that_runs_is_done_at_once_and_its_traffic_goes_on(
    tmp_path: Path,
) -> None:
    guest = Asked(tmp_path, "web")
    assert guest.do("mkdir /www; echo served > /www/word; httpd -p 80 -h /www")[0] == 0
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def is_served() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/word", timeout=LIMIT) as answer:
            return bool(answer.read() == b"served\n")

    words = f"tcp 127.0.0.1:{port} -> 10.0.2.15:80\n"
    assert ask(tmp_path, "forward", "web", f"{port}:80") == words
    assert is_served()
    assert re.search(rf"127\.0\.0\.1 +{port} +10\.0\.2\.15 +80\n", ask(tmp_path, "show", "web"))
    (shown,) = json.loads(ask(tmp_path, "show", "web", "--json"))["forwards"]
    assert (shown["port"], shown["to"], shown["to_port"]) == (port, "10.0.2.15", 80)
    assert ask(tmp_path, "forward", "web", f"{port}:80") == words
    assert "leads to 10.0.2.15:80 already" in ask(tmp_path, "forward", "web", f"{port}:81")
    ask(tmp_path, "forward", "web", f"{port}:80", "--remove")
    with pytest.raises(OSError, match="refused"):
        is_served()
    assert ask(tmp_path, "forward", "web", f"{port}:80") == words
    assert is_served()

    def pings(count: int) -> list[float]:
        return [float(time) for time in re.findall(r"time=([\d.]+)", guest.do(f"ping -c {count} -i 0.1 10.0.2.2")[1])]

    assert ask(tmp_path, "set", "web", "delay=50ms") == "vif0\n"
    assert len(slow := pings(2)) == 2 and min(slow) >= 50
    assert ask(tmp_path, "set", "web", "delay=off") == "vif0\n"
    assert min(pings(5)) < 50
    assert ask(tmp_path, "set", "web", "loss=100%") == "vif0\n"
    assert guest.do("ping -c 2 -i 0.1 -W 1 10.0.2.2 > /dev/null")[0] != 0
    assert ask(tmp_path, "set", "web", "loss=off") == "vif0\n"
    assert guest.do("ping -c 1 -W 20 10.0.2.2 > /dev/null")[0] == 0

    assert guest.do("ping -i 0.02 10.0.2.2 > /dev/null &")[0] == 0
    file, full = tmp_path / "web.pcapng", tmp_path / "full.pcapng"
    status, screen = in_a_terminal(
        tmp_path, "capture", "web", "-o", str(file), until=lambda: file.exists() and file.stat().st_size > 4000
    )
    assert status == 0
    found = re.search(r"capturing web; Ctrl-C ends it.*\r\x1b\[K[^\n]*?(\d+) frames\r+\n$", screen, re.DOTALL)
    assert found is not None, screen
    assert int(found[1]) >= echoes_in(file) > 5 and "Traceback" not in screen

    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "XDG_RUNTIME_DIR": str(tmp_path)}
    for target, complaint in ((full, "File too large"), (Path("/dev/full"), "No space left on device")):
        ended = subprocess.run(
            [*XENIA, "net", "capture", "web", "-o", str(target)], capture_output=True, text=True, env=environment,
            check=False, timeout=LIMIT, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)),
        )  # fmt: skip
        assert ended.returncode != 0
        assert ended.stderr == f"xenia: cannot write what was captured: {complaint}\n"
    assert echoes_in(full) > 5 and is_served()
    assert guest.do("ping -c 1 -W 20 10.0.2.2 > /dev/null")[0] == 0
    guest.process.communicate(timeout=LIMIT)
    assert guest.process.returncode == 0
