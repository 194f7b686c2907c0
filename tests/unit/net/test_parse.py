"""Headers, against scapy's idea of them, and bytes of any kind."""

import logging

import pytest
from hypothesis import given, strategies as st

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: E402
from scapy.layers.inet6 import (  # noqa: E402
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether  # noqa: E402
from scapy.packet import Packet, Raw  # noqa: E402

from xenia.testing.headers import Cliff, Parsed  # noqa: E402

HEAD = 256
OTHER, ARP_KIND, IPV4, IPV6 = range(4)
FRAGMENT, LATER_FRAGMENT, BROKEN, HIDDEN = 1, 2, 4, 8
ETHER = Ether(src="00:16:3e:00:00:01", dst="00:16:3e:00:00:02")
FOUR, SIX = IP(src="10.0.2.15", dst="10.0.2.2"), IPv6(src="fec0::1", dst="fec0::2")
TRANSPORT = TCP(sport=1234, dport=80, flags="PA")

cliff = Cliff()


def parse(frame: Packet) -> Parsed:
    return cliff.parse(bytes(frame))


@pytest.mark.parametrize("tags", [[], [Dot1Q(vlan=7)], [Dot1AD(vlan=100), Dot1Q(vlan=4094, prio=3)]])
@pytest.mark.parametrize("ip", [FOUR, SIX])
@pytest.mark.parametrize(
    ("transport", "protocol", "header"),
    [
        (TCP(sport=1234, dport=80, flags="PA"), 6, 20),
        (TCP(sport=1234, dport=80, flags="S", options=[("MSS", 1460), ("NOP", None), ("WScale", 7)]), 6, 28),
        (UDP(sport=1234, dport=80), 17, 8),
    ],
)
def test_a_transports_header_is_found_behind_tags_and_either_ip(
    tags: list[Packet], ip: Packet, transport: Packet, protocol: int, header: int
) -> None:
    frame = ETHER
    for tag in tags:
        frame = frame / tag
    found = parse(frame / ip / transport / Raw(b"x" * 300))
    network = 14 + 4 * len(tags)
    assert (found.flags, found.network, found.protocol) == (0, network, protocol)
    assert found.kind == (IPV4 if ip is FOUR else IPV6)
    assert found.transport == network + (20 if ip is FOUR else 40)
    assert found.payload == found.transport + header
    assert found.end == found.payload + 300
    assert (found.source_port, found.target_port) == (1234, 80)
    assert found.tcp_flags == (int(transport.flags) if protocol == 6 else 0)
    assert [tag & 0xFFF for tag in found.tags] == [tag.vlan for tag in tags]


def test_options_and_padding_are_not_the_payload() -> None:
    frame = ETHER / IP(options=[b"\x01" * 8]) / UDP(sport=5, dport=6) / b"abc"
    found = cliff.parse(bytes(frame) + b"\0" * 9)
    assert (found.transport, found.payload, found.end) == (42, 50, 53)


def test_extension_headers_are_passed() -> None:
    extensions = IPv6ExtHdrHopByHop(options=[PadN()]) / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt(options=[PadN()])
    found = parse(ETHER / SIX / extensions / UDP(sport=5, dport=6))
    assert (found.flags, found.protocol, found.transport, found.target_port) == (0, 17, 14 + 40 + 24, 6)


def test_icmp_is_found_in_both() -> None:
    four, six = parse(ETHER / FOUR / ICMP()), parse(ETHER / SIX / ICMPv6EchoRequest())
    assert (four.protocol, four.transport, four.payload) == (1, 34, 42)
    assert (six.protocol, six.transport, six.payload) == (58, 54, 62)


def test_arp_is_whole_or_broken() -> None:
    whole = bytes(ETHER / ARP(psrc="10.0.2.15"))
    assert (cliff.parse(whole).kind, cliff.parse(whole).flags) == (ARP_KIND, 0)
    assert cliff.parse(whole[:-1]).flags == BROKEN
    assert parse(ETHER / ARP(hwlen=7)).flags == BROKEN


def test_a_first_fragment_has_ports_and_a_later_one_has_none() -> None:
    first, later = parse(ETHER / IP(flags="MF") / TRANSPORT), parse(ETHER / IP(frag=185) / TRANSPORT)
    assert (first.flags, first.target_port) == (FRAGMENT, 80)
    assert (later.flags, later.target_port, later.transport) == (FRAGMENT | LATER_FRAGMENT, 0, 0)
    first, later = (parse(ETHER / SIX / IPv6ExtHdrFragment(offset=at, m=1) / TRANSPORT) for at in (0, 181))
    assert (first.flags, first.target_port) == (FRAGMENT, 80)
    assert (later.flags, later.protocol, later.transport) == (FRAGMENT | LATER_FRAGMENT, 6, 0)


@pytest.mark.parametrize(
    "frame",
    [
        ETHER / IP(len=200) / TRANSPORT,
        ETHER / IP(ihl=4) / TRANSPORT,
        ETHER / IP(ihl=15, len=40) / TRANSPORT,
        ETHER / IP(version=6) / TRANSPORT,
        ETHER / IP(len=30) / TRANSPORT,
        ETHER / FOUR / TCP(dataofs=4),
        ETHER / FOUR / TCP(dataofs=6),
        ETHER / IPv6(plen=100) / TRANSPORT,
        ETHER / IPv6(plen=19) / TRANSPORT,
        ETHER / IPv6(version=4) / TRANSPORT,
        ETHER / IPv6(nh=60) / IPv6ExtHdrDestOpt(len=9),
        Ether(src="00:16:3e:00:00:01", dst="00:16:3e:00:00:02", type=0x8100),
    ],
)
def test_what_contradicts_the_frame_is_broken(frame: Packet) -> None:
    found = parse(frame)
    assert found.flags == BROKEN
    assert not found.transport


def test_what_lies_beyond_the_head_is_hidden() -> None:
    far = SIX / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 200)]) / TRANSPORT
    found = parse(ETHER / far / Raw(b"x" * 100))
    assert (found.flags, found.transport) == (HIDDEN, 0)
    many = IPv6(nh=60)
    for _ in range(9):
        many = many / IPv6ExtHdrDestOpt(nh=60, options=[PadN()])
    assert parse(ETHER / many / TRANSPORT).flags == HIDDEN


@given(
    start=st.sampled_from([b"", *(bytes(frame) for frame in (ETHER / FOUR / TRANSPORT, ETHER / SIX / TRANSPORT))]),
    changes=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 255))),
    rest=st.binary(max_size=400),
    length=st.integers(0, 500),
)
def test_nothing_is_read_beyond_the_head_and_all_that_is_told_is_there(
    start: bytes, changes: list[tuple[int, int]], rest: bytes, length: int
) -> None:
    data = bytearray(start + rest)
    for at, value in changes:
        if at < len(data):
            data[at] = value
    frame = bytes(data[:length])
    found = cliff.parse(frame)
    there = min(len(frame), HEAD)
    assert found.end <= len(frame)
    assert found.transport < max(there, 1)
    assert found.payload <= min(there, found.end)
    if found.kind and not found.flags & (BROKEN | HIDDEN):
        assert found.network + {ARP_KIND: 28, IPV4: 20, IPV6: 40}[found.kind] <= min(there, found.end)


@given(st.binary(min_size=14, max_size=300), st.sampled_from([b"\x08\0", b"\x86\xdd", b"\x81\0", b"\x88\xa8"]))
def test_any_bytes_behind_an_ethertype_are_survived(data: bytes, ethertype: bytes) -> None:
    cliff.parse(data[:12] + ethertype + data[14:])


@pytest.mark.parametrize(("ip", "other"), [(FOUR, IP(src="10.0.2.3")), (SIX, IPv6(src="fec0::3"))])
def test_a_flow_has_one_hash_in_both_directions_and_others_have_others(ip: Packet, other: Packet) -> None:
    back = ip.copy()
    back.src, back.dst = ip.dst, ip.src
    flow = parse(ETHER / ip / TCP(sport=1, dport=2)).flow
    assert parse(ETHER / back / TCP(sport=2, dport=1)).flow == flow
    others = [ip / TCP(sport=1, dport=3), ip / TCP(sport=2, dport=1), other / TCP(sport=1, dport=2)]
    assert flow not in [parse(ETHER / each).flow for each in [*others, ip / UDP(sport=1, dport=2)]]
    frame = bytes(ETHER / ip / TCP(sport=1, dport=2))
    assert cliff.parse(frame, seed=1).flow != cliff.parse(frame, seed=2).flow


def test_the_fragments_of_a_datagram_are_one_flow() -> None:
    fragments = [IP(src="1.2.3.4", flags="MF") / TRANSPORT, IP(src="1.2.3.4", frag=185, proto=6) / Raw(b"x" * 8)]
    assert len({parse(ETHER / each).flow for each in fragments}) == 1
