"""Checksums against scapy's."""

import logging

import pytest
from hypothesis import given, strategies as st

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: E402
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, PadN  # noqa: E402
from scapy.layers.l2 import ARP, Dot1Q, Ether  # noqa: E402
from scapy.packet import Packet as Layers, Raw  # noqa: E402
from scapy.utils import checksum as scapys_checksum  # noqa: E402

from xenia.testing.packet import Packet  # noqa: E402
from xenia.testing.sums import RIGHT, UNKNOWN, WRONG, Own, bytes_a_second, checksum, checksum_of, verified  # noqa: E402

NEEDS_CSUM = 1
ETHER = Ether(src="00:16:3e:00:00:01", dst="00:16:3e:00:00:02")
FOUR, SIX = IP(src="10.0.2.15", dst="10.0.2.2"), IPv6(src="fec0::1", dst="fec0::2")
EXTENDED = SIX / IPv6ExtHdrDestOpt(options=[PadN()])
DATA = Raw(bytes(range(256)) * 5 + b"odd")


@given(st.binary(max_size=300), st.booleans())
def test_a_sum_is_that_of_its_words(data: bytes, full: bool) -> None:
    data = b"\xff" * len(data) if full else data
    assert checksum(data) == scapys_checksum(data).to_bytes(2, "big")


@given(st.binary(min_size=300, max_size=400), st.integers(0, 300), st.integers(0, 400))
def test_parts_may_begin_and_end_at_odd_bytes(data: bytes, start: int, end: int) -> None:
    end = max(start, min(end, len(data)))
    assert checksum_of(Packet(data), start, end) == scapys_checksum(data[start:end]).to_bytes(2, "big")


def asked(frame: Layers, transport: type[Layers], offset: int) -> tuple[Packet, bytes]:
    """The frame with the pseudo header's sum only, as a guest hands it over, and as it is to become."""
    whole = bytes(frame)
    start = len(whole) - len(bytes(Ether(whole)[transport]))
    at = start + offset
    # What is to be there makes the sum of all nothing, so what is there before is the pseudo header's sum.
    without = whole[:at] + b"\0\0" + whole[at + 2 :]
    rest = int.from_bytes(checksum(without[start:]), "big")
    pseudo = (0xFFFF - int.from_bytes(whole[at : at + 2], "big") + rest) % 0xFFFF
    given_over = whole[:at] + pseudo.to_bytes(2, "big") + whole[at + 2 :]
    return Packet(given_over, NEEDS_CSUM, csum_start=start, csum_offset=offset), whole


@pytest.mark.parametrize("ip", [FOUR, SIX, Dot1Q(vlan=3) / SIX, EXTENDED])
@pytest.mark.parametrize(("transport", "offset"), [(TCP(dport=80), 16), (UDP(dport=80), 6)])
def test_a_checksum_that_is_asked_for_is_filled_in(ip: Layers, transport: Layers, offset: int) -> None:
    packet, whole = asked(ETHER / ip / transport / DATA, type(transport), offset)
    own = Own(packet)
    assert own.fill()
    assert own.packet == Packet(whole, csum_start=packet.csum_start, csum_offset=offset)


def test_a_udp_checksum_of_nothing_is_told_as_all_ones() -> None:
    frame = ETHER / FOUR / UDP(dport=80) / b"\0\0"
    bytes_then = int.from_bytes(bytes(frame)[40:42], "big")
    packet, _ = asked(ETHER / FOUR / UDP(dport=80) / bytes_then.to_bytes(2, "big"), UDP, 6)
    own = Own(packet)
    assert own.fill()
    assert own.packet.data[40:42] == b"\xff\xff"


@pytest.mark.parametrize(("start", "offset"), [(100, 0), (99, 0), (34, 65), (65535, 65535), (65535, 1), (0, 65535)])
def test_a_checksum_where_no_head_is_is_refused(start: int, offset: int) -> None:
    packet = Packet(b"x" * 100, NEEDS_CSUM, csum_start=start, csum_offset=offset)
    assert not Own(packet).fill()


def test_a_checksum_behind_the_head_is_refused() -> None:
    assert Own(Packet(b"x" * 400, NEEDS_CSUM, csum_start=200, csum_offset=54)).fill()
    assert not Own(Packet(b"x" * 400, NEEDS_CSUM, csum_start=200, csum_offset=55)).fill()


@pytest.mark.parametrize("ip", [FOUR, SIX, Dot1Q(vlan=3) / SIX, EXTENDED])
@pytest.mark.parametrize("transport", [TCP(dport=80, options=[("MSS", 1460)]), UDP(dport=80)])
def test_a_right_checksum_is_right_and_any_other_wrong(ip: Layers, transport: Layers) -> None:
    whole = bytes(ETHER / ip / transport / DATA)
    assert verified(Packet(whole)) == RIGHT
    assert verified(Packet(whole + b"padding")) == RIGHT
    for at in (30, 76, len(whole) - 1):
        assert verified(Packet(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])) == WRONG


def test_a_udp_datagram_without_a_checksum_is_right_in_ipv4_only() -> None:
    assert verified(Packet(bytes(ETHER / FOUR / UDP(chksum=0) / DATA))) == RIGHT
    assert verified(Packet(bytes(ETHER / SIX / UDP(chksum=0) / DATA))) == WRONG


@pytest.mark.parametrize("frame", [ARP(), FOUR / ICMP(), IP(flags="MF") / TCP(), IP(frag=3) / TCP(), FOUR / UDP(len=9)])
def test_of_what_has_no_checksum_of_its_own_nothing_is_said(frame: Layers) -> None:
    assert verified(Packet(bytes(ETHER / frame))) == UNKNOWN


def test_a_tag_comes_and_goes_and_what_is_asked_for_moves_with_it() -> None:
    plain, _ = asked(ETHER / FOUR / TCP() / DATA, TCP, 16)
    tagged, _ = asked(ETHER / Dot1Q(prio=1, vlan=7) / FOUR / TCP() / DATA, TCP, 16)
    own = Own(plain)
    own.tag(1 << 13 | 7)
    assert own.packet == tagged
    own.untag()
    assert own.packet == plain
    own = Own(tagged)
    own.untag()
    assert own.packet == plain
    own.fill()
    assert verified(own.packet) == RIGHT


def test_sums_are_fast() -> None:
    """A few GB/s at least, on whatever runs this."""
    assert bytes_a_second(65536) > 1e9
