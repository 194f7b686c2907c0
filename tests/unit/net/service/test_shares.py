"""Each guest has its share of the way out, whatever another one sends: fragments, and queries without end."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet as Layers

from tests.unit.net.service.tcp import Connection
from tests.unit.net.service.wire import GATEWAY_MAC, Guest, guest
from xenia.errors import ConfigError
from xenia.net.service.client import NetworkClient, NetworkConfig, start_network

FLOWS = 72
ROOT = Path(__file__).parents[4]


@pytest.fixture
def client() -> Iterator[NetworkClient]:
    network = start_network(NetworkConfig(flows=FLOWS))
    yield network
    network.close()


def fragments(one: Guest, number: int, length: int = 1600, port: int = 7000) -> list[Layers]:
    """A datagram to the world, in pieces of 800 bytes."""
    data = bytes(UDP(sport=port, dport=9) / bytes(length))
    return [
        IP(src=one.ip, dst="198.51.100.1", id=number, proto=17, flags="MF" if at + 800 < len(data) else 0, frag=at // 8)
        / data[at : at + 800]
        for at in range(0, len(data), 800)
    ]


def seen(one: Guest) -> None:
    """Wait until all that it sent was looked at."""
    one.ask(IP(src=one.ip, dst="10.0.2.2") / ICMP(id=6), lambda got: ICMP in got and got[ICMP].type == 0)


def test_a_datagram_in_fragments_counts_as_one_that_is_whole(client: NetworkClient) -> None:
    with guest(client) as one:
        for number in range(100):
            pieces = fragments(one, number + 1, port=7000 + number)
            one.send(*(reversed(pieces) if number % 2 else pieces))
        seen(one)
        shown = client.show()
        assert (len(shown["flows"]), shown["nat"]["full"]) == (FLOWS, 100 - FLOWS)


def test_fragments_that_are_never_whole_take_no_room_from_others(client: NetworkClient) -> None:
    with guest(client) as one, guest(client) as two:
        first, *rest = fragments(two, 1)
        two.send(first)
        seen(two)
        for number in range(300):
            one.send(fragments(one, number)[0])
        seen(one)
        two.send(*rest)
        seen(two)
        assert [flow["guest"] for flow in client.show()["flows"]] == [f"{two.ip}:7000"]


@pytest.mark.parametrize("order", [(0, 1, 1, 2), (2, 0, 2, 1), (3, 0, 1, 2), (0, 1, 3, 2), (1, 2), (0, 2)])
def test_fragments_that_overlap_or_miss_something_go_nowhere(client: NetworkClient, order: tuple[int, ...]) -> None:
    with guest(client) as one:
        pieces = fragments(one, 1, length=2000)
        pieces.append(IP(src=one.ip, dst="198.51.100.1", id=1, proto=17, flags="MF", frag=400) / bytes(800))
        one.send(*(pieces[index] for index in order))
        seen(one)
        assert client.show()["flows"] == []


def test_who_floods_the_name_server_leaves_room_for_others(client: NetworkClient) -> None:
    query = DNS(qd=DNSQR(qname="host.xenia.internal"))
    with guest(client) as one, guest(client) as two:
        head = Ether(src=one.mac, dst="52:55:0a:00:02:03") / IP(src=one.ip, dst="10.0.2.3")
        flood = [bytes(head / UDP(sport=9, dport=53) / query)] * 64
        for port in range(2000, 2020):
            for _ in range(20):
                one.card.send(*flood)
            asked = IP(src=two.ip, dst="10.0.2.3") / UDP(sport=port, dport=53) / query
            assert two.ask(asked, lambda got: UDP in got)[UDP].dport == port
        assert client.show()["nat"]["asides_dropped"] > 0


def test_connections_of_a_guest_that_left_end_at_once_and_the_forwards_to_it_wait_for_it(
    client: NetworkClient,
) -> None:
    with guest(client) as two:
        with guest(client, "web") as one:
            one.send(*(IP(src=one.ip, dst="198.51.100.1") / UDP(sport=port, dport=9) for port in range(7000, 7010)))
            two.send(IP(src=two.ip, dst="198.51.100.1") / UDP(sport=7000, dport=9))
            seen(one)
            seen(two)
            assert len(client.show()["flows"]) == 11
            forward = client.forward(0, to=one.ip, to_port=80)
            client.detach(one.port)
            shown = client.show()
            assert [flow["guest"] for flow in shown["flows"]] == [f"{two.ip}:7000"]
            assert [(kept["port"], kept["there"]) for kept in shown["forwards"]] == [(forward["port"], False)]
            address = one.ip
        with guest(client, ip=address), pytest.raises(ConnectionRefusedError):  # another one with its address
            socket.create_connection(("127.0.0.1", forward["port"]))
        with guest(client, "web") as again, socket.create_connection(("127.0.0.1", forward["port"])):
            again.expect(lambda got: TCP in got and got[TCP].flags == "S" and got[TCP].dport == 80)
            assert [kept["to"] for kept in client.show()["forwards"]] == [again.ip]


def test_a_forward_that_is_asked_for_again_is_the_same_and_that_of_a_guest_which_is_away_gives_way(
    client: NetworkClient,
) -> None:
    with guest(client, "web") as one:
        forward = client.forward(0, to=one.ip, to_port=80)
        assert client.forward(forward["port"], to=one.ip, to_port=80) == forward
        with guest(client, "other") as two:
            with pytest.raises(ConfigError, match=f"leads to {one.ip}:80 already: the guest 'web' has it"):
                client.forward(forward["port"], to=two.ip, to_port=80)
            client.detach(one.port)
            assert client.forward(forward["port"], to=two.ip, to_port=80)["guest"] == "other"
            client.detach(two.port)
    with guest(client, "web"), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", forward["port"]))


def test_a_forward_over_ipv6_is_its_guests_whoever_claims_the_address_next(client: NetworkClient) -> None:
    private = "fd00:78:656e:0:1234:5678:9abc:def0"

    def claim(one: Guest) -> None:
        probe = IPv6(src="::", dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt=private)
        one.send(Ether(src=one.mac, dst="33:33:ff:00:00:01") / probe)
        one.ask(IP(src=one.ip, dst="10.0.2.2") / ICMP(id=6), lambda got: ICMP in got and got[ICMP].type == 0)
        assert client.show()["ports"][-1]["guard"]["claimed"] == [private]

    with guest(client) as one:
        claim(one)
        try:
            forward = client.forward(0, address="::1", to=private, to_port=80)
        except ConfigError as error:
            pytest.skip(f"no IPv6 on this host: {error}")
        assert forward["guest"] == one.name
        client.detach(one.port)
    with guest(client) as two:
        claim(two)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("::1", forward["port"]))


def test_a_forward_is_open_whenever_its_guest_is_there_however_often_that_comes_and_goes(
    client: NetworkClient,
) -> None:
    with guest(client, "web") as one:
        forward = client.forward(0, to=one.ip, to_port=80)
        client.detach(one.port)
    for _ in range(20):
        with guest(client, "web") as one:
            socket.create_connection(("127.0.0.1", forward["port"])).close()
            client.detach(one.port)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", forward["port"]))


def test_who_gets_an_address_that_a_forward_leads_to_already_has_a_share_and_an_end_of_its_own(
    client: NetworkClient,
) -> None:
    forward = client.forward(0, to="10.0.2.77", to_port=80)
    with guest(client, ip="10.0.2.77") as one, guest(client) as two:
        for port in (7000, 7001):
            one.send(IP(src=one.ip, dst="198.51.100.1") / UDP(sport=port, dport=9))
            seen(one)
            client.unforward(forward["port"])
            forward = client.forward(0, to=two.ip, to_port=80)
        assert len(client.show()["flows"]) == 2
        client.detach(one.port)
        assert client.show()["flows"] == []


def test_guests_leave_descriptors_for_other_cards_and_forwards() -> None:
    program = """
import resource, socket
from scapy.layers.inet import IP, TCP, UDP
from tests.unit.net.service.test_shares import seen
from tests.unit.net.service.wire import guest
from xenia.errors import ConfigError
from xenia.net.service.client import NetworkConfig, start_network
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
client = start_network(NetworkConfig())
with guest(client) as one:
    for number in range(300):
        one.send(IP(src=one.ip, dst="198.51.100.1") / UDP(sport=2000 + number, dport=9))
    seen(one)
    print(len(client.show()["flows"]), client.show()["nat"]["full"])
    with guest(client) as two:
        port = client.forward(0, to=two.ip, to_port=80)["port"]
        with socket.create_connection(("127.0.0.1", port)):
            two.expect(lambda got: TCP in got and got[TCP].flags == "S")
client.close()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.stdout == "192 108\n", ran.stderr


def test_who_asks_without_end_is_refused_only_so_often_and_others_are_as_ever(client: NetworkClient) -> None:
    with guest(client) as one, guest(client) as two:
        head = Ether(src=one.mac, dst=GATEWAY_MAC) / IP(src=one.ip, dst="10.0.2.2")
        flood = [bytes(head / TCP(sport=1024 + number, dport=9, flags="S")) for number in range(64)]
        for _ in range(200):
            one.card.send(*flood)
        refused = two.ask(IP(src=two.ip, dst="10.0.2.2") / TCP(sport=9, dport=9, flags="S"), lambda got: TCP in got)
        assert refused[TCP].flags == "RA"
        seen(one)
        assert client.show()["nat"]["hurried"] > 0


def test_who_floods_another_guest_is_limited_and_counted_while_that_one_talks_with_the_world(
    client: NetworkClient,
) -> None:
    with guest(client) as one, guest(client) as two:
        head = Ether(src=one.mac, dst=two.mac) / IP(src=one.ip, dst=two.ip)
        flood = [bytes(head / UDP(sport=7, dport=9) / b"x")] * 64
        talk = [bytes(Ether(src=two.mac, dst=GATEWAY_MAC) / IP(src=two.ip, dst="10.0.2.2") / UDP(dport=9))] * 16

        def shown() -> tuple[int, int]:
            """How many of its frames were dropped for that, and how often it had to wait."""
            ports = {port["name"]: port for port in client.show()["ports"]}
            assert ports[two.name]["undelivered"] == {}
            return ports[one.name]["undelivered"].get("unanswered", 0), ports[one.name]["share"]["waits"]

        for _ in range(100):
            one.card.send(*flood)
        seen(one)
        assert shown() == (0, 0)
        until = time.monotonic() + 30
        while not all(shown()):
            two.card.send(*talk)
            for _ in range(8):
                one.card.send(*flood)
            assert time.monotonic() < until


def test_who_floods_a_server_of_the_hosts_waits_where_it_is_not_alone(client: NetworkClient) -> None:
    with guest(client) as one, socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        client.ask("host", port=port)
        head = Ether(src=one.mac, dst=GATEWAY_MAC) / IP(src=one.ip, dst="10.0.2.2")
        flood = [bytes(head / UDP(sport=7, dport=port) / b"x")] * 64

        def waits() -> int:
            for _ in range(20):
                one.card.send(*flood)
            seen(one)
            return int(client.show()["ports"][0]["share"]["waits"])

        with guest(client):
            assert waits() > 0


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_forward_that_is_taken_away_lets_nobody_in_and_is_there_again_at_once(
    client: NetworkClient, protocol: str
) -> None:
    with guest(client) as one:
        port = client.forward(0, protocol=protocol, to=one.ip, to_port=80)["port"]
        for _ in range(50):
            client.unforward(port, protocol=protocol)
            if protocol == "tcp":
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port))
            client.forward(port, protocol=protocol, to=one.ip, to_port=80)
            if protocol == "tcp":
                socket.create_connection(("127.0.0.1", port)).close()


def test_a_socket_that_hung_up_does_not_keep_the_loop_awake(client: NetworkClient) -> None:
    stat = Path(f"/proc/{client.hello()['pid']}/stat")

    def ticks() -> int:
        return sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13]))

    with guest(client) as one, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client.ask("host", port=port)
        one.send(*(IP(src=one.ip, dst="198.51.100.1") / UDP(sport=7000 + n, dport=9) for n in range(FLOWS - 1)))
        for number in range(4):  # more than the loop polls itself
            one.send(IP(src=one.ip, dst="10.0.2.2") / ICMP(id=number))
        connection = Connection(one, "10.0.2.2", port).open()
        connection.finish()
        server.accept()[0].close()  # and the guest says no more
        seen(one)
        before = ticks()
        time.sleep(0.5)
        assert ticks() - before < 25  # hundredths of a second


def place_of(mac: str) -> int:
    """Where flows.pyx looks for a guest first."""
    key = 1 << 48 | int.from_bytes(bytes.fromhex(mac.replace(":", "")), "little")
    return ((key * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 40) % 1024


def test_a_guest_whose_place_was_anothers_has_what_it_may_have_and_no_more(client: NetworkClient) -> None:
    first = "00:16:3e:01:00:01"
    second = next(
        mac for number in range(1 << 16)
        if place_of(mac := f"00:16:3e:02:{number >> 8:02x}:{number & 255:02x}") == place_of(first)
    )  # fmt: skip
    one, two = (Guest(client, client.attach(name, mac), name, mac) for name, mac in (("one", first), ("two", second)))
    one.send(IP(src=one.ip, dst="198.51.100.1") / UDP(sport=7000, dport=9))
    seen(one)
    for begin in (2000, 4000):
        two.send(*(IP(src=two.ip, dst="198.51.100.1") / UDP(sport=begin + n, dport=9) for n in range(FLOWS + 10)))
        seen(two)
        if begin == 2000:
            client.detach(one.port)
    assert sum(flow["guest"].startswith(two.ip) for flow in client.show()["flows"]) == FLOWS
    one.close()
    two.close()


@pytest.mark.parametrize("kind", ["connections", "datagrams", "echoes"])
def test_whatever_one_floods_another_is_answered(client: NetworkClient, kind: str) -> None:
    with guest(client) as one, guest(client) as two:
        head = Ether(src=one.mac, dst=GATEWAY_MAC) / IP(src=one.ip, dst="10.0.2.2")
        each: dict[str, Callable[[int], Layers]] = {
            "connections": lambda number: head / TCP(sport=1024 + number, dport=9, flags="S"),
            "datagrams": lambda number: head / UDP(sport=1024 + number, dport=9),
            "echoes": lambda number: head / ICMP(id=number),
        }
        flood = [bytes(each[kind](number)) for number in range(64)]
        for number in range(50):
            for _ in range(20):
                one.card.send(*flood)
            own = 1000 + number
            two.send(IP(src=two.ip, dst="10.0.2.2") / ICMP(id=own))
            while two.expect(lambda got: ICMP in got and got[ICMP].type == 0)[ICMP].id != own:
                pass
        ports = {port["name"]: port for port in client.show()["ports"]}
        assert ports[one.name]["share"]["spent"] > ports[two.name]["share"]["spent"] > 0
