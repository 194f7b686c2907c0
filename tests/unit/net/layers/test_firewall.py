from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, TCPerror, UDPerror, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6PacketTooBig,
    IPerror6,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    PadN,
)  # fmt: skip
from scapy.layers.l2 import ARP, Dot1Q, Ether

from xenia.net.layers.firewall import Firewall
from xenia.net.layers.rules import parse_rules
from xenia.testing.net import Behind, Card

GUEST, PEER, OTHER = "10.0.2.15", "192.0.2.1", "192.0.2.2"
GUEST6, PEER6 = "fd00::15", "2001:db8::1"
GUEST_MAC, PEER_MAC = "00:16:3e:00:00:01", "52:54:00:00:00:02"


class Fence:
    """A guest's card, a firewall and the network."""

    def __init__(self, rules: str) -> None:
        self.network = Behind()
        self.firewall = Firewall(self.network, parse_rules(rules.split(";")))
        self.card = Card(self.firewall)

    def out(self, datagram: Any) -> bool:
        """The guest sends it: whether it passes."""
        assert self.card.send(bytes(Ether(src=GUEST_MAC, dst=PEER_MAC) / datagram)) == 1
        return len(self.network.sent) == 1

    def come(self, datagram: Any) -> bool:
        """It comes from the network: whether it passes."""
        self.network.come(bytes(Ether(src=PEER_MAC, dst=GUEST_MAC) / datagram))
        return len(self.card.received) == 1

    @property
    def dropped(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = self.firewall.counts()["dropped"]
        return counts


def tcp(dport: int, flags: str = "S", sport: int = 40000, source: str = PEER, to: str = GUEST) -> Any:
    return (IPv6 if ":" in source else IP)(src=source, dst=to) / TCP(sport=sport, dport=dport, flags=flags)


def udp(dport: int, sport: int = 40000, source: str = PEER, to: str = GUEST) -> Any:
    return (IPv6 if ":" in source else IP)(src=source, dst=to) / UDP(sport=sport, dport=dport) / b"x"


def test_all_but_one_port_is_closed_and_the_guest_may_go_out() -> None:
    fence = Fence("in:allow:tcp:22;in:deny")
    assert fence.come(tcp(22))
    assert fence.out(tcp(40000, "SA", 22, GUEST, PEER))
    assert fence.come(tcp(22, "A"))
    assert not fence.come(tcp(23)) and not fence.come(udp(22)) and not fence.come(IP(src=PEER, dst=GUEST) / ICMP())
    assert fence.out(tcp(443, "S", 50000, GUEST, PEER))
    assert fence.come(tcp(50000, "SA", 443)) and fence.come(tcp(50000, "PA", 443))
    assert not fence.come(tcp(50001, "SA", 443)), "nobody asked for that"
    assert not fence.come(tcp(50000, "A", 443, source=OTHER)), "nor them"
    assert fence.out(udp(53, 50000, GUEST, PEER)) and fence.come(udp(50000, 53)) and not fence.come(udp(50000, 54))
    assert fence.dropped == {"in": {"rule": 6}}


def test_what_begins_something_is_judged_by_the_rules_even_where_its_flow_is_known() -> None:
    fence = Fence("in:deny")
    fence.out(tcp(443, "S", 50000, GUEST, PEER))
    assert not fence.come(tcp(50000, "S", 443))
    fence.out(IP(src=GUEST, dst=PEER) / ICMP(id=7))
    assert fence.come(IP(src=PEER, dst=GUEST) / ICMP(type="echo-reply", id=7))
    assert not fence.come(IP(src=PEER, dst=GUEST) / ICMP(type="echo-request", id=7))
    assert not fence.come(IP(src=PEER, dst=GUEST) / ICMP(type="echo-reply", id=8))
    fence.out(IPv6(src=GUEST6, dst=PEER6) / ICMPv6EchoRequest(id=9))
    assert fence.come(IPv6(src=PEER6, dst=GUEST6) / ICMPv6EchoReply(id=9))
    assert not fence.come(IPv6(src=PEER6, dst=GUEST6) / ICMPv6EchoReply(id=10))


def test_errors_about_what_was_allowed_are_allowed() -> None:
    fence = Fence("in:deny")
    fence.out(tcp(443, "S", 50000, GUEST, PEER))
    fence.out(udp(53, 50001, GUEST, PEER))
    fence.out(tcp(443, "S", 50002, GUEST6, PEER6))

    def unreachable(inner: Any, source: str = OTHER) -> Any:
        return IP(src=source, dst=GUEST) / ICMP(type=3, code=4) / inner

    assert fence.come(unreachable(IPerror(src=GUEST, dst=PEER) / TCPerror(sport=50000, dport=443)))
    assert fence.come(unreachable(IPerror(src=GUEST, dst=PEER) / UDPerror(sport=50001, dport=53)))
    assert not fence.come(unreachable(IPerror(src=GUEST, dst=PEER) / TCPerror(sport=50003, dport=443)))
    assert not fence.come(unreachable(IPerror(src=PEER, dst=GUEST) / TCPerror(sport=443, dport=50000)))
    assert not fence.come(unreachable(b"\x45"))
    too_big = IPv6(src="2001:db8::ff", dst=GUEST6) / ICMPv6PacketTooBig(mtu=1280)
    assert fence.come(too_big / IPerror6(src=GUEST6, dst=PEER6) / TCPerror(sport=50002, dport=443))
    assert not fence.come(too_big / IPerror6(src=GUEST6, dst=PEER6) / TCPerror(sport=50004, dport=443))


@pytest.mark.parametrize(
    ("rules", "datagram", "passes"),
    [
        ("in:allow:tcp:20-25;in:deny", tcp(20), True),
        ("in:allow:tcp:20-25;in:deny", tcp(25), True),
        ("in:allow:tcp:20-25;in:deny", tcp(26), False),
        ("in:allow:tcp:22;in:deny", tcp(22, source=PEER6, to=GUEST6), True),
        ("in:allow:tcp:22;in:deny", tcp(23, source=PEER6, to=GUEST6), False),
        ("in:deny:tcp:sport=1-1023", tcp(22, sport=1023), False),
        ("in:deny:tcp:sport=1-1023", tcp(22, sport=1024), True),
        ("in:allow:from=192.0.2.0/31;in:deny", tcp(22, source=PEER), True),
        ("in:allow:from=192.0.2.0/31;in:deny", tcp(22, source=OTHER), False),
        ("in:deny:from=[2001:db8::/64]", tcp(22, source=PEER6, to=GUEST6), False),
        ("in:deny:from=[2001:db8::/64]", tcp(22, source="2001:db8:1::1", to=GUEST6), True),
        ("in:deny:from=[2001:db8::/64]", tcp(22), True),
        ("in:deny:to=10.0.2.15", tcp(22), False),
        ("in:deny:to=10.0.2.16", tcp(22), True),
        ("in:deny:from=[52:54:00:00:00:02]", tcp(22), False),
        ("in:deny:from=[52:54:00:00:00:03]", tcp(22), True),
        ("in:deny:udp", tcp(22), True),
        ("in:deny:47", IP(src=PEER, dst=GUEST, proto=47) / b"xxxx", False),
        ("in:deny:icmp", IP(src=PEER, dst=GUEST) / ICMP(), False),
        ("out:deny;in:deny:udp", tcp(22), True),
        ("in:deny:tcp:22;in:allow", tcp(22), False),
        ("in:allow;in:deny:tcp:22", tcp(22), True),
        ("in:deny", Dot1Q(vlan=7) / tcp(22), False),
        ("in:deny", b"\x88\xb5 neither IP nor ARP", False),
        ("in:deny", IP(src=PEER, dst=GUEST, version=5) / b"x", False),
        # What a guest's addresses need
        ("in:deny", ARP(op=2, psrc=PEER), True),
        ("in:deny:arp", ARP(op=2, psrc=PEER), False),
        ("in:deny:arp:from=[52:54:00:00:00:03]", ARP(op=2, psrc=PEER), True),
        ("in:deny", IPv6(src=PEER6, dst=GUEST6) / ICMPv6ND_NA(), True),
        ("in:deny", IPv6(src=PEER6, dst="ff02::16") / ICMPv6MLReport2(), True),
        ("in:deny", IP(src=PEER, dst=GUEST) / UDP(sport=67, dport=68) / BOOTP(op=2), True),
        ("in:deny", IPv6(src="fe80::1", dst=GUEST6) / UDP(sport=547, dport=546) / b"x", True),
        ("in:deny", IP(src=PEER, dst=GUEST) / UDP(sport=68, dport=67) / b"x", False),
        # What hides
        ("in:allow:tcp:22", IP(src=PEER, dst=GUEST, frag=10, proto=6) / (b"x" * 64), False),
        ("in:allow:tcp:22", IP(src=PEER, dst=GUEST, frag=10, proto=17) / (b"x" * 64), True),
        ("in:allow:tcp:22:from=192.0.2.2", IP(src=PEER, dst=GUEST, frag=10, proto=6) / (b"x" * 64), True),
        ("in:allow;in:deny:tcp:22", IP(src=PEER, dst=GUEST, frag=10, proto=6) / (b"x" * 64), True),
        ("in:deny:tcp:22", IPv6(src=PEER6, dst=GUEST6) / IPv6ExtHdrDestOpt() / TCP(dport=22), False),
        ("in:deny:tcp:22", IPv6(src=PEER6, dst=GUEST6) / IPv6ExtHdrDestOpt() / TCP(dport=23), True),
        ("in:deny:tcp:22", IPv6(src=PEER6, dst=GUEST6) / IPv6ExtHdrFragment(offset=9, nh=6) / (b"x" * 64), False),
        ("in:deny:tcp", IPv6(src=PEER6, dst=GUEST6) / IPv6ExtHdrFragment(offset=9, nh=60) / (b"x" * 64), False),
        ("in:deny:tcp:22", IPv6(src=PEER6, dst=GUEST6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(250))])
         / TCP(dport=23), False),
        ("in:deny:tcp:22", IP(src=PEER, dst=GUEST, proto=6) / bytes(TCP(dport=23))[:8], False),
    ],
)  # fmt: skip
def test_the_first_rule_that_matches_decides(rules: str, datagram: Any, passes: bool) -> None:
    assert Fence(rules).come(datagram) == passes


def test_both_directions_may_be_meant() -> None:
    fence = Fence("any:deny:tcp:25")
    assert not fence.come(tcp(25)) and not fence.out(tcp(25, "S", 40000, GUEST, PEER))
    assert fence.dropped == {"in": {"rule": 1}, "out": {"rule": 1}}


def test_why_a_packet_is_dropped_is_told() -> None:
    fence = Fence("in:deny:tcp:22")
    whole = Ether(src=PEER_MAC) / IP(src=PEER, dst=GUEST) / UDP() / bytes(3000)
    for part in fragment(whole, 1480):  # type: ignore[no-untyped-call]
        fence.network.come(bytes(part))
    assert len(fence.card.received) == 3
    fence.come(IP(src=PEER, dst=GUEST, frag=10, proto=6) / (b"x" * 64))
    fence.come(IP(src=PEER, dst=GUEST, ihl=3) / b"x")
    assert fence.dropped == {"in": {"hidden": 1, "malformed": 1}}


def test_without_state_answers_are_judged_too() -> None:
    fence = Fence("stateless;in:deny")
    assert fence.out(tcp(443, "S", 50000, GUEST, PEER))
    assert not fence.come(tcp(50000, "SA", 443))
    assert fence.firewall.counts()["flows"] == 0


def test_rules_change_while_it_stands_and_flows_are_judged_anew() -> None:
    fence = Fence("in:allow:tcp:22;in:deny")
    assert fence.come(tcp(22)) and fence.firewall.counts()["flows"] == 1
    fence.firewall.configure(parse_rules(["in:allow:tcp:80", "in:deny"]))
    assert not fence.come(tcp(22, "A")) and fence.come(tcp(80))
    assert fence.out(tcp(443, "A", 50000, GUEST, PEER)) and fence.come(tcp(50000, "A", 443))


def test_a_scan_does_not_fill_memory_nor_end_what_is_established() -> None:
    fence = Fence("in:allow:tcp:22;in:deny")
    fence.out(tcp(443, "S", 50000, GUEST, PEER))
    fence.come(tcp(50000, "SA", 443))
    frame = bytearray(bytes(Ether(src=PEER_MAC, dst=GUEST_MAC) / tcp(22)))
    for first in range(0, 40000, 64):
        batch = []
        for number in range(first, first + 64):
            frame[28:30] = number.to_bytes(2)
            batch.append(bytes(frame))
        fence.network.come(*batch)
    assert 8000 < fence.firewall.counts()["flows"] <= 8192
    assert len(fence.card.received) == 40000
    assert fence.come(tcp(50000, "A", 443))


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=14, max_size=300), st.sampled_from(["0800", "86dd", "0806", "8100", "88a8"]))
def test_any_bytes_are_judged(data: bytes, ethertype: str) -> None:
    fence = Fence("in:allow:tcp:22:from=10.0.0.0/8;any:deny:udp:1-1000;out:deny:icmpv6;in:deny")
    frame = data[:12] + bytes.fromhex(ethertype) + data[14:]
    fence.network.come(frame)
    assert fence.card.send(frame) == 1
    assert len(fence.card.received) + sum(fence.dropped.get("in", {}).values()) == 1
    assert len(fence.network.sent) + sum(fence.dropped.get("out", {}).values()) == 1
