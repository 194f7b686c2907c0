"""What a guest sends."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable

import pytest

from tests.unit.backends.vif.conftest import Wire
from tests.unit.backends.vif.packets import (
    DATA_VALID,
    ETHERNET,
    ICMP,
    NEEDS_CSUM,
    OFFSETS,
    TCP,
    UDP,
    blank,
    frame,
    transport_of,
)
from xenia.abi.netif import ExtraType, GsoType, TxFlags
from xenia.backends.vif.rate import Rate
from xenia.backends.vif.steering import Steering
from xenia.testing.net import Behind
from xenia.testing.netfront import Gso, NetfrontQueue, extra_multicast

FRAME = ETHERNET + b"\x88\xb5" + bytes(range(256)) * 300
GROUP = bytes.fromhex("01005e000001")
OKAY, ERROR, DROPPED = 0, -1, -2
PAYLOAD = bytes(range(256)) * 20


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("length", [14, 60, 255, 256, 257, 1514, 4096, 4097, 9014, 65535])
def test_a_frame_goes_to_the_network_whole(wire: Wire, length: int, split: bool, listens: bool) -> None:
    network = Behind()
    guest = wire(network, split=split, listens=listens).guest
    assert set(guest.send(FRAME[:length])) == {OKAY}
    assert [packet.data for packet in network.sent] == [FRAME[:length]]


@pytest.mark.parametrize(
    "parts",
    [
        [(4082, 14), (0, 100)],
        [(4095, 1), (4094, 2), (100, 300)],
        [(0, 100)] + [(10, 20)] * 17,
        [(0, 100), (0, 0), (7, 4000)],
        [(0, 14)] + [(96, 4000)] * 16,
        [(0, 14)] + [(0, 50)] * 18,
    ],
)
def test_a_frame_may_be_in_any_pieces(wire: Wire, parts: list[tuple[int, int]]) -> None:
    network = Behind()
    guest = wire(network).guest
    data = FRAME[: sum(length for _, length in parts)]
    assert set(guest.send(data, parts=parts)) == {OKAY}
    assert [packet.data for packet in network.sent] == [data]


def test_frames_go_in_their_order_and_are_answered_in_it(wire: Wire) -> None:
    network = Behind()
    guest = wire(network).guest
    frames = [FRAME[: 20 + 100 * index] for index in range(60)]
    ids = [number for data in frames for number in guest.put(data)]
    guest.push()
    assert [number for number, _ in guest.answers(len(ids))] == ids
    assert [packet.data for packet in network.sent] == frames


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor only")
def test_large_frames_are_sent_beside_the_guest_and_a_small_one_by_its_own_thread(wire: Wire) -> None:
    network = Behind()
    wired = wire(network, listens=True)
    for _ in range(3):
        wired.guest.send(FRAME[:65535])
    assert wired.card.counts["beside"] == 2  # the first one was not expected
    assert wired.guest.guest.frames.charged > 0
    for _ in range(3):
        wired.guest.send(FRAME[:60])
    assert wired.card.counts["beside"] == 2
    assert [len(packet.data) for packet in network.sent] == [65535] * 3 + [60] * 3


@pytest.mark.parametrize("tag", [None, 7])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_blank_checksum_is_told_with_its_place(wire: Wire, protocol: int, version: int, tag: int | None) -> None:
    network = Behind()
    guest = wire(network).guest
    data = frame(b"hello", protocol=protocol, version=version, tag=tag)
    assert guest.send(data, flags=TxFlags.CSUM_BLANK | TxFlags.DATA_VALIDATED) == [OKAY]
    (packet,) = network.sent
    assert packet.data == data
    assert (packet.flags, packet.csum_start, packet.csum_offset) == (
        NEEDS_CSUM,
        transport_of(version, tag),
        OFFSETS[protocol],
    )


def test_a_checksum_that_was_looked_at_is_told(wire: Wire) -> None:
    network = Behind()
    guest = wire(network).guest
    guest.send(frame(b"x", summed=True), flags=TxFlags.DATA_VALIDATED)
    guest.send(frame(b"x", summed=True))
    assert [packet.flags for packet in network.sent] == [DATA_VALID, 0]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("flags", [0, TxFlags.CSUM_BLANK])
def test_a_segment_that_is_to_be_cut_is_told(wire: Wire, version: int, flags: int) -> None:
    network = Behind()
    wired = wire(network)
    gso = Gso(GsoType.TCPV4 if version == 4 else GsoType.TCPV6, 1400)
    data = bytearray(frame(PAYLOAD, version=version))
    if not flags:  # netback fills in what is not there
        data[transport_of(version) + 16 :][:2] = b"\0\0"
    assert set(wired.guest.send(bytes(data), flags=flags, gso=gso)) == {OKAY}
    assert network.sent == [blank(PAYLOAD, version=version, gso_size=1400)]
    assert wired.card.counts["sent_gso"] == wired.card.counts["sent_blank"] == 1


def test_a_segment_that_need_not_be_cut_is_none(wire: Wire) -> None:
    network = Behind()
    guest = wire(network).guest
    guest.send(frame(b"short"), flags=TxFlags.CSUM_BLANK, gso=Gso(GsoType.TCPV4, 1400))
    assert network.sent == [blank(b"short")]


@pytest.mark.parametrize(
    ("data", "flags", "gso"),
    [
        (FRAME[:100], TxFlags.CSUM_BLANK, None),
        (frame(b"x", protocol=ICMP), TxFlags.CSUM_BLANK, None),
        (frame(b"x", fragment=0x2000), TxFlags.CSUM_BLANK, None),
        (frame(b"x", fragment=0x0001), TxFlags.CSUM_BLANK, None),
        (frame(b"x")[:-10], TxFlags.CSUM_BLANK, None),
        (frame(PAYLOAD, protocol=UDP), TxFlags.CSUM_BLANK, Gso(GsoType.TCPV4, 1400)),
        (frame(PAYLOAD), TxFlags.CSUM_BLANK, Gso(GsoType.TCPV6, 1400)),
        (frame(PAYLOAD, version=6), TxFlags.CSUM_BLANK, Gso(GsoType.TCPV4, 1400)),
        (FRAME[:5000], 0, Gso(GsoType.TCPV4, 1400)),
        (frame(PAYLOAD), TxFlags.CSUM_BLANK, Gso(GsoType.TCPV4, 1)),
        (FRAME[:13], 0, None),
        (b"", 0, None),
    ],
)
def test_a_frame_that_contradicts_itself_is_an_error_and_the_next_one_goes(
    wire: Wire, data: bytes, flags: int, gso: Gso | None
) -> None:
    network = Behind()
    wired = wire(network)
    assert set(wired.guest.send(data, flags=flags, gso=gso)) == {ERROR}
    assert set(wired.guest.send(FRAME[:60])) == {OKAY}
    assert [packet.data for packet in network.sent] == [FRAME[:60]]
    assert wired.card.counts["sent_errors"] == 1


def test_a_chain_that_is_a_little_too_long_is_an_error(wire: Wire) -> None:
    network = Behind()
    guest = wire(network).guest
    assert guest.send(FRAME[:400], parts=[(0, 20)] * 20) == [ERROR] * 20
    assert guest.send(FRAME[:60]) == [OKAY]
    assert len(network.sent) == 1


def test_pieces_that_are_more_than_the_whole_are_an_error(wire: Wire) -> None:
    network = Behind()
    guest = wire(network).guest
    ref = guest.tx_pages.refs[200]
    guest.put_request(ref, 0, TxFlags.MORE_DATA, 200, 100)
    guest.put_request(ref, 0, 0, 201, 101)
    guest.push()
    assert guest.answers(2) == [(200, ERROR), (201, ERROR)]
    assert guest.send(FRAME[:60]) == [OKAY]
    assert len(network.sent) == 1


def test_a_page_that_is_not_granted_is_an_error_and_nothing_is_kept(wire: Wire) -> None:
    network = Behind()
    wired = wire(network)
    guest, ref = wired.guest, wired.guest.tx_pages.refs[200]
    guest.put_request(ref, 0, TxFlags.MORE_DATA, 200, 6000)
    guest.put_request(ref, 0, TxFlags.MORE_DATA, 201, 1000)
    guest.put_request(4000, 0, 0, 202, 1000)
    guest.push()
    assert guest.answers(3) == [(200, ERROR), (201, ERROR), (202, ERROR)]
    assert guest.send(FRAME[:60]) == [OKAY]
    assert wired.front.guest.frames.held == 0


def test_a_page_that_may_only_be_read_is_enough(wire: Wire) -> None:
    network = Behind()
    wired = wire(network)
    page = wired.front.guest.share(writable=False)
    page.memory[:100] = FRAME[:100]
    wired.guest.put_request(page.refs[0], 0, 0, 255, 100)
    wired.guest.push()
    assert wired.guest.answers(1) == [(255, OKAY)]
    assert network.sent[0].data == FRAME[:100]


# --- Multicast addresses


def test_addresses_are_added_and_taken_off_by_extra_infos(wire: Wire) -> None:
    network, steering = Behind(), Steering()
    guest = wire(network, steering=steering).guest
    assert guest.send(FRAME[:20], extras=[extra_multicast(ExtraType.MCAST_ADD, GROUP)]) == [OKAY]
    assert steering.multicast.listed == [GROUP]
    assert guest.send(FRAME[:20], extras=[extra_multicast(ExtraType.MCAST_DEL, GROUP)]) == [OKAY]
    assert steering.multicast.listed == []
    assert network.sent == []


def test_more_addresses_than_there_is_room_for_are_refused(wire: Wire) -> None:
    guest = wire().guest
    answers = [
        guest.send(FRAME[:20], extras=[extra_multicast(ExtraType.MCAST_ADD, GROUP[:5] + bytes([index]))])
        for index in range(65)
    ]
    assert answers == [[OKAY]] * 64 + [[ERROR]]


# --- What is not to be believed


def extra(kind: int, flags: int = 0, body: bytes = bytes(6)) -> bytes:
    return bytes([kind, flags]) + body + bytes(4)


def requests(guest: NetfrontQueue, *entries: tuple[int, int, int]) -> None:
    """Offset, flags and size of each."""
    for offset, flags, size in entries:
        guest.put_request(guest.tx_pages.refs[0], offset, flags, 0, size)


def extras(guest: NetfrontQueue, *infos: bytes) -> None:
    requests(guest, (0, TxFlags.EXTRA_INFO, 100))
    for info in infos:
        guest.tx.put(info)


MORE = TxFlags.MORE_DATA
FAULTS: dict[str, Callable[[NetfrontQueue], None]] = {
    "a segment's size is 0": lambda guest: extras(guest, extra(1, body=bytes([0, 0, 1, 0, 0, 0]))),
    "a segment is of no type": lambda guest: extras(guest, extra(1, body=bytes([9, 9, 3, 0, 0, 0]))),
    "an extra info is of no type": lambda guest: extras(guest, extra(0)),
    "info is of no type that there is": lambda guest: extras(guest, extra(5)),
    "an extra info is missing": lambda guest: extras(guest),
    "info is missing": lambda guest: extras(guest, *[extra(4, 1)] * 255),
    "ends before its last one": lambda guest: requests(guest, (0, MORE, 100)),
    "a chain of requests is too long": lambda guest: requests(guest, *[(0, MORE, 1)] * 200),
    "past the end of its page": lambda guest: requests(guest, (4000, 0, 97)),
    "the end of its page": lambda guest: requests(guest, (0, MORE, 200), (65535, 0, 65535)),
}


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("reason", FAULTS)
def test_what_no_frontend_does_by_mistake_shuts_the_queue_with_a_reason(wire: Wire, reason: str, listens: bool) -> None:
    network = Behind()
    wired = wire(network, listens=listens)
    FAULTS[reason](wired.guest)
    wired.guest.push()
    wired.guest.tx_port.notify()
    assert reason in wired.fault
    assert network.sent == []


@pytest.mark.parametrize("forged", [257, 0x80000000, 0xFFFFFFFF])
def test_an_index_that_cannot_be_shuts_the_queue(wire: Wire, forged: int) -> None:
    wired = wire()
    struct.pack_into("<I", wired.guest.tx_ring.memory, 0, forged)
    wired.guest.tx_port.notify()
    assert wired.fault == "the transmit ring has more requests than it can hold"


def test_a_queue_that_is_shut_serves_nothing_more(wire: Wire) -> None:
    network = Behind()
    wired = wire(network, listens=True)
    requests(wired.guest, (4000, 0, 97))
    wired.guest.push()
    assert wired.fault
    wired.guest.put(FRAME[:60])
    wired.guest.push()
    wired.guest.tx_port.notify()
    network.come(FRAME[:60])
    assert network.sent == []
    assert wired.card.counts["received_dropped"] == 1


# --- Waiting


@pytest.mark.parametrize("listens", [False, True])
def test_what_the_network_does_not_take_waits_for_it(wire: Wire, listens: bool) -> None:
    network = Behind(room=2)
    wired = wire(network, listens=listens)
    frames = [FRAME[: 3000 + index] for index in range(100)]
    ids = [number for data in frames for number in wired.guest.put(data)]
    wired.guest.push()
    answered = [number for number, _ in wired.guest.answers(2)]
    assert answered == ids[:2]
    network.make_room(3)
    answered += [number for number, _ in wired.guest.answers(3)]
    assert answered == ids[:5]
    network.make_room(None)
    answered += [number for number, _ in wired.guest.answers(95)]
    assert answered == ids
    assert [packet.data for packet in network.sent] == frames
    assert wired.card.counts["held_up"] == 2


def test_what_still_waits_at_the_end_is_answered(wire: Wire) -> None:
    network = Behind(room=1)
    wired = wire(network)
    ids = [number for _ in range(3) for number in wired.guest.put(FRAME[:5000])]
    wired.guest.push()
    assert wired.guest.answers(2) == [(number, OKAY) for number in ids[:2]]
    wired.disconnect()
    assert wired.guest.answers(4) == [(number, DROPPED) for number in ids[2:]]
    assert wired.card.counts["sent_dropped"] == 2


@pytest.mark.parametrize("listens", [False, True])
def test_a_card_sends_no_faster_than_its_rate(wire: Wire, listens: bool) -> None:
    network = Behind()
    wired = wire(network, rate=Rate(10_000, 50_000), listens=listens)  # bytes in so many microseconds
    began = time.monotonic()
    assert set(wired.guest.send(*[FRAME[:2000]] * 20)) == {OKAY}
    assert time.monotonic() - began >= 0.05 * (20 * 2000 - 10_000 - 2 * 2000) / 10_000
    assert len(network.sent) == 20
    assert wired.card.counts["limited"] >= 1


def test_counts_are_those_of_all_that_was_sent(wire: Wire) -> None:
    wired = wire()
    wired.guest.send(FRAME[:100], FRAME[:5000])
    wired.disconnect()
    wired.card.forget()
    counts = wired.card.counts
    assert (counts["sent"], counts["sent_bytes"], counts["sent_errors"]) == (2, 5100, 0)
    assert counts["notifications"] >= 1
