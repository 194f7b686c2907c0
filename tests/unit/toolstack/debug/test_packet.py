"""GDB's protocol as bytes."""

from __future__ import annotations

import random

import pytest

from xenia.toolstack.debug.packet import INTERRUPT, PACKET_SIZE, Packets, ProtocolError, packet


def all_of(packets: Packets) -> list[tuple[bytes | None, bytes]]:
    found = []
    while (taken := packets.take())[0] is not None:
        found.append(taken)
    return found


def test_what_is_made_is_taken_apart_again_whatever_is_in_it_and_however_it_comes() -> None:
    draw = random.Random(7)
    for _ in range(200):
        said = [bytes(draw.choices(range(256), k=draw.randrange(1, 50))) for _ in range(4)]
        stream = b"".join(map(packet, said))
        packets, found = Packets(), []
        while stream:
            cut = draw.randrange(1, 30)
            packets.feed(stream[:cut])
            stream = stream[cut:]
            found += all_of(packets)
        assert found == [(data, b"+") for data in said]


def test_a_packet_with_a_wrong_sum_is_asked_for_again_and_none_is_once_nobody_acknowledges() -> None:
    packets = Packets()
    packets.feed(b"$m0,4#00")
    assert packets.take() == (b"", b"-")
    packets.acknowledges = False
    packets.feed(b"+$m0,4#00")
    assert packets.take() == (b"m0,4", b"")


def test_the_key_that_interrupts_stands_between_packets() -> None:
    packets = Packets()
    packets.feed(b"\x03+" + packet(b"?") + b"\x03")
    assert [data for data, _ in all_of(packets)] == [INTERRUPT, b"?", INTERRUPT]


def test_a_packet_that_never_ends_is_nothing_that_a_server_keeps() -> None:
    packets = Packets()
    with pytest.raises(ProtocolError):
        for _ in range(100):
            packets.feed(b"$" + b"a" * PACKET_SIZE)
