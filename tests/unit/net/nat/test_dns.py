"""Names of a network's guests, and those that the host's name server is asked for."""

from __future__ import annotations

import select
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from scapy.layers.dns import DNS, DNSQR, DNSRR

from xenia.net.nat import dns
from xenia.net.nat.book import AddressBook
from xenia.net.nat.datagram import Datagram
from xenia.net.nat.dns import MOST_FORWARDED, MOST_OF_ONE, NameServer
from xenia.net.nat.plan import Plan


class Waiter:
    """What the servers' thread waits with, a step at a time."""

    def __init__(self) -> None:
        self.calls: dict[int, Callable[[], object]] = {}
        self.later: list[Callable[[], object]] = []

    def add(self, descriptor: int, call: Callable[[], object]) -> None:
        self.calls[descriptor] = call

    def remove(self, descriptor: int) -> None:
        del self.calls[descriptor]

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        self.later.append(call)

    def wait(self) -> None:
        """Until there is something, which is seen to."""
        for descriptor in select.select(list(self.calls), [], [], 10)[0]:
            self.calls[descriptor]()

    def time_passes(self) -> None:
        """All that waited for its time is called."""
        later, self.later = self.later, []
        for call in later:
            call()


class World:
    """A name server with a guest, and a name server of the host's."""

    def __init__(self, folder: Path) -> None:
        self.upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.upstream.bind(("127.0.0.1", 0))
        self.upstream.settimeout(10)
        self.resolv_conf = folder / "resolv.conf"
        self.resolv_conf.write_text("search example.org\nnameserver 127.0.0.1\n")
        self.waiter = Waiter()
        self.sent: list[Datagram] = []
        self.six: dict[bytes, IPv6Address] = {}  # what cards were heard to use, by their MACs
        plan = Plan.read("10.0.2.0/24", "fd00:78:656e::/64", "xenia.internal", 1500)
        self.book = AddressBook(plan, in_order=True)
        self.book.reserve(bytes.fromhex("00163e000001"), "Alpha", 1)
        port = self.upstream.getsockname()[1]
        self.server = NameServer(plan, self.book, self.waiter, self.sent.append, self.resolv_conf, port, self.six.get)

    def ask(self, name: str, kind: str = "A", source: str = "10.0.2.15") -> None:
        """A guest asks."""
        self.send(bytes(DNS(id=4711, rd=1, qd=DNSQR(qname=name, qtype=kind))), source)

    def send(self, data: bytes, source: str = "10.0.2.15") -> None:
        """A guest sends."""
        guest, mac = ip_address(source), b"\x02\x00" + ip_address(source).packed[-4:]
        self.server.ask(Datagram(b"\x52\x55" + bytes(4), mac, guest, ip_address("10.0.2.3"), 5353, 53, data))

    def answer(self) -> Any:
        """What it gets."""
        (datagram,) = self.sent
        self.sent.clear()
        assert (datagram.source_port, datagram.target_port, str(datagram.target)) == (53, 5353, "10.0.2.15")
        answer = DNS(datagram.data)
        assert (answer.id, answer.qr) == (4711, 1)
        return answer


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.upstream.close()


@pytest.mark.parametrize("name", ["alpha.xenia.internal", "ALPHA", "alpha", "aLpHa.Xenia.internal."])
def test_guests_know_each_other_by_name(world: World, name: str) -> None:
    world.ask(name)
    answer = world.answer()
    assert [record.rdata for record in answer.an] == ["10.0.2.15"]
    assert (answer.rcode, answer.aa) == (0, 1)


def test_guests_have_the_ipv6_address_by_name_that_they_were_heard_to_use(world: World) -> None:
    world.six[bytes.fromhex("00163e000001")] = IPv6Address("fd00:78:656e::7")
    world.ask("alpha", "AAAA")
    answer = world.answer()
    assert [(record.type, record.rdata) for record in answer.an] == [(28, "fd00:78:656e::7")]
    world.ask("alpha", "ALL")
    assert [record.rdata for record in world.answer().an] == ["10.0.2.15", "fd00:78:656e::7"]
    world.ask("host.xenia.internal", "AAAA")
    assert len(world.answer().an) == 0


def test_a_guest_whose_name_has_dots_is_found_in_the_networks_domain(world: World) -> None:
    world.book.reserve(bytes.fromhex("00163e000002"), "web.1", 2)
    world.ask("web.1.xenia.internal")
    assert [record.rdata for record in world.answer().an] == ["10.0.2.16"]
    world.ask("16.2.0.10.in-addr.arpa", "PTR")
    assert [record.rdata for record in world.answer().an] == [b"web.1.xenia.internal."]
    world.ask("web.1")
    assert world.sent == []  # that may be anybody's elsewhere
    assert world.upstream.recv(512)


@pytest.mark.parametrize("name", ["host.xenia.internal", "gateway.xenia.internal"])
def test_the_host_is_behind_the_gateway(world: World, name: str) -> None:
    world.ask(name)
    assert [record.rdata for record in world.answer().an] == ["10.0.2.2"]


def test_an_address_is_a_guests_name(world: World) -> None:
    for address, name in (("15.2.0.10", b"Alpha.xenia.internal."), ("2.2.0.10", b"gateway.xenia.internal.")):
        world.ask(f"{address}.in-addr.arpa", "PTR")
        assert [record.rdata for record in world.answer().an] == [name]
    world.ask("200.2.0.10.in-addr.arpa", "PTR")
    assert world.answer().rcode == 3


def test_an_ipv6_address_of_a_mac_is_a_guests_name(world: World) -> None:
    for address, name in (("fd00:78:656e::216:3eff:fe00:1", "Alpha"), ("fd00:78:656e::2", "gateway")):
        world.ask(IPv6Address(address).reverse_pointer, "PTR")
        assert [record.rdata for record in world.answer().an] == [f"{name}.xenia.internal.".encode()]
    world.ask(IPv6Address("fd00:78:656e::8").reverse_pointer, "PTR")
    assert world.answer().rcode == 3


@pytest.mark.parametrize("name", ["2.ip6.arpa", IPv6Address("2001:db8::1").reverse_pointer, "0_." * 32 + "ip6.arpa"])
def test_what_is_no_address_of_the_networks_is_the_hosts_name_servers_to_answer(world: World, name: str) -> None:
    world.ask(name, "PTR")
    assert world.sent == []
    assert DNS(world.upstream.recv(512)).qd[0].qname == f"{name}.".encode()


def test_a_name_of_the_domain_that_nobody_has_is_not_asked_elsewhere(world: World) -> None:
    world.ask("beta.xenia.internal")
    assert (world.answer().rcode, world.waiter.calls) == (3, {})
    world.ask("alpha.xenia.internal", "AAAA")
    answer = world.answer()
    assert (answer.rcode, answer.ancount, answer.ns[0].type) == (0, 0, 6)


def test_all_other_names_are_the_hosts_name_servers_to_answer(world: World) -> None:
    world.ask("www.example.org")
    query, place = world.upstream.recvfrom(4096)
    asked = DNS(query)
    assert asked.qd[0].qname == b"www.example.org."
    record = DNSRR(rrname="www.example.org", rdata="192.0.2.7", ttl=30)
    world.upstream.sendto(bytes(DNS(id=asked.id ^ 1, qr=1, qd=asked.qd, an=record)), place)
    world.upstream.sendto(bytes(DNS(id=asked.id, qr=1, qd=DNSQR(qname="www.example.com"), an=record)), place)
    world.waiter.wait()
    world.waiter.wait()
    assert not world.sent, "a forged answer"
    world.upstream.sendto(bytes(DNS(id=asked.id, qr=1, qd=asked.qd, an=record)), place)
    world.waiter.wait()
    assert [record.rdata for record in world.answer().an] == ["192.0.2.7"]
    assert not world.waiter.calls


def test_the_next_name_server_is_asked_where_one_does_not_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "_READ_AGAIN", 0)
    world.resolv_conf.write_text("nameserver nonsense\nnameserver 127.0.0.1\nnameserver 127.0.0.1\n")
    world.ask("www.example.org")
    world.upstream.recvfrom(4096)
    world.waiter.time_passes()
    world.upstream.recvfrom(4096)
    world.waiter.time_passes()
    assert (world.answer().rcode, world.waiter.calls) == (2, {})


def test_a_name_server_that_is_not_there_is_a_failure_at_once(world: World) -> None:
    world.upstream.close()
    world.ask("www.example.org")
    while not world.sent:
        world.waiter.wait()
    assert world.answer().rcode == 2


def test_queries_without_end_are_bounded_for_each_guest(world: World) -> None:
    for number in range(2 * MOST_OF_ONE):
        world.ask(f"{number}.example.org")
    assert len(world.waiter.calls) == MOST_OF_ONE
    assert world.server.dropped == MOST_OF_ONE
    world.ask("another.example.org", source="10.0.2.16")
    assert len(world.waiter.calls) == MOST_OF_ONE + 1
    world.waiter.time_passes()
    assert not world.waiter.calls


def test_however_many_guests_flood_each_has_as_many_places_as_any_other(world: World) -> None:
    flooding = [f"10.0.2.{20 + number}" for number in range(MOST_FORWARDED // MOST_OF_ONE)]
    for source in flooding:
        for number in range(MOST_OF_ONE):
            world.ask(f"{number}.example.org", source=source)
    assert len(world.waiter.calls) == MOST_FORWARDED
    world.upstream.settimeout(0)
    with pytest.raises(BlockingIOError):
        while True:
            world.upstream.recvfrom(4096)
    for number in range(MOST_OF_ONE):  # of the one who comes late, and of those who go on
        for source in ("10.0.2.15", *flooding):
            world.ask(f"late{number}.example.org", source=source)
    assert len(world.waiter.calls) == MOST_FORWARDED
    with pytest.raises(BlockingIOError):
        while True:
            query, place = world.upstream.recvfrom(4096)
            world.upstream.sendto(bytes(DNS(id=DNS(query).id, qr=1, qd=DNS(query).qd)), place)
    while select.select(list(world.waiter.calls), [], [], 0)[0]:
        world.waiter.wait()
    heard = Counter(str(datagram.target) for datagram in world.sent)
    assert heard["10.0.2.15"] >= MOST_FORWARDED // (len(flooding) + 1)


def test_what_is_no_query_is_not_answered(world: World) -> None:
    world.send(bytes(DNS(id=4711, qr=1, qd=DNSQR(qname="alpha"))))
    world.send(b"")
    assert not world.sent
    world.send(bytes(DNS(id=4711, opcode=5, qd=DNSQR(qname="alpha"))))
    assert world.answer().rcode == 4


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_whatever_is_sent_nothing_raises(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    world = World(tmp_path_factory.getbasetemp())
    world.book.reserve(bytes(6), "beta", 2, IPv4Address("10.0.2.17"))
    for message in (data, b"\0\1\1\0\0\1" + bytes(6) + data, bytes(DNS(qd=DNSQR(qname="beta"))) + data):
        world.send(message)
    world.waiter.time_passes()
    assert not world.waiter.calls
    world.upstream.close()
