from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)  # fmt: skip
from scapy.layers.l2 import ARP, LLC, SNAP, Dot1Q, Ether
from scapy.packet import Raw

from xenia.errors import ConfigError
from xenia.net.layers.claims import Claims
from xenia.net.layers.guard import Guard
from xenia.testing.net import Behind, Card

MINE, THEIRS = "00:16:3e:00:00:01", "00:16:3e:00:00:02"
ADDRESSES = ("10.0.2.15", "fd00::15", "fd00:1::/64")
RESERVED = ("10.0.2.2", "fd00::2", "fe80::2")


def ether(source: str = MINE, to: str = "ff:ff:ff:ff:ff:ff") -> Any:
    return Ether(src=source, dst=to)


def bootp(chaddr: str) -> Any:
    return BOOTP(op=1, chaddr=bytes.fromhex(chaddr.replace(":", ""))) / DHCP(options=[("message-type", 1)])


def arp(op: int = 1, hwsrc: str = MINE, psrc: str = "10.0.2.15", pdst: str = "10.0.2.2") -> Any:
    return ARP(op=op, hwsrc=hwsrc, psrc=psrc, pdst=pdst)


def fragments(datagram: Any) -> list[Any]:
    return list(fragment(ether() / datagram / bytes(3000), 1480))  # type: ignore[no-untyped-call]


ASK = IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67)
ND = IPv6(src="fe80::216:3eff:fe00:1", dst="ff02::1", hlim=255)
LONG = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(240))])

GOOD: dict[str, Any] = {
    "tcp": ether() / IP(src="10.0.2.15", dst="1.1.1.1") / TCP(),
    "udp6": ether() / IPv6(src="fd00::15", dst="fd00::2") / UDP() / b"x",
    "in a prefix": ether() / IPv6(src="fd00:1::abcd", dst="fd00::2") / TCP(),
    "with options": ether() / IP(src="10.0.2.15", options=[b"\x01"] * 8) / TCP(),
    "tagged": ether() / Dot1Q(vlan=7) / IP(src="10.0.2.15") / TCP(),
    "arp": ether() / arp(),
    "arp probe": ether() / arp(psrc="0.0.0.0", pdst="10.0.2.15"),
    "dhcp": ether() / ASK / bootp(MINE),
    "dhcp renewed": ether() / IP(src="10.0.2.15", dst="10.0.2.2") / UDP(sport=68, dport=67) / bootp(MINE),
    "dhcpv6": ether() / ND / UDP(sport=546, dport=547) / b"x",
    "igmp": ether() / IP(src="0.0.0.0", dst="224.0.0.22", proto=2) / b"\x22\0\0\0\0\0\0\0",
    "dad": ether() / IPv6(src="::", dst="ff02::1") / ICMPv6ND_NS(tgt="fe80::1234"),
    "mld": ether() / IPv6(src="::", dst="ff02::16") / IPv6ExtHdrHopByHop() / ICMPv6MLReport2(),
    "solicitation": ether() / ND / ICMPv6ND_NS(tgt="fd00::2") / ICMPv6NDOptSrcLLAddr(lladdr=MINE),
    "router solicitation": ether() / ND / ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=MINE),
    "advertisement": ether() / ND / ICMPv6ND_NA(tgt="fd00::15") / ICMPv6NDOptDstLLAddr(lladdr=MINE),
    "link-local advertisement": ether() / ND / ICMPv6ND_NA(tgt="fe80::77"),
    "fragment": fragments(IP(src="10.0.2.15") / UDP())[1],
    "first fragment": fragments(IP(src="10.0.2.15") / UDP())[0],
    "fragment6": ether() / IPv6(src="fd00::15") / IPv6ExtHdrFragment(offset=10, nh=60) / bytes(100),
    "other icmp6": ether() / IPv6(src="fd00::15") / ICMPv6DestUnreach() / bytes(600),
    "no ip": Ether(src=MINE, dst=THEIRS, type=0x88CC) / (b"x" * 60),
}

BAD: dict[str, list[Any]] = {
    "malformed": [
        ether() / ND / IPv6ExtHdrFragment(m=1, nh=58),
        Raw(b"runt"),
        ether() / IP(src="10.0.2.15", version=5) / TCP(),
        ether() / IP(src="10.0.2.15", ihl=4) / TCP(),
        ether() / IPv6(src="fd00::15", version=4) / TCP(),
        Raw(bytes(ether() / IPv6(src="fd00::15"))[:30]),
        ether() / ARP(hwsrc=MINE, psrc="10.0.2.15", hwlen=8),
        ether() / IP(src="10.0.2.15", len=24, proto=17) / bytes(4),
        ether() / IP(src="10.0.2.15", flags="MF", proto=6) / bytes(TCP())[:8],
    ],
    "mac": [
        ether(THEIRS) / IP(src="10.0.2.15") / TCP(),
        ether(THEIRS) / arp(),
        ether(THEIRS) / Dot1Q(vlan=1) / IP(src="10.0.2.15") / TCP(),
        ether("ff:ff:ff:ff:ff:ff") / IP(src="10.0.2.15") / TCP(),
    ],
    "switch": [ether(to="01:80:c2:00:00:00") / LLC(dsap=0x42, ssap=0x42) / b"x", ether(to="01:80:c2:00:00:0e") / b"x"],
    "arp-mac": [ether() / arp(hwsrc=THEIRS), ether() / arp(op=2, hwsrc=THEIRS), ether() / Dot1Q() / arp(hwsrc=THEIRS)],
    "arp-address": [
        ether() / arp(psrc="10.0.2.16"),
        ether() / arp(op=2, psrc="10.0.2.2"),
        ether() / Dot1Q(vlan=5) / Dot1Q(vlan=6) / arp(psrc="10.0.2.2"),
    ],
    "ipv4": [
        ether() / IP(src="10.0.2.16") / TCP(),
        ether() / IP(src="10.0.2.2") / UDP(),
        ether() / IP(src="0.0.0.0") / TCP(dport=67),
        ether() / IP(src="0.0.0.0") / UDP(dport=69),
        ether() / IP(src="10.0.2.16", frag=100) / b"x",
        ether() / Dot1Q(vlan=1) / IP(src="10.0.2.16") / TCP(),
        Ether(src=MINE, dst=THEIRS, type=0x88A8) / Dot1Q(vlan=1) / IP(src="10.0.2.16") / TCP(),
    ],
    "ipv6": [
        ether() / IPv6(src="fd00::16") / TCP(),
        ether() / IPv6(src="fe80::2") / TCP(),
        ether() / IPv6(src="fd00:2::1") / TCP(),
        ether() / IPv6(src="::") / UDP(dport=547),
        ether() / IPv6(src="fd00::16") / IPv6ExtHdrFragment(offset=10) / b"x",
    ],
    "neighbour": [
        ether() / ND / ICMPv6ND_NS(tgt="fd00::2") / ICMPv6NDOptSrcLLAddr(lladdr=THEIRS),
        ether() / ND / ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=THEIRS),
        ether() / ND / ICMPv6ND_NA(tgt="fd00::15") / ICMPv6NDOptDstLLAddr(lladdr=THEIRS),
        ether() / ND / ICMPv6ND_NA(tgt="fd00::16") / ICMPv6NDOptDstLLAddr(lladdr=MINE),
        ether() / ND / ICMPv6ND_NA(tgt="fe80::2") / ICMPv6NDOptDstLLAddr(lladdr=MINE),
        ether() / ND / IPv6ExtHdrDestOpt() / ICMPv6ND_NA(tgt="fd00::2"),
        ether() / ND / IPv6ExtHdrFragment(m=0) / IPv6ExtHdrFragment(m=1) / ICMPv6ND_NA(tgt="fd00::15"),
        ether() / ND / ICMPv6ND_NS(tgt="fd00::2") / b"\1\0" / bytes(6),
        ether() / ND / ICMPv6ND_NA(tgt="fd00::15") / bytes([14, 30]) / bytes(238),
    ],
    "dhcp-server": [
        ether() / IP(src="10.0.2.15", dst="255.255.255.255") / UDP(sport=67, dport=68) / b"x",
        ether() / IP(src="10.0.2.15", dst="10.0.2.16") / UDP(sport=1000, dport=68) / b"x",
        fragments(IP(src="10.0.2.15") / UDP(sport=67, dport=68))[0],
        ether() / IPv6(src="fd00::15") / UDP(sport=547, dport=546) / b"x",
        ether() / IPv6(src="fd00::15") / IPv6ExtHdrDestOpt() / UDP(sport=547, dport=546) / b"x",
    ],
    "dhcp-mac": [ether() / ASK / bootp(THEIRS), ether() / ASK / b"x"],
    "router": [
        ether() / ND / ICMPv6ND_RA(),
        ether() / ND / IPv6ExtHdrHopByHop() / ICMPv6ND_RA(),
        ether() / ND / IPv6ExtHdrFragment(m=1) / ICMPv6ND_RA(),
        ether() / ND / ICMPv6ND_Redirect(),
    ],
    "hidden": [
        ether() / Dot1Q() / Dot1Q() / Dot1Q() / IP(src="10.0.2.15") / TCP(),
        Raw(bytes(ether())[:12] + b"\0\x40") / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(code=0x800) / IP() / TCP(),
        ether() / ND / LONG / ICMPv6ND_RA(),
        ether() / ND / IPv6ExtHdrFragment(m=1, nh=60) / LONG / ICMPv6ND_RA(),
    ],
}


@pytest.fixture
def network() -> Behind:
    return Behind()


@pytest.fixture
def guard(network: Behind) -> Guard:
    return Guard(network, MINE, ADDRESSES, RESERVED)


@pytest.fixture
def card(guard: Guard) -> Iterator[Card]:
    card = Card(guard)
    yield card
    card.close()


@pytest.mark.parametrize("name", GOOD)
def test_what_a_guest_sends_under_its_own_addresses_passes(
    card: Card, network: Behind, guard: Guard, name: str
) -> None:
    assert card.send(bytes(GOOD[name])) == 1
    assert guard.counts()["dropped"] == {}
    assert [packet.data for packet in network.sent] == [bytes(GOOD[name])]


@pytest.mark.parametrize("reason", BAD)
def test_what_it_sends_under_others_is_dropped_and_counted(
    card: Card, network: Behind, guard: Guard, reason: str
) -> None:
    for number, frame in enumerate(BAD[reason], 1):
        assert card.send(bytes(frame)) == 1
        assert guard.counts()["dropped"] == {"out": {reason: number}}, frame.command()
    assert network.sent == []


def test_every_reason_is_tried(guard: Guard) -> None:
    assert set(guard.reasons) == set(BAD)


def test_an_address_that_is_not_known_may_be_any_but_the_networks_own(network: Behind) -> None:
    guard = Guard(network, MINE, (), RESERVED)
    card = Card(guard)
    frames = [
        ether() / IP(src="192.168.7.7") / TCP(),
        ether() / IPv6(src="2001:db8::1") / TCP(),
        ether() / IP(src="10.0.2.2") / TCP(),
        ether() / IPv6(src="fd00::2") / TCP(),
        ether(THEIRS) / IP(src="192.168.7.7") / TCP(),
    ]
    assert card.send(*map(bytes, frames)) == 5
    assert guard.counts()["dropped"] == {"out": {"ipv4": 1, "ipv6": 1, "mac": 1}}
    assert [packet.data for packet in network.sent] == [bytes(frame) for frame in frames[:2]]


def test_a_lease_is_told_while_frames_go_by(card: Card, network: Behind, guard: Guard) -> None:
    leased = bytes(ether() / IP(src="10.0.2.99") / TCP())
    card.send(leased)
    guard.allow("10.0.2.99")
    assert guard.addresses == ("10.0.2.15", "fd00::15", "fd00:1::/64", "10.0.2.99")
    card.send(leased)
    guard.forget("10.0.2.99")
    card.send(leased)
    assert len(network.sent) == 1
    assert guard.counts()["dropped"] == {"out": {"ipv4": 2}}


def test_it_can_be_turned_off_and_on(card: Card, network: Behind, guard: Guard) -> None:
    spoofed = bytes(ether(THEIRS) / IP(src="1.2.3.4") / TCP())
    guard.enabled = False
    card.send(spoofed)
    guard.enabled = True
    card.send(spoofed)
    assert len(network.sent) == 1


def test_what_comes_to_a_guest_is_not_looked_at(card: Card, network: Behind) -> None:
    network.come(bytes(ether(THEIRS) / ND / ICMPv6ND_RA()), b"runt")
    assert len(card.received) == 2


def test_turned_round_it_looks_at_what_comes_from_below(network: Behind) -> None:
    guard = Guard(network, MINE, ADDRESSES, RESERVED, inward=True)
    bridge = Card(guard)
    network.come(bytes(BAD["mac"][0]), bytes(GOOD["tcp"]))
    assert bridge.send(bytes(BAD["mac"][0])) == 1
    assert [packet.data for packet in bridge.received] == [bytes(GOOD["tcp"])]
    assert guard.counts()["dropped"] == {"in": {"mac": 1}}


def test_a_card_has_so_many_addresses_and_they_are_addresses(guard: Guard) -> None:
    with pytest.raises(ConfigError, match="16 addresses of a kind at the most"):
        guard.change([f"10.0.0.{number}" for number in range(17)], ())
    with pytest.raises(ConfigError, match="'ten' is no address"):
        guard.allow("ten")
    assert guard.addresses == ADDRESSES


PREFIX = "fd00:78:656e::"
OWN, OWN_LOCAL = f"{PREFIX[:-1]}0:216:3eff:fe00:1", "fe80::216:3eff:fe00:1"
PRIVATE, PRIVATE_LOCAL = f"{PREFIX[:-1]}0:1234:5678:9abc:def0", "fe80::dead:beef:1:2"


class Claiming:
    """A card of a network whose cards make themselves IPv6 addresses."""

    def __init__(self, claims: Claims, mac: str, *given: str) -> None:
        self.claims, self.mac, self.network = claims, mac, Behind()
        self.guard = Guard(self.network, mac, ["10.0.2.15", *given], [f"{PREFIX}2", "fe80::2"], claims=claims)
        self.card = Card(self.guard)

    def passes(self, packet: Any) -> bool:
        assert self.card.send(bytes(Ether(src=self.mac, dst=THEIRS) / packet)) == 1
        return bool(self.network.sent)

    def sends(self, address: str) -> bool:
        """Whether it may send from there."""
        return self.passes(IPv6(src=address, dst=f"{PREFIX}2") / UDP() / b"x")

    def probes(self, address: str) -> bool:
        """Asks whether anybody has that address (RFC 4862, 5.4)."""
        return self.passes(IPv6(src="::", dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt=address))


@pytest.fixture
def two() -> Iterator[tuple[Claiming, Claiming]]:
    claims = Claims(f"{PREFIX}/64")
    one, other = Claiming(claims, MINE), Claiming(claims, THEIRS)
    yield one, other
    for each in (one, other):
        each.card.close()
        each.guard.close()


def test_a_card_has_the_ipv6_addresses_of_its_mac_and_no_others(two: tuple[Claiming, Claiming]) -> None:
    one, other = two
    assert one.sends(OWN) and one.sends(OWN_LOCAL)
    for address in (PRIVATE, PRIVATE_LOCAL, f"{PREFIX}2", "2001:db8::1", "fe80::2"):
        assert not one.sends(address)
    other.probes(OWN)
    assert not other.sends(OWN)


def test_a_card_has_what_it_asked_for_first_until_it_is_gone(two: tuple[Claiming, Claiming]) -> None:
    one, other = two
    for address in (PRIVATE, PRIVATE_LOCAL):
        assert one.probes(address) and one.sends(address)
        assert other.probes(address) and not other.sends(address)
        assert not other.passes(IPv6(src=address, dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=address))
    for address in ("2001:db8::7", f"{PREFIX}2", "fe80::2", f"{PREFIX}216:3eff:fe00:7"):
        one.probes(address)
        assert not one.sends(address)
    assert one.guard.own_addresses == (PRIVATE, PRIVATE_LOCAL)
    one.probes(OWN)
    assert one.guard.counts()["claimed"] == [OWN, PRIVATE, PRIVATE_LOCAL]
    one.card.close()
    one.guard.close()
    assert other.probes(PRIVATE) and other.sends(PRIVATE)


def test_an_address_that_it_has_still_is_claimed_by_the_first_word_of_neighbour_discovery_from_there(
    two: tuple[Claiming, Claiming],
) -> None:
    one, other = two  # a guest that goes on elsewhere asks nobody again
    assert not one.sends(PRIVATE)
    assert one.passes(IPv6(src=PRIVATE, dst=f"{PREFIX}2", hlim=255) / ICMPv6ND_NS(tgt=f"{PREFIX}2"))
    assert one.sends(PRIVATE) and not other.sends(PRIVATE)


def test_a_card_has_a_bounded_number_of_addresses(two: tuple[Claiming, Claiming]) -> None:
    one, other = two
    addresses = [f"{PREFIX}1:{number:x}" for number in range(1, 20)]
    for address in addresses:
        one.probes(address)
    assert [one.sends(address) for address in addresses] == [True] * 16 + [False] * 3
    assert one.sends(OWN) and other.probes(addresses[-1]) and other.sends(addresses[-1])


def test_who_may_spoof_claims_nothing(two: tuple[Claiming, Claiming]) -> None:
    one, other = two
    one.guard.enabled = False
    assert one.sends(PRIVATE) and one.probes(PRIVATE)
    assert other.probes(PRIVATE) and other.sends(PRIVATE)


def test_an_ipv6_address_that_a_card_is_given_is_nobody_elses(two: tuple[Claiming, Claiming]) -> None:
    one, other = two
    assert one.probes(PRIVATE) and one.sends(PRIVATE)
    given = Claiming(one.claims, "00:16:3e:00:00:03", PRIVATE)
    one.guard.disclaim(PRIVATE)  # as a network does, of who had it before
    for each in (one, other):
        each.probes(PRIVATE)
        assert not each.sends(PRIVATE)
    assert given.sends(PRIVATE) and one.sends(OWN)
    given.card.close()
    given.guard.close()
    assert other.probes(PRIVATE) and other.sends(PRIVATE)


def test_a_prefix_that_a_card_is_given_does_not_hold_what_is_the_networks(two: tuple[Claiming, Claiming]) -> None:
    one, _ = two
    one.guard.allow(f"{PREFIX}/64")
    assert one.sends(PRIVATE) and not one.sends(f"{PREFIX}2")
