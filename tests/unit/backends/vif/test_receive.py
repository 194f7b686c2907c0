"""What a guest is given."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.unit.backends.vif.conftest import ALL, Wire
from tests.unit.backends.vif.packets import DATA_VALID, ETHERNET, GSO_TCPV6, TCP, UDP, blank, frame, transport_of
from xenia.abi.netif import ExtraType, GsoType, RxFlags
from xenia.backends.vif.features import Features
from xenia.backends.vif.steering import Steering
from xenia.testing.net import Behind
from xenia.testing.netfront import Gso
from xenia.testing.packet import Packet

FRAME = ETHERNET + b"\x88\xb5" + bytes(range(256)) * 300
PAYLOAD = bytes(range(256)) * 20
GROUP = bytes.fromhex("01005e000001")
VALIDATED, BLANK = RxFlags.DATA_VALIDATED, RxFlags.CSUM_BLANK
KEPT = 1 << 20  # bytes of one sender's frames that wait


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("length", [14, 60, 255, 256, 257, 1514, 4096, 4097, 9014, 65535])
def test_a_frame_comes_from_the_network_whole(wire: Wire, length: int, split: bool) -> None:
    network = Behind()
    guest = wire(network, split=split).guest
    guest.post()
    network.come(FRAME[:length])
    assert [received.data for received in guest.received()] == [FRAME[:length]]


def test_frames_come_in_their_order_and_take_one_event(wire: Wire) -> None:
    network = Behind()
    wired = wire(network)
    wired.guest.post()
    frames = [FRAME[: 20 + 100 * index] for index in range(64)]
    network.come(*frames)
    assert [received.data for received in wired.guest.received(64)] == frames
    assert wired.card.counts["notifications"] == 1


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_checksum_that_is_to_be_filled_in_is_told(wire: Wire, protocol: int, version: int) -> None:
    network = Behind()
    guest = wire(network).guest
    guest.post()
    network.come(blank(b"hello", protocol=protocol, version=version), Packet(frame(b"x", summed=True), DATA_VALID))
    first, second = guest.received(2)
    assert first.data == frame(b"hello", protocol=protocol, version=version)
    assert (first.flags, second.flags) == (VALIDATED | BLANK, VALIDATED)


@pytest.mark.parametrize("length", [1, 5, 100, 4041, 5000, 60000])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_guest_that_cannot_fill_checksums_in_gets_them_right(
    wire: Wire, protocol: int, version: int, length: int
) -> None:
    network = Behind()
    wired = wire(network, features=ALL._replace(checksum_ipv4=False, checksum_ipv6=False))
    wired.guest.post()
    payload = (PAYLOAD * 20)[:length]
    network.come(blank(payload, protocol=protocol, version=version))
    (received,) = wired.guest.received()
    assert received.data == frame(payload, protocol=protocol, version=version, summed=True)
    assert received.flags & (VALIDATED | BLANK) == VALIDATED
    assert wired.card.counts["received_summed"] == 1


def test_checksums_are_filled_in_for_the_version_that_the_guest_cannot(wire: Wire) -> None:
    network = Behind()
    guest = wire(network, features=Features(sg=True)).guest
    guest.post()
    network.come(blank(b"x", version=4), blank(b"x", version=6))
    assert [received.flags for received in guest.received(2)] == [VALIDATED | BLANK, VALIDATED]


@pytest.mark.parametrize("version", [4, 6])
def test_a_segment_that_is_to_be_cut_is_told_to_a_guest_that_can(wire: Wire, version: int) -> None:
    network = Behind()
    guest = wire(network).guest
    guest.post()
    network.come(blank(PAYLOAD, version=version, gso_size=1400), FRAME[:60])
    first, second = guest.received(2)
    assert first.data == frame(PAYLOAD, version=version)
    assert first.gso == Gso(GsoType.TCPV4 if version == 4 else GsoType.TCPV6, 1400)
    assert first.flags & (VALIDATED | BLANK) == VALIDATED | BLANK
    assert second.gso is None


def test_a_guest_that_sets_a_hash_is_told_it(wire: Wire) -> None:
    network, steering = Behind(), Steering()
    guest = wire(network, steering=steering).guest
    steering.go_on(1, 0xF, bytes(range(40)), [])
    _, told = steering.steer(frame(b"x"), 1)
    guest.post()
    network.come(Packet(frame(b"x")), blank(PAYLOAD, gso_size=1400))
    first, second = guest.received(2)
    assert told is not None
    assert [struct.unpack("<BBBBI", info) for info in first.extras] == [(ExtraType.HASH, 0, told[0], 1, told[1])]
    assert [info[0] for info in second.extras] == [ExtraType.GSO, ExtraType.HASH]


@pytest.mark.parametrize("version", [4, 6])
def test_a_guest_that_wants_room_before_each_frame_has_it_and_each_is_in_one_page(wire: Wire, version: int) -> None:
    network = Behind()
    wired = wire(network)
    wired.queues[0].leave_headroom(256)
    wired.guest.post()
    network.come(FRAME[:60], FRAME[:3840], FRAME[:3841], blank(PAYLOAD, version=version, gso_size=1400))
    *whole, first, second, third, last = wired.guest.received(6)
    assert [received.data for received in whole] == [FRAME[:60], FRAME[:3840]]
    assert wired.card.counts["received_dropped"] == 1
    assert bytes(wired.guest.rx_pages.memory[:256]) == bytes(256)
    head, segments = transport_of(version) + 20, (first, second, third, last)
    assert b"".join(segment.data[head:] for segment in segments) == PAYLOAD
    told = struct.pack("<BBHxxxx", ExtraType.XDP, 0, 256)
    assert {received.extras for received in (*whole, *segments)} == {(told,)}
    wired.queues[0].leave_headroom(0)
    network.come(blank(PAYLOAD, version=version, gso_size=1400))
    (received,) = wired.guest.received()
    assert received.data == frame(PAYLOAD, version=version) and received.gso is not None


def test_room_before_frames_is_half_a_page_at_the_most_and_is_told_behind_other_infos(wire: Wire) -> None:
    network, steering = Behind(), Steering()
    wired = wire(network, steering=steering, features=ALL._replace(headroom=0x7FFF))
    steering.go_on(1, 0xF, bytes(range(40)), [])
    wired.guest.post()
    network.come(Packet(frame(bytes(1000))))
    (received,) = wired.guest.received()
    assert received.data == frame(bytes(1000))
    assert [(info[0], info[1]) for info in received.extras] == [(ExtraType.HASH, 1), (ExtraType.XDP, 0)]
    assert struct.unpack_from("<H", received.extras[1], 2) == (2048,)


# --- Frontends that can do less


def test_a_guest_without_scatter_and_gather_gets_what_fits_into_a_page(wire: Wire) -> None:
    network = Behind()
    wired = wire(network, features=Features())
    wired.guest.post()
    network.come(FRAME[:4096], FRAME[:4097], FRAME[:60])
    assert [len(received.data) for received in wired.guest.received(2)] == [4096, 60]
    assert wired.card.counts["received_dropped"] == 1


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("features", [Features(sg=True), Features(), Features(sg=True, checksum_ipv4=False)])
def test_a_segment_is_cut_for_a_guest_that_cannot(wire: Wire, version: int, features: Features) -> None:
    network = Behind()
    wired = wire(network, features=features)
    wired.guest.post()
    network.come(blank(PAYLOAD, version=version, gso_size=1400), FRAME[:60])
    *segments, last = wired.guest.received(5)
    head = transport_of(version) + 20
    assert b"".join(segment.data[head:] for segment in segments) == PAYLOAD
    assert [len(segment.data) - head for segment in segments] == [1400, 1400, 1400, 920]
    assert all(segment.gso is None and segment.flags == VALIDATED for segment in segments)
    assert last.data == FRAME[:60]
    assert wired.card.counts["received_cut"] == 4


def test_what_is_cut_waits_for_pages_in_its_order(wire: Wire) -> None:
    network = Behind()
    guest = wire(network, features=Features(sg=True)).guest
    guest.post(2)
    network.come(blank(PAYLOAD, gso_size=1400), FRAME[:60])
    guest.post()
    received = guest.received(5)
    assert b"".join(each.data[54:] for each in received[:4]) == PAYLOAD
    assert received[4].data == FRAME[:60]


def test_a_segment_that_contradicts_itself_is_dropped_where_it_would_be_cut(wire: Wire) -> None:
    network = Behind()
    wired = wire(network, features=Features(sg=True))
    wired.guest.post()
    network.come(replace(blank(PAYLOAD, gso_size=1400), gso_type=GSO_TCPV6), FRAME[:60])
    assert [each.data for each in wired.guest.received(1)] == [FRAME[:60]]
    assert wired.card.counts["received_dropped"] == 1


# --- Frontends that take nothing, or not at once


@pytest.mark.parametrize("listens", [False, True])
def test_what_there_is_no_page_for_comes_later(wire: Wire, listens: bool) -> None:
    network = Behind()
    wired = wire(network, listens=listens)
    frames = [FRAME[: 1000 + index] for index in range(40)]
    network.come(*frames[:10])
    wired.guest.post(5)
    network.come(*frames[10:])
    wired.guest.post()
    assert [received.data for received in wired.guest.received(40)] == frames
    assert wired.card.counts["received_late"] == 40


def test_a_frame_waits_until_there_are_pages_for_all_of_it(wire: Wire) -> None:
    network = Behind()
    guest = wire(network).guest
    guest.post(15)
    network.come(FRAME[:65535], FRAME[:60])
    assert guest.received(1, timeout=0) == []
    guest.post(2)
    assert [len(received.data) for received in guest.received(2)] == [65535, 60]


def test_a_guest_that_takes_nothing_costs_a_bounded_number_of_bytes(wire: Wire) -> None:
    network = Behind()
    wired = wire(network)
    for _ in range(10):
        network.come(*[FRAME[:65535]] * 64)
    dropped = wired.card.counts["received_dropped"]
    assert dropped >= 640 - KEPT // 65535 - 1
    wired.guest.post()
    kept = 640 - dropped
    assert len(wired.guest.received(kept)) == kept == 16


def test_who_floods_a_guest_leaves_others_their_turn(wire: Wire) -> None:
    network = Behind()
    wired = wire(network)
    flood, other = (
        FRAME[:6] + b"\x00\x16\x3e\0\0\x01" + FRAME[12:60],
        FRAME[:6] + b"\x00\x16\x3e\0\0\x02" + FRAME[12:1000],
    )
    for _ in range(200):
        network.come(*[flood] * 64)
    assert wired.card.counts["received_dropped"] > 0  # the flood filled what it may
    network.come(other)
    wired.guest.post(20)
    assert other in [received.data for received in wired.guest.received(20)]


def sent_by(number: int, length: int = 60) -> bytes:
    return FRAME[:6] + b"\x00\x16\x3e\0\0" + bytes([number]) + FRAME[12:length]


def test_what_one_guest_floods_another_with_does_not_fill_the_ring_before_what_others_send(wire: Wire) -> None:
    network = Behind()
    guest = wire(network).guest
    guest.post()
    flood, other = sent_by(1), sent_by(2, 1000)
    network.come(other)
    assert len(guest.received()) == 1
    for _ in range(3):
        network.come(*[flood] * 64)
    network.come(other)
    before = 0
    while other not in (came := [received.data for received in guest.received()]):
        before += len(came)
        guest.post()
    assert before + came.index(other) <= 32
    left = 192 - before - (len(came) - 1)
    while left:  # none is lost
        guest.post()
        left -= len(guest.received(min(left, 10)))


@pytest.mark.parametrize("alone", [True, False])
def test_what_one_sent_alone_and_still_waits_is_only_a_little_once_others_send(wire: Wire, alone: bool) -> None:
    network = Behind()
    wired = wire(network)
    for _ in range(30):
        network.come(*[sent_by(1)] * 64)
    other = sent_by(1 if alone else 2, 1000)
    network.come(other)
    left, before = (1920 if alone else 256) + 1, 0
    while left > 0:
        wired.guest.post()
        came = [received.data for received in wired.guest.received(min(left, 10))]
        left -= len(came)
        before = left if other in came else before
    assert wired.card.counts["received_dropped"] == (0 if alone else 1920 - 256)
    assert (before == 0) == alone  # the other's frame had its turn


def test_who_alone_sends_to_a_guest_fills_its_ring(wire: Wire) -> None:
    network = Behind()
    guest = wire(network).guest
    guest.post()
    for _ in range(4):
        network.come(*[sent_by(1)] * 64)
    assert len(guest.received(256, timeout=0)) == 256


def test_a_guest_that_posts_no_more_pages_is_given_what_it_has_posted(wire: Wire) -> None:
    network = Behind()
    guest = wire(network).guest
    guest.post(100)
    network.come(*[sent_by(number % 2) for number in range(64)])
    network.come(*[sent_by(number % 2) for number in range(64)])
    assert len(guest.received(100)) == 100


def test_senders_of_long_and_short_frames_have_the_same_turns(wire: Wire) -> None:
    network = Behind()
    guest = wire(network).guest
    large, small = sent_by(1, 60000), sent_by(2, 60)
    network.come(*[large] * 16)
    for _ in range(3):
        network.come(*[small] * 64)
    guest.post()
    lengths = [len(received.data) for received in guest.received(70)]
    assert 12 * lengths.count(60000) < lengths.count(60) < 20 * lengths.count(60000)


def test_what_waits_is_forgotten_at_the_end(wire: Wire) -> None:
    network = Behind()
    wired = wire(network)
    network.come(FRAME[:60], FRAME[:60])
    wired.disconnect()
    assert wired.card.counts["received_dropped"] == 2


# --- Frontends that are not to be believed


@pytest.mark.parametrize("forged", [257, 0x80000000, 0xFFFFFFFF])
def test_an_index_that_cannot_be_shuts_the_queue(wire: Wire, forged: int) -> None:
    network = Behind()
    wired = wire(network)
    struct.pack_into("<I", wired.guest.rx_ring.memory, 0, forged)
    network.come(FRAME[:60])
    assert wired.fault == "the receive ring has more requests than it can hold"


def test_a_page_that_is_not_granted_for_writing_is_an_error_and_the_next_frame_comes(wire: Wire) -> None:
    network = Behind()
    wired = wire(network)
    guest = wired.guest
    read_only = wired.front.guest.share(writable=False)
    guest.put_buffer(0, read_only.refs[0])
    guest.put_buffer(1, 4000)
    guest.put_buffer(2, guest.rx_pages.refs[2])
    guest.put_buffer(3, 4000)
    guest.put_buffer(4, guest.rx_pages.refs[4])
    guest.rx.push()
    network.come(FRAME[:60], FRAME[:60], FRAME[:5000], FRAME[:60])
    received = guest.received(4)
    assert [each.status for each in received] == [-1, -1, -1, 0]
    assert received[3].data == FRAME[:60]
    assert bytes(read_only.memory[:60]) == bytes(60)
    assert wired.card.counts["received_errors"] == 3


# --- Several queues, and addresses of groups


def test_a_flow_stays_on_its_queue_and_flows_are_spread(wire: Wire) -> None:
    network = Behind()
    wired = wire(network, nr_queues=4)
    for queue in wired.front.queues:
        queue.post()
    flows = [bytes([port]) for port in range(64)]
    frames = [frame(b"x")[:34] + b"\x10" + flow + frame(b"x")[36:] for flow in flows]
    for _ in range(3):
        network.come(*frames)
    received = [queue.received(0, timeout=0) for queue in wired.front.queues]
    seen = [{each.data for each in frames} for frames in received]
    assert sum(len(each) for each in received) == 192
    assert all(len(each) > 5 for each in seen)
    assert not any(one & other for one, other in pairwise(seen))


def test_a_group_that_the_guest_did_not_ask_for_is_kept_from_it(wire: Wire) -> None:
    network, steering = Behind(), Steering()
    wired = wire(network, steering=steering)
    steering.multicast.filter(True)
    steering.multicast.fill([GROUP])
    wired.guest.post()
    other = bytes.fromhex("01005e000002") + FRAME[6:60]
    broadcast = b"\xff" * 6 + FRAME[6:60]
    wanted = GROUP + FRAME[6:60]
    network.come(other, FRAME[:60], other, wanted, other, broadcast, other)
    assert [each.data for each in wired.guest.received(3)] == [FRAME[:60], wanted, broadcast]
    assert wired.card.counts["filtered"] == 4
