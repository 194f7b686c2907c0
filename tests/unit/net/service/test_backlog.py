"""What a guest does not take yet is kept for it: of each sender for itself, so that who floods it drives nobody out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from xenia.net.bridge import Bridge
from xenia.net.service.backlog import Backlog
from xenia.testing.net import Behind, Card

GUEST, FLOODER, OTHER = ("00163e00000" + last for last in "123")
MOST = 32 << 20


@dataclass
class Place:
    """A guest that takes nothing yet, and two that send to it."""

    behind: Behind
    backlog: Backlog
    flooder: Card
    other: Card


@pytest.fixture
def place() -> Iterator[Place]:
    bridge, behind = Bridge(), Behind(room=0)
    backlog = Backlog(behind)
    joint = bridge.join(backlog, "guest", macs=["00:16:3e:00:00:01"])
    ports = [bridge.port(name) for name in ("flooder", "other")]
    made = Place(behind, backlog, *(Card(port) for port in ports))
    yield made
    joint.close()
    for card, port in zip((made.flooder, made.other), ports, strict=True):
        card.close()
        port.close()


def frame(sender: str, number: int, length: int = 1400) -> bytes:
    """One that says who sent it, and which it is."""
    return bytes.fromhex(GUEST + sender + "88b5") + number.to_bytes(4, "big") + bytes(length)


def flood(place: Place, count: int, length: int = 1400) -> None:
    """By the flooder."""
    for first in range(0, count, 64):
        place.flooder.send(*(frame(FLOODER, first + at, length) for at in range(64)))


def taken(place: Place, room: int) -> list[tuple[str, int]]:
    """What the guest gets, now that it takes so much: whose, and which."""
    place.behind.make_room(room)
    return [(got.data[6:12].hex(), int.from_bytes(got.data[14:18], "big")) for got in place.behind.sent]


@pytest.mark.parametrize("length", [20, 1400, 60000])
def test_who_sends_little_does_not_stand_behind_a_flood(place: Place, length: int) -> None:
    flood(place, 1024, length)
    place.other.send(frame(OTHER, 1), frame(OTHER, 2))
    got = taken(place, 64)
    assert [each for each in got if each[0] == OTHER] == [(OTHER, 1), (OTHER, 2)]
    assert got.index((OTHER, 1)) < 20


def test_frames_of_one_sender_keep_their_order_however_few_are_taken_at_once(place: Place) -> None:
    flood(place, 256)
    place.other.send(*(frame(OTHER, number) for number in range(60)))
    got = [each for room in (1, 5, 64, 7, 300) for each in taken(place, room)]
    assert [number for sender, number in got if sender == FLOODER] == list(range(256))
    assert [number for sender, number in got if sender == OTHER] == list(range(60))
    assert place.backlog.kept_bytes == 0


def test_a_flood_leaves_room_for_others_and_ends_at_a_bound(place: Place) -> None:
    flood(place, 640, 60000)
    lost = place.backlog.dropped
    assert lost > 0
    assert place.backlog.kept_bytes < MOST * 2 // 3
    place.other.send(*(frame(OTHER, number, 60000) for number in range(60)))
    assert place.backlog.dropped == lost
    assert place.backlog.kept_bytes < MOST
