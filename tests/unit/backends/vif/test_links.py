"""A card on links that take fewer frames than its guest has."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from tests.unit.backends.vif.conftest import Wire
from tests.unit.backends.vif.packets import ETHERNET
from xenia.net.stream import StreamLink
from xenia.net.thread import LinkThread


@pytest.fixture
def link() -> Iterator[tuple[StreamLink, socket.socket]]:
    """A link that is served, and its peer's socket."""
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    near.setblocking(False)
    far.settimeout(20)
    link = StreamLink(near.detach())
    thread = LinkThread()
    thread.add(link)
    yield link, far
    link.close()
    thread.close()
    far.close()


def read_frame(stream: BinaryIO) -> bytes:
    (length,) = struct.unpack(">I", stream.read(4))
    return stream.read(length)


@pytest.mark.parametrize("listens", [False, True])
def test_a_guest_waits_for_a_peer_that_is_slow_and_nothing_is_lost(
    wire: Wire, link: tuple[StreamLink, socket.socket], listens: bool
) -> None:
    near, peer = link
    wired = wire(near, listens=listens)
    frames = [ETHERNET + struct.pack(">HH", 0x88B5, index) + bytes(3000) for index in range(200)]
    ids = [number for data in frames for number in wired.guest.put(data)]
    wired.guest.push()
    answered = wired.guest.answers(1)
    with peer.makefile("rb") as stream:
        assert [read_frame(stream) for _ in frames] == frames
    answered += wired.guest.answers(len(ids) - len(answered))
    assert answered == [(number, 0) for number in ids]
    assert wired.card.counts["held_up"] > 0
    wired.disconnect()  # before the link ends


def test_a_peer_that_goes_lets_the_guest_send(wire: Wire, link: tuple[StreamLink, socket.socket]) -> None:
    near, peer = link
    wired = wire(near)
    ids = [number for _ in range(200) for number in wired.guest.put(ETHERNET + bytes(3000))]
    wired.guest.push()
    answered = wired.guest.answers(1)
    peer.close()
    answered += wired.guest.answers(len(ids) - len(answered))
    assert [number for number, _ in answered] == ids
    wired.disconnect()
