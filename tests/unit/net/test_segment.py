"""Frames that are cut, and made one again: what scapy says of them, and the one against the other."""

import logging
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import IP, TCP, UDP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.l2 import Dot1Q, Ether  # noqa: E402
from scapy.packet import Packet as Layers, Raw  # noqa: E402

from xenia.testing.packet import Packet  # noqa: E402
from xenia.testing.segments import coalesced, segmented  # noqa: E402
from xenia.testing.sums import RIGHT, verified  # noqa: E402

NEEDS_CSUM, DATA_VALID = 1, 2
TCPV4, TCPV6, ECN = 1, 4, 0x80
TAKES_NEEDS_CSUM, TAKES_GSO = 1, 2
LINK = 14 + 4 + 40 + 32 + 1448  # bytes of the longest frame here
ETHER = Ether(src="00:16:3e:00:00:01", dst="00:16:3e:00:00:02")
FOUR, OTHER, SIX = (
    IP(src="10.0.2.15", dst="10.0.2.2", id=65530, flags="DF"),
    IP(src="10.0.2.16", dst="10.0.2.2"),
    IPv6(src="fec0::1", dst="fec0::2"),
)
OPTIONS = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]


def payload(size: int) -> bytes:
    return random.Random(size).randbytes(size)


made_before: dict[tuple[int, int, int, str, int], Packet] = {}  # scapy takes a millisecond for each


def gso(ip: Layers, size: int, mss: int = 1448, flags: str = "PA", tag: Layers | None = None) -> Packet:
    """A frame of `size` payload bytes as a guest hands it over."""
    key = id(ip), size, mss, flags, id(tag)
    if key not in made_before:
        tcp = TCP(sport=1234, dport=80, seq=2**32 - 5000, ack=7, flags=flags, options=OPTIONS)
        frame = bytes((ETHER / tag if tag else ETHER) / ip / tcp / Raw(payload(size)))
        start = len(frame) - size - 32
        kind = (TCPV6 if isinstance(ip, IPv6) else TCPV4) | (ECN if "C" in flags else 0)
        made_before[key] = Packet(frame, NEEDS_CSUM, kind, start + 32, mss, start, 16)
    return made_before[key]


def expected(packet: Packet, mss: int) -> list[bytes]:
    """Its segments, as scapy sums them."""
    whole = Ether(packet.data)
    data, flags = bytes(whole[TCP].payload), whole[TCP].flags
    made = []
    for at in range(0, len(data), mss):
        frame = whole.copy()
        frame[TCP].remove_payload()
        frame[TCP].add_payload(Raw(data[at : at + mss]))
        frame[TCP].seq = (whole[TCP].seq + at) % 2**32
        clear = ("" if at + mss >= len(data) else "FP") + ("C" if at else "")
        frame[TCP].flags = "".join(flag for flag in str(flags) if flag not in clear)
        del frame[TCP].chksum
        if IP in frame:
            frame[IP].id = (whole[IP].id + at // mss) % 2**16
            del frame[IP].len, frame[IP].chksum
        else:
            del frame[IPv6].plen
        made.append(bytes(frame))
    return made


@pytest.mark.parametrize("tag", [None, Dot1Q(vlan=5)])
@pytest.mark.parametrize("ip", [FOUR, SIX])
@pytest.mark.parametrize("size", [1, 1448, 1449, 10 * 1448, 65000])
def test_a_large_frame_is_cut_to_segments_with_checksums(ip: Layers, size: int, tag: Layers | None) -> None:
    packet = gso(ip, size, tag=tag)
    made = segmented(packet, LINK)
    assert made
    assert [each.data for each in made] == expected(packet, 1448)
    assert all((each.flags, each.gso_type) == (DATA_VALID, 0) for each in made)


def test_fin_and_push_are_the_last_ones_and_cwr_is_the_first_ones() -> None:
    packet = gso(FOUR, 5000, flags="FPAEC")
    made = segmented(packet, LINK)
    assert made
    assert [each.data for each in made] == expected(packet, 1448)
    assert [str(Ether(each.data)[TCP].flags) for each in made] == ["AEC", "AE", "AE", "FPAE"]


def test_a_smaller_link_has_smaller_segments() -> None:
    packet = gso(SIX, 5000)
    assert [each.data for each in segmented(packet, 590) or []] == expected(packet, 590 - 14 - 40 - 32)


def test_who_sums_itself_gets_segments_to_be_summed() -> None:
    packet = gso(FOUR, 5000)
    made = segmented(packet, LINK, TAKES_NEEDS_CSUM)
    assert made
    assert all((each.flags, each.csum_start, each.csum_offset) == (NEEDS_CSUM, 34, 16) for each in made)
    assert [segmented(each, LINK) for each in made] == [
        [Packet(data, 0, csum_start=34, csum_offset=16)] for data in expected(packet, 1448)
    ]


@pytest.mark.parametrize("ip", [FOUR, SIX])
def test_who_cuts_itself_gets_frames_of_several_segments(ip: Layers) -> None:
    packet = gso(ip, 60000)
    made = segmented(packet, 15000, TAKES_GSO)
    assert made
    assert {len(each.data) for each in made[:-1]} == {packet.hdr_len + 10 * 1448}
    assert all(each.gso_size == 1448 for each in made)
    cut = [data for each in made for data in segmented(each, LINK) or []]
    assert [each.data for each in cut] == expected(packet, 1448)
    assert segmented(packet, 0, TAKES_GSO) == [packet]


def test_a_plain_frame_stays_what_it_is_and_one_that_is_too_long_cannot_be_cut() -> None:
    plain = Packet(bytes(ETHER / FOUR / UDP() / Raw(b"x" * 1000)))
    assert segmented(plain, LINK) == [plain]
    assert segmented(plain, 1000) is None


@pytest.mark.parametrize(
    "change",
    [
        {"gso_type": 3},
        {"gso_type": 4},
        {"gso_type": 7},
        {"gso_size": 0},
        {"gso_size": 47},
        {"data": gso(FOUR, 3000).data[:40]},
        {"data": gso(FOUR, 3000).data[:-1]},
        {"data": b""},
        {"data": b"x" * 3000},
        {"data": bytes(ETHER / IP(flags="MF") / TCP() / Raw(b"x" * 3000))},
        {"data": bytes(ETHER / IP() / UDP() / Raw(b"x" * 3000))},
    ],
)
def test_a_frame_that_contradicts_itself_is_not_cut(change: dict[str, int | bytes]) -> None:
    assert segmented(replace(gso(FOUR, 3000), **change), LINK) is None  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    head=st.builds(
        Packet,
        st.just(b""),
        *[st.integers(0, 255)] * 2,
        *[st.one_of(st.sampled_from([0, 34, 48, 66, 1448, 65535]), st.integers(0, 65535))] * 4,
    ),
    changes=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=4),
    four=st.booleans(),
    size=st.sampled_from([0, 1, 1448, 3000]),
    most=st.integers(0, 2000),
    takes=st.integers(0, 3),
)
def test_whatever_a_guest_says_of_a_frame_is_survived(
    head: Packet, changes: list[tuple[int, int]], four: bool, size: int, most: int, takes: int
) -> None:
    data = bytearray(gso(FOUR if four else SIX, size).data)
    for at, value in changes:
        if at < len(data):
            data[at] = value
    made = segmented(replace(head, data=bytes(data)), most, takes)
    assert made is None or (0 < len(made) < 70 and all(len(each.data) <= (most or 65535) for each in made))


def segments(packet: Packet) -> list[Packet]:
    """As a link without a vnet header brings them."""
    return [Packet(each.data) for each in segmented(packet, LINK) or []]


@pytest.mark.parametrize("ip", [FOUR, SIX])
def test_segments_become_one_frame_again(ip: Layers) -> None:
    packet = gso(ip, 30000)
    (made,) = coalesced(segments(packet))
    assert made.data[: packet.csum_start + 16] == packet.data[: packet.csum_start + 16] or isinstance(ip, IP)
    assert (made.flags, made.gso_type, made.gso_size) == (packet.flags, packet.gso_type, 1448)
    assert (made.hdr_len, made.csum_start, made.csum_offset) == (packet.hdr_len, packet.csum_start, 16)
    assert segments(made) == segments(packet)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([FOUR, SIX, OTHER]),
            st.sampled_from([1, 1448, 4000, 9000]),
            st.sampled_from([100, 536, 1448]),
            st.sampled_from(["A", "PA", "FA", "PAE", "FPAC", "S", "R", "PAU"]),
        ),
        max_size=4,
    ),
    st.integers(0, 2**32),
)
def test_to_cut_what_was_made_one_makes_the_same_segments(flows: list[tuple[Layers, int, int, str]], seed: int) -> None:
    turns = random.Random(seed)
    streams = [segments(gso(*flow)) for flow in flows]
    batch: list[Packet] = []
    while any(streams) and len(batch) < 64:
        batch.append(turns.choice([stream for stream in streams if stream]).pop(0))
    made = coalesced(batch)
    again = [each.data for frame in made for each in segmented(frame, LINK) or []]
    for addresses in {each.data[26:34] for each in batch}:
        before = [each.data for each in batch if each.data[26:34] == addresses]
        assert [each for each in again if each[26:34] == addresses] == before
    assert len(again) == len(batch)


def test_flows_among_each_other_become_one_frame_each() -> None:
    one, other = segments(gso(FOUR, 14480)), segments(gso(SIX, 14480))
    made = coalesced([each for pair in zip(one, other, strict=True) for each in pair])
    assert [each.gso_type for each in made] == [TCPV4, TCPV6]


def changed(packet: Packet, layer: type[Layers], **fields: object) -> Packet:
    """With other fields, and right checksums."""
    frame = Ether(packet.data)
    for name, value in fields.items():
        setattr(frame[layer], name, value)
    del frame[TCP].chksum
    if IP in frame:
        del frame[IP].chksum
    return Packet(bytes(frame))


@pytest.mark.parametrize(
    ("ip", "layer", "fields"),
    [
        (FOUR, IP, {"id": 9}),
        (FOUR, IP, {"ttl": 9}),
        (FOUR, IP, {"tos": 3}),
        (FOUR, IP, {"flags": 0}),
        (SIX, IPv6, {"hlim": 9}),
        (SIX, IPv6, {"tc": 3}),
        (SIX, IPv6, {"fl": 9}),
        (SIX, TCP, {"seq": 9}),
        (SIX, TCP, {"ack": 9}),
        (SIX, TCP, {"window": 9}),
        (SIX, TCP, {"options": [*OPTIONS[:2], ("Timestamp", (9, 2))]}),
        (SIX, TCP, {"flags": "APE"}),
        (SIX, TCP, {"flags": "AU"}),
        (SIX, TCP, {"flags": "AC"}),
        (SIX, TCP, {"flags": "AR"}),
        (SIX, TCP, {"dport": 81}),
        (SIX, IPv6, {"dst": "fec0::3"}),
        (SIX, Ether, {"src": "00:16:3e:00:00:09"}),
    ],
)
def test_what_differs_in_a_header_is_not_joined(ip: Layers, layer: type[Layers], fields: dict[str, object]) -> None:
    first, second = segments(gso(ip, 2 * 1448))
    assert len(coalesced([first, second])) == 1
    odd = changed(second, layer, **fields)
    assert coalesced([first, odd]) == [replace(each, flags=DATA_VALID) for each in (first, odd)]


@pytest.mark.parametrize(("number", "flags", "joined"), [(7, "DF", True), (0, 0, True), (7, 0, False)])
def test_segments_of_one_identification_are_joined_where_nobody_fragments(
    number: int, flags: str | int, joined: bool
) -> None:
    packets = [changed(each, IP, id=number, flags=flags) for each in segments(gso(FOUR, 3 * 1448))]
    assert [each.gso_size for each in coalesced(packets)] == ([1448] if joined else [0, 0, 0])


def test_a_wrong_checksum_is_left_to_the_guest() -> None:
    first, second = segments(gso(FOUR, 2 * 1448))
    wrong = Packet(second.data[:-1] + bytes([second.data[-1] ^ 1]))
    assert coalesced([first, wrong]) == [replace(first, flags=DATA_VALID), wrong]


def test_what_came_late_is_not_joined_with_what_came_before_it() -> None:
    first, second, third = segments(gso(FOUR, 3 * 1448, flags="A"))
    assert [each.flags for each in coalesced([second, first, third])] == [DATA_VALID] * 3


def test_a_datagram_with_a_right_checksum_need_not_be_verified_again() -> None:
    datagram = Packet(bytes(ETHER / FOUR / UDP() / b"abc"))
    assert verified(datagram) == RIGHT
    assert coalesced([datagram]) == [replace(datagram, flags=DATA_VALID)]
