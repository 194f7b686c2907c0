"""Frames over a stream socket: what the wire looks like, and what becomes of a peer that is slow, rude or gone."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from queue import Queue

import pytest
from hypothesis import given, settings, strategies as st

from xenia.net.bridge import Bridge
from xenia.net.stream import StreamLink
from xenia.net.thread import LinkThread
from xenia.testing.flood import Flood
from xenia.testing.net import Card
from xenia.testing.packet import Packet
from xenia.testing.segments import segmented

MOST_BYTES = 65535 + 18
SMALL = bytes(range(60))
LARGE = Packet(bytes(range(256)) * 250, flags=1, gso_type=1, hdr_len=54, gso_size=1448, csum_start=34, csum_offset=16)


class Ours:
    """A link that is served, with a card at it, and what was said of its carrier."""

    def __init__(self, link: StreamLink, thread: LinkThread) -> None:
        self.link = link
        self.card = Card(link)
        self._carriers: Queue[bool] = Queue()
        link.on_carrier(self._carriers.put)
        thread.add(link)

    def carrier(self) -> bool:
        """What is said of it next."""
        return self._carriers.get(timeout=10)

    def close(self) -> None:
        """Take it apart."""
        self.card.close()
        self.link.close()


Serve = Callable[[StreamLink], Ours]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves a link until the test's end."""
    with ExitStack() as stack:
        thread = LinkThread()
        stack.callback(thread.close)

        def serve(link: StreamLink) -> Ours:
            ours = Ours(link, thread)
            stack.callback(ours.close)
            return ours

        yield serve


@pytest.fixture
def ends() -> Iterator[tuple[int, socket.socket]]:
    """A descriptor for a link, and its peer's socket."""
    one, other = socket.socketpair()
    other.settimeout(10)
    with other:
        yield one.detach(), other


def framed(*frames: bytes) -> bytes:
    """As they are on the wire."""
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)


def test_a_frame_is_its_length_and_its_bytes(serve: Serve, ends: tuple[int, socket.socket]) -> None:
    descriptor, peer = ends
    ours = serve(StreamLink(descriptor))
    assert ours.card.send(SMALL, b"b" * 1514) == 2
    wire = framed(SMALL, b"b" * 1514)
    assert received(peer, len(wire)) == wire
    peer.sendall(wire)
    assert ours.card.wait(2) == [Packet(SMALL), Packet(b"b" * 1514)]
    assert ours.link.statistics == {
        "sent": 2, "sent_bytes": 1574, "dropped": 0, "received": 2, "received_bytes": 1574, "refused": 0,
    }  # fmt: skip


def test_with_headers_what_a_frame_still_needs_crosses(serve: Serve) -> None:
    one, other = socket.socketpair()
    ours, theirs = (serve(StreamLink(end.detach(), vnet=True)) for end in (one, other))
    assert ours.card.send(LARGE, SMALL) == 2
    assert theirs.card.wait(2) == [LARGE, Packet(SMALL)]


def test_a_frame_may_come_byte_by_byte_and_many_at_once(serve: Serve, ends: tuple[int, socket.socket]) -> None:
    descriptor, peer = ends
    ours = serve(StreamLink(descriptor))
    for byte in framed(SMALL):
        peer.send(bytes([byte]))
    assert ours.card.wait() == [Packet(SMALL)]
    peer.sendall(framed(*[SMALL] * 1000, bytes(MOST_BYTES)))
    assert ours.card.wait(1001) == [Packet(SMALL)] * 1000 + [Packet(bytes(MOST_BYTES))]


def test_a_slow_peer_gets_every_frame_whole_and_the_sender_is_told_when_it_may_go_on(
    serve: Serve, ends: tuple[int, socket.socket]
) -> None:
    descriptor, peer = ends
    ours = serve(StreamLink(descriptor))
    frames = [bytes([number % 256]) * (60 + 977 * number % 9000) for number in range(2000)]
    sent, wire, got = 0, framed(*frames), bytearray()
    refusals = 0
    while len(got) < len(wire):
        before = ours.card.nr_ready
        while sent < len(frames):
            taken = ours.card.send(*frames[sent : sent + 50])
            sent += taken
            if taken < 50 and sent < len(frames):
                refusals += 1
                break
        while len(got) < len(wire) and (sent == len(frames) or ours.card.nr_ready == before):
            if select.select([peer], [], [], 0.1)[0]:  # it may have been told to go on when all was read already
                got += peer.recv(3001)
    assert got == wire
    assert refusals > 1
    assert ours.link.statistics["sent"] == len(frames)
    assert ours.link.statistics["dropped"] == 0


def received(peer: socket.socket, count: int) -> bytes:
    """So many bytes; with a timeout, MSG_WAITALL does not wait for all."""
    data = b""
    while len(data) < count:
        data += peer.recv(count - len(data))
    return data


def segments_of(payload: bytes) -> Packet:
    """One TCP segment of many, unsummed, as a guest sends it: IPv4, no options."""
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 7, 0, 64, 6, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
    tcp = struct.pack(">HHIIBBHHH", 1, 2, 1000, 1, 0x50, 0x18, 65535, 0, 0)
    data = bytes(range(12)) + b"\x08\0" + ip + tcp + payload
    return Packet(data, flags=1, gso_type=1, hdr_len=54, gso_size=1000, csum_start=34, csum_offset=16)


def test_without_headers_segments_that_came_are_one_frame_again(serve: Serve, ends: tuple[int, socket.socket]) -> None:
    descriptor, peer = ends
    ours = serve(StreamLink(descriptor))
    sent = segments_of(bytes(range(250)) * 80)
    cut = [each.data for each in segmented(sent, 1514) or []]
    peer.sendall(framed(*cut))
    (received,) = ours.card.wait(1)
    assert (received.flags, received.gso_type, received.gso_size) == (1, 1, 1000)
    assert [each.data for each in segmented(received, 1514) or []] == cut


def test_without_headers_segments_are_cut_and_summed_also_where_the_peer_is_slow(
    serve: Serve, ends: tuple[int, socket.socket]
) -> None:
    descriptor, peer = ends
    ours = serve(StreamLink(descriptor))
    payload = bytes(range(250)) * 240
    sent = 0
    while ours.card.send(segments_of(payload)):
        sent += 1
    assert sent > 1
    for number in range(60 * sent):
        (length,) = struct.unpack(">I", received(peer, 4))
        frame = received(peer, length)
        at = number % 60 * 1000
        assert length == 1054
        assert frame[54:] == payload[at : at + 1000]
        assert struct.unpack_from(">I", frame, 38) == (1000 + at,)
        pseudo = frame[26:34] + struct.pack(">HH", 6, length - 34)
        assert sum(struct.unpack(f">{(length - 34 + 12) // 2}H", pseudo + frame[34:])) % 0xFFFF == 0
    assert ours.link.statistics["sent"] == 60 * sent


def test_segments_that_come_without_headers_become_one_frame_again(serve: Serve) -> None:
    one, other = socket.socketpair()
    ours, theirs = (serve(StreamLink(end.detach())) for end in (one, other))
    payload = bytes(range(250)) * 240
    assert ours.card.send(segments_of(payload)) == 1
    got: list[Packet] = []
    while sum(len(packet.data) - 54 for packet in got) < len(payload):
        got += theirs.card.wait()
    assert b"".join(packet.data[54:] for packet in got) == payload
    assert len(got) < theirs.link.statistics["received"] == 60


@pytest.mark.parametrize(
    ("length", "vnet"), [(0, False), (10, True), (MOST_BYTES + 1, False), (MOST_BYTES + 11, True), (0xFFFFFFFF, False)]
)
def test_a_peer_whose_lengths_make_no_sense_is_let_go(
    serve: Serve, ends: tuple[int, socket.socket], length: int, vnet: bool
) -> None:
    descriptor, peer = ends
    ours = serve(StreamLink(descriptor, vnet=vnet))
    good = bytes(10 if vnet else 0) + SMALL
    peer.sendall(framed(good) + length.to_bytes(4, "big") + framed(good))
    assert ours.carrier() is False
    assert not ours.link.carrier
    assert ours.link.reason == f"the peer sent a frame of {length} bytes"
    assert ours.card.received == [Packet(SMALL)]
    assert peer.recv(1) == b""


def test_frames_without_sense_are_refused_one_by_one(serve: Serve, ends: tuple[int, socket.socket]) -> None:
    descriptor, peer = ends
    ours = serve(StreamLink(descriptor, vnet=True))
    nonsense = [
        (0, 0, 0, 0, 0, 0, b"runt"),
        (1, 0, 0, 0, 50, 9, SMALL),  # a checksum behind its end
        (1, 0, 0, 0, 4, 0, SMALL),  # within the addresses
        (1, 1, 54, 0, 34, 16, SMALL),  # segments of no bytes
        (0, 1, 54, 1448, 0, 0, SMALL),  # that have no checksum
        (1, 7, 54, 1448, 34, 16, SMALL),
    ]
    peer.sendall(framed(*[struct.pack("=BBHHHH", *header) + data for *header, data in nonsense], bytes(10) + SMALL))
    assert ours.card.wait() == [Packet(SMALL)]
    assert ours.link.statistics["refused"] == len(nonsense)


header = st.tuples(
    st.sampled_from([0, 1, 2]), st.sampled_from([0, 1, 4, 3, 0x81]), st.integers(0, 200), st.sampled_from([0, 1, 1448]),
    st.integers(0, 100), st.integers(0, 30),
)  # fmt: skip
frames = st.lists(st.tuples(header, st.integers(0, 200)), max_size=30)


def is_possible(header: tuple[int, ...], size: int) -> bool:
    """What a frame may say of itself, in other words than the link's."""
    flags, gso, _, gso_size, start, offset = header
    if size < 14 or (flags & 1 and not (start >= 14 and start + offset + 2 <= size)):
        return False
    return gso & ~0x80 == 0 or (gso & ~0x80 in (1, 4) and flags & 1 == 1 and gso_size > 0)


@settings(max_examples=200, deadline=None)
@given(frames, st.lists(st.integers(1, 300), max_size=20), st.sampled_from([None, 0, 10, MOST_BYTES + 11, 1 << 31]))
def test_whatever_a_peer_writes_and_in_whatever_pieces_frames_come_whole_or_not_at_all(
    sent: list[tuple[tuple[int, ...], int]], cuts: list[int], end: int | None
) -> None:
    frames = [(header, bytes([number]) * size) for number, (header, size) in enumerate(sent) if size]
    wire = framed(*[struct.pack("=BBHHHH", *header) + data for header, data in frames])
    wire += b"" if end is None else end.to_bytes(4, "big") + framed(bytes(10) + SMALL)
    one, other = socket.socketpair()
    thread = LinkThread()
    ours = Ours(StreamLink(one.detach(), vnet=True), thread)
    with other, suppress(ConnectionError):
        for cut in cuts:
            other.sendall(wire[:cut])
            wire = wire[cut:]
        other.sendall(wire)
    assert ours.carrier() is False
    expected = [Packet(data, *header) for header, data in frames if is_possible(header, len(data))]
    assert ours.card.received == expected
    assert ours.link.statistics["refused"] == len(frames) - len(expected)
    if end is not None:
        assert ours.link.reason == f"the peer sent a frame of {end} bytes"
    ours.close()
    thread.close()


def test_a_peer_that_goes_takes_the_carrier_along_and_what_is_sent_is_dropped(
    serve: Serve, ends: tuple[int, socket.socket]
) -> None:
    descriptor, peer = ends
    ours = serve(StreamLink(descriptor))
    assert ours.link.carrier
    while ours.card.send(bytes(60000)):
        pass
    peer.close()
    assert ours.carrier() is False
    assert ours.card.nr_ready == 1
    assert ours.card.send(SMALL, SMALL) == 2
    assert ours.link.statistics["dropped"] == 2
    assert ours.link.reason in ("the peer closed the connection", "the connection broke: Connection reset by peer")


@pytest.mark.parametrize("vnet", [False, True])
def test_a_million_frames_cross_in_their_order(vnet: bool) -> None:
    ends = socket.socketpair()
    one, other = (StreamLink(end.detach(), vnet=vnet) for end in ends)
    with ExitStack() as stack:
        thread = LinkThread()
        stack.callback(thread.close)
        for link in (one, other):
            stack.callback(link.close)
            thread.add(link)
        flood = Flood(one, other)
        stack.callback(flood.close)
        flood.send(1_000_000, 60)
        assert flood.wrong == 0
    assert one.statistics["sent"] == other.statistics["received"] == 1_000_000


def test_a_link_goes_on_over_another_socket(serve: Serve, ends: tuple[int, socket.socket]) -> None:
    descriptor, peer = ends
    ours = serve(StreamLink(descriptor))
    peer.sendall(framed(SMALL)[:-1])
    again, others = socket.socketpair()
    with others:
        with pytest.raises(ValueError, match="the link has a peer"):
            ours.link.resume(again.fileno())
        peer.close()
        assert ours.carrier() is False
        ours.link.resume(again.detach())
        assert ours.carrier() is True
        others.sendall(framed(SMALL))
        assert ours.card.wait() == [Packet(SMALL)]
        assert ours.link.reason is None


def test_who_connects_is_the_peer_and_then_the_next(serve: Serve, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "link"))
    listener.listen()
    ours = serve(StreamLink(listener=listener.detach()))
    assert ours.card.send(SMALL) == 1
    assert ours.link.statistics["dropped"] == 1
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(tmp_path / "link"))
            assert ours.carrier() is True
            peer.sendall(framed(SMALL))
            assert ours.card.wait() == [Packet(SMALL)]
        assert ours.carrier() is False


def test_peers_that_go_and_links_that_are_closed_while_several_send_leave_nothing() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        send_and_go(vnet=number % 2 == 0, is_first=number % 3 == 0)
    assert len(os.listdir("/proc/self/fd")) <= before


def send_and_go(vnet: bool, is_first: bool) -> None:
    """Several threads send, and the peer goes; or the link is closed first."""
    one, other = socket.socketpair()
    thread = LinkThread()
    ours = Ours(StreamLink(one.detach(), vnet=vnet), thread)
    ended = threading.Event()
    senders = [threading.Thread(target=send_until, args=(ours.card, ended)) for _ in range(3)]
    for sender in senders:
        sender.start()
    with other:
        other.recv(100000)
        if not is_first:
            other.close()
            assert ours.carrier() is False
        ended.set()
        for sender in senders:
            sender.join(10)
            assert not sender.is_alive()
        ours.close()
        thread.close()


def send_until(card: Card, ended: threading.Event) -> None:
    """Send, whether it is taken or not."""
    packets: list[Packet | bytes] = [LARGE, SMALL]
    while not ended.is_set():
        card.send(*packets * 8)


def test_a_closed_link_leaves_no_descriptor(ends: tuple[int, socket.socket]) -> None:
    descriptor, peer = ends
    link = StreamLink(descriptor)
    link.close()
    link.close()
    assert peer.recv(1) == b""
    assert not link.carrier


def test_whoever_sends_without_end_leaves_others_their_turn() -> None:
    bridge, mac, (one, flood), (two, single) = Bridge(), "00:16:3e:00:00:01", socket.socketpair(), socket.socketpair()
    card = Card(bridge.port("card", macs=[mac]))
    with flood, single, closing(LinkThread()) as thread:
        flood.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        target, sources = bytes.fromhex(mac.replace(":", "")), (b"\x02\0\0\0\0\1", b"\x02\0\0\0\0\2")
        frames = [struct.pack(">I", 60) + target + source + bytes(48) for source in sources]
        flood.setblocking(False)
        written = sum(iter(lambda: _written(flood, frames[0] * 512), 0)) // 64
        assert written > 8192
        single.sendall(frames[1])
        links = [StreamLink(one.detach()), StreamLink(two.detach())]
        joints = [bridge.join(link, str(number)) for number, link in enumerate(links)]
        for link in links:
            thread.add(link)
        came = [packet.data[6:12] for packet in card.wait(written + 1)]
        assert came.index(sources[1]) <= 4096
        for joint in joints:
            joint.close()


def _written(to: socket.socket, data: bytes) -> int:
    try:
        return to.send(data)
    except BlockingIOError:
        return 0
