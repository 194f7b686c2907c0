"""A network's process: who asks it, what it answers, and when it ends."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.utils import rdpcap

from tests.unit.net.service.wire import Wired, guest
from xenia.errors import ConfigError
from xenia.jail.jail import walls_of_host
from xenia.net.service.client import NetworkClient, NetworkConfig, find_network, start_network
from xenia.net.service.protocol import Wire


@pytest.fixture
def client() -> Iterator[NetworkClient]:
    network = start_network(NetworkConfig())
    yield network
    network.close()


def test_a_card_is_attached_and_the_gateway_answers_its_echo(client: NetworkClient) -> None:
    with guest(client) as one:
        echo = one.ask(IP(src=one.ip, dst="10.0.2.2") / ICMP(id=7, seq=1) / b"hello", lambda got: ICMP in got)
        assert (echo[IP].src, echo[IP].dst, echo[ICMP].type, echo[ICMP].id) == ("10.0.2.2", one.ip, 0, 7)
        assert bytes(echo[ICMP].payload).startswith(b"hello")


def test_it_says_what_it_is(client: NetworkClient) -> None:
    hello = client.hello()
    assert hello["nat"] is True
    assert hello["version"].startswith("4.")
    assert (hello["subnet"], hello["gateway"], hello["dns"]) == ("10.0.2.0/24", "10.0.2.2", "10.0.2.3")


def test_a_port_is_gone_when_its_other_end_is_closed(client: NetworkClient) -> None:
    with guest(client) as one:
        assert [port["name"] for port in client.show()["ports"]] == [one.name]
    while client.show()["ports"]:
        pass


def test_nonsense_is_answered_with_one_line(client: NetworkClient) -> None:
    for verb, arguments, line in (
        ("fly", {}, "no verb 'fly'"),
        ("attach", {}, "'attach' cannot be done with these arguments"),
        ("attach", {"name": "one", "mac": "01:00:00:00:00:00"}, "is no address of a card"),
        ("detach", {"port": 77}, "no port 77"),
        ("detach", {"port": "x"}, "no port x"),
        ("forward", {"port": 22, "to": "nobody"}, "no guest 'nobody'"),
        ("unforward", {"port": 22}, "is not forwarded"),
        ("host", {"port": 70000}, "no port 70000"),
    ):
        with pytest.raises(ConfigError, match=line):
            client.ask(verb, **arguments)
    assert client.hello()


def test_it_ends_with_its_owner_however_that_ended(client: NetworkClient) -> None:
    program = """
import os, sys
from xenia.net.service.client import NetworkConfig, start_network
client = start_network(NetworkConfig())
print(client.hello()["pid"], flush=True)
os.kill(os.getpid(), 9)
"""
    owner = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert owner.returncode == -signal.SIGKILL
    watched = os.pidfd_open(int(owner.stdout)) if Path(f"/proc/{owner.stdout.strip()}").exists() else None
    if watched is not None:
        assert select.select([watched], [], [], 10)[0]
        os.close(watched)


def test_a_network_without_descriptors_refuses_a_card_in_one_line_and_goes_on() -> None:
    program = """
import os, resource
from xenia.errors import ConfigError
from xenia.net.service.client import NetworkConfig, start_network
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
client = start_network(NetworkConfig())
cards = []
try:
    for number in range(64):
        cards.append(client.attach(f"guest{number}", f"00:16:3e:00:00:{number:02x}"))
except ConfigError as error:
    print(error)
assert client.hello() and len(client.show()["ports"]) == len(cards) > 8
client.detach(cards[0].port)
os.close(cards[0].descriptor)
client.attach("another", "00:16:3e:00:01:00")
"""
    owner = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert owner.returncode == 0, owner.stderr
    assert "cannot be plugged in: Too many open files" in owner.stdout


def test_a_connection_that_was_hushed_opens_nothing_and_still_ends_the_process(client: NetworkClient) -> None:
    pid = os.pidfd_open(client.hello()["pid"])
    client.ask("hush")
    for verb in ("host", "own", "stop", "hush", "show"):
        with pytest.raises(ConfigError, match="asks nothing any more"):
            client.ask(verb, port=22)
    client.close()
    assert select.select([pid], [], [], 10)[0]
    os.close(pid)


def test_an_interrupt_of_the_terminal_does_not_end_it(client: NetworkClient) -> None:
    os.kill(client.hello()["pid"], signal.SIGINT)
    assert client.hello()


def test_others_ask_it_at_its_socket_and_it_takes_that_away(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "net"))
        listener.listen()
        start_network(NetworkConfig("lan"), listener, stay=True).close()
    client = find_network(tmp_path / "net")
    assert client.hello()["name"] == "lan"
    client.ask("stop")
    client.close()
    for _ in range(1000):
        if not (tmp_path / "net").exists():
            break
        os.sched_yield()
    with pytest.raises(ConfigError, match="no network at"):
        while True:
            find_network(tmp_path / "net").close()


def test_a_network_that_stays_outlives_who_made_it_until_its_last_owner_goes(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "net"))
        listener.listen()
        start_network(NetworkConfig("lan"), listener, stay=False)
    with pytest.raises(ConfigError):
        while True:
            find_network(tmp_path / "net").close()


def test_whoever_speaks_something_else_is_let_go(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "net"))
        listener.listen()
        owner = start_network(NetworkConfig("lan"), listener)
    for line in (b"hello\n", b"[]\n", b"\xff\n", b"x" * 2_000_000):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(tmp_path / "net"))
            wire = Wire(connection)
            try:
                connection.sendall(line)
            except BrokenPipeError:
                continue
            assert wire.receive() is None
    assert owner.hello()
    owner.close()


def test_a_network_whose_library_cannot_be_had_says_so_in_one_line() -> None:
    client = start_network(NetworkConfig(libraries=("/nowhere/libslirp.so.0",)))
    with pytest.raises(ConfigError, match="libslirp cannot be loaded"):
        client.hello()
    client.close()


def test_a_guest_speaks_under_its_own_addresses_only_and_what_it_forges_is_counted(client: NetworkClient) -> None:
    with guest(client) as one:
        mac = one.mac
        one.mac = "00:16:3e:ff:ff:ff"
        one.send(IP(src=one.ip, dst="10.0.2.2") / ICMP(id=1) / b"another MAC")
        one.mac = mac
        for other in ("10.0.2.77", "10.0.2.2", "10.0.2.3"):
            one.send(IP(src=other, dst="10.0.2.2") / ICMP(id=2) / b"another IP")
        echo = one.ask(IP(src=one.ip, dst="10.0.2.2") / ICMP(id=3) / b"its own", lambda got: ICMP in got)
        assert echo[ICMP].id == 3
        (port,) = client.show()["ports"]
        assert sum(count for reasons in port["guard"]["dropped"].values() for count in reasons.values()) == 4


def test_a_guest_may_use_all_addresses_that_it_was_given(client: NetworkClient) -> None:
    with guest(client, ip="10.0.2.20", also=["10.0.2.21"]) as one:
        one.send(IP(src="10.0.2.22", dst="10.0.2.2") / ICMP(id=1) / b"another IP")
        for address in ("10.0.2.20", "10.0.2.21"):
            one.send(IP(src=address, dst="10.0.2.2") / ICMP(id=2) / b"its own")
            assert one.expect(lambda got: ICMP in got)[IP].dst == address
        (port,) = client.show()["ports"]
        assert sum(count for reasons in port["guard"]["dropped"].values() for count in reasons.values()) == 1


def test_an_address_that_is_none_leaves_the_name_and_the_address_free(client: NetworkClient) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"10\.0\.2"):
            client.attach("one", "00:16:3e:00:00:01", ip="10.0.2.20", also=["10.0.2"])
    with guest(client, ip="10.0.2.20") as other:
        assert other.ip == "10.0.2.20"


def test_a_guest_that_is_let_use_others_addresses(client: NetworkClient) -> None:
    with guest(client, spoof=True) as one:
        one.send(IP(src="10.0.2.77", dst="10.0.2.2") / ICMP(id=2) / b"another IP")
        assert one.expect(lambda got: ICMP in got)[IP].dst == "10.0.2.77"


def test_guests_of_one_network_reach_each_other_and_isolated_ones_do_not(client: NetworkClient) -> None:
    with (
        guest(client) as one,
        guest(client) as two,
        guest(client, isolated=True) as three,
        guest(client, isolated=True) as four,
    ):
        one.send(Ether(src=one.mac, dst=two.mac) / IP(src=one.ip, dst=two.ip) / UDP(dport=7) / b"to two")
        assert two.expect(lambda got: UDP in got)[Ether].src == one.mac
        three.send(Ether(src=three.mac, dst=four.mac) / IP(src=three.ip, dst=four.ip) / UDP(dport=7) / b"to four")
        three.send(Ether(src=three.mac, dst=one.mac) / IP(src=three.ip, dst=one.ip) / UDP(dport=7) / b"to one")
        assert one.expect(lambda got: UDP in got)[Ether].src == three.mac
        assert not four.card.received
        assert three.ask(IP(src=three.ip, dst="10.0.2.2") / ICMP(), lambda got: ICMP in got)
        addresses = {known["mac"]: known["port"] for known in client.show()["addresses"]}
        assert addresses[one.mac] == str(one.port)


def test_guests_in_vlans_do_not_meet_and_a_mirror_sees_them_all(client: NetworkClient) -> None:
    with (
        guest(client, vlan=10) as one,
        guest(client, vlan=10) as two,
        guest(client, vlan=20) as three,
        guest(client, trunk=[10, 20]) as router,
        guest(client, mirror=True) as sniffer,
    ):
        own = IP(src="192.168.10.1", dst="192.168.10.255") / UDP(dport=7) / b"to all"  # what the network did not give
        one.send(Ether(src=one.mac, dst="ff:ff:ff:ff:ff:ff") / own)
        assert two.expect(lambda got: UDP in got)[IP].src == "192.168.10.1"
        assert router.expect(lambda got: UDP in got)[Dot1Q].vlan == 10
        router.send(Ether(src=router.mac, dst=three.mac) / Dot1Q(vlan=20) / own)
        assert Dot1Q not in three.expect(lambda got: UDP in got)
        seen = [sniffer.expect(lambda got: UDP in got) for _ in range(2)]
        assert [got.src for got in seen] == [one.mac, router.mac]
        sniffer.send(Ether(src=sniffer.mac, dst="ff:ff:ff:ff:ff:ff") / IP() / UDP(dport=8))
        two.send(Ether(src=two.mac, dst=one.mac) / IP() / UDP(dport=9))
        assert one.expect(lambda got: UDP in got)[UDP].dport == 9
        shown = client.show()
        words = [["vlan=10"], ["vlan=10"], ["vlan=20"], ["trunk=10+20"], ["mirror=on"]]
        assert [port["words"] for port in shown["ports"]] == words
        assert {known["vlan"] for known in shown["addresses"] if known["mac"] == three.mac} == {20}
    with pytest.raises(ConfigError, match="there is no VLAN 4095"):
        client.attach("late", "00:16:3e:00:77:77", vlan=4095)


def test_forty_guests_have_the_gateway_at_once(client: NetworkClient) -> None:
    with ExitStack() as stack:
        guests = [stack.enter_context(guest(client)) for _ in range(40)]
        assert len({one.ip for one in guests}) == 40
        for round_ in range(2):
            for one in guests:
                echo = one.ask(IP(src=one.ip, dst="10.0.2.2") / ICMP(id=round_), lambda got: ICMP in got)
                assert (echo[IP].dst, echo[ICMP].id) == (one.ip, round_)


def test_a_link_to_elsewhere_joins_guests_and_gateway(client: NetworkClient) -> None:
    ours, theirs = socket.socketpair()
    port = client.join("elsewhere", {"kind": "socket", "name": "x", "options": ["vnet=on"]}, [theirs.fileno()])
    theirs.close()
    with guest(client) as one, closing(Wired(ours.detach())) as far:
        frame = Ether(src="00:16:3e:aa:aa:aa", dst=one.mac) / IP(src="10.0.2.200", dst=one.ip) / UDP(dport=7) / b"far"
        far.card.send(bytes(frame))
        assert one.expect(lambda got: UDP in got)[Ether].src == "00:16:3e:aa:aa:aa"
        (shown,) = [shown for shown in client.show()["ports"] if shown["port"] == port]
        assert (shown["kind"], shown["name"], shown["received"]) == ("uplink", "elsewhere", 1)
        client.detach(port)


def test_what_passes_a_port_is_captured_into_a_descriptor(client: NetworkClient, tmp_path: Path) -> None:
    with guest(client) as one, (tmp_path / "x.pcapng").open("w+b") as file:
        answer, _ = client.ask("capture", [file.fileno()], port=one.port)
        one.ask(IP(src=one.ip, dst="10.0.2.2") / ICMP() / b"captured", lambda got: ICMP in got)
        client.ask("uncapture", capture=answer["capture"])
        packets = [packet for packet in rdpcap(str(tmp_path / "x.pcapng")) if ICMP in packet]
        assert [packet[ICMP].type for packet in packets] == [8, 0]


def test_a_card_that_goes_leaves_its_address_to_others(client: NetworkClient) -> None:
    with guest(client, ip="10.0.2.50") as one:
        with pytest.raises(ConfigError, match=r"ip=10\.0\.2\.50 is .*'s already"):
            client.attach("another", "00:16:3e:bb:bb:bb", ip="10.0.2.50")
        assert one.ip == "10.0.2.50"
    while client.show()["ports"]:
        pass
    with guest(client, ip="10.0.2.50"):
        pass


NAMES = """
import sys
from pathlib import Path
from xenia.jail.jail import hold_to
from xenia.net.service import process

process.RESOLV_CONF = Path(sys.argv[1])
one = process.Process.__new__(process.Process)
one._listener = None
hold_to(one._paths())
print("held", flush=True)
input()
print(process.RESOLV_CONF.read_text())
"""


@pytest.mark.skipif(not walls_of_host().landlock, reason="no Landlock on this host")
@pytest.mark.skipif(not os.access("/run", os.W_OK), reason="/run is somebody else's")
def test_name_servers_are_read_again_where_the_host_replaces_their_file(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        names, link = Path(folder, "resolv.conf"), tmp_path / "resolv.conf"
        names.write_text("nameserver 192.0.2.1")
        link.symlink_to(names)
        process = subprocess.Popen(
            [sys.executable, "-c", NAMES, str(link)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        Path(folder, "new").write_text("nameserver 192.0.2.2")
        Path(folder, "new").rename(names)
        assert process.communicate("\n")[0].strip() == "nameserver 192.0.2.2"
