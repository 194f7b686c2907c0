"""Each guest has its share of the way out, whatever another one sends: fragments, and queries without end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet as Layers

from tests.unit.net.service.wire import Guest, guest
from xenia.net.service.client import NetworkClient, NetworkConfig, start_network

FLOWS = 64


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
