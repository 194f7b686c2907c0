"""A xenstore page that a hostile guest scribbles into, and requests at random: others' service stays as it was."""

from __future__ import annotations

import logging
import random
import struct
from collections.abc import Callable

import pytest

from tests.unit.xenstore.test_ring import Frontend
from xenia.abi.xs_wire import ConnectionState
from xenia.xenstore.guest_client import GuestClient
from xenia.xenstore.store import Store

INDICES = range(2048, 2048 + 16, 4)  # req_cons, req_prod, rsp_cons, rsp_prod of public/io/xs_wire.h
STATES = range(2064, 2064 + 16, 4)  # features, connection, error
VALUES = (0, 1, 1023, 1024, 1025, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
NASTY = (
    b"", b"\0", b"/\0", b"//\0", b"/a\0\xff\xfe\0", b"@releaseDomain\0t\0", b"data/" + b"x" * 2000 + b"\0", b"-1\0",
    b"99999999999999999999999\0", "\u0663\0".encode(), b"data\0n7\0r\xb2\0", b"state\0" + b"9" * 900, b"\x1b]0;x\x07\0",
)  # fmt: skip


def _request(chance: random.Random) -> bytes:
    body = chance.choice(NASTY) if chance.random() < 0.7 else chance.randbytes(chance.randrange(200))
    length = len(body) if chance.random() < 0.9 else chance.getrandbits(32)
    return struct.pack("<IIII", chance.randrange(40), chance.getrandbits(8), chance.choice((0, 1, 7)), length) + body


def _scribble(page: bytearray, chance: random.Random) -> None:
    if struct.unpack_from("<I", page, 2072)[0] and chance.random() < 0.8:  # given up: begin anew, as guests may
        struct.pack_into("<I", page, 2068, ConnectionState.RECONNECT)
        return
    match chance.randrange(20):
        case 0:
            struct.pack_into("<I", page, chance.choice(INDICES), chance.choice((*VALUES, chance.getrandbits(32))))
        case 1:
            struct.pack_into("<I", page, chance.choice(STATES), chance.choice((0, 1, 2, 255, 0xFFFFFFFF)))
        case 2:
            place = chance.randrange(4090)
            page[place : place + 6] = chance.randbytes(6)
        case _:
            (prod,) = struct.unpack_from("<I", page, 2052)
            request = _request(chance)
            for position, byte in enumerate(request):
                page[(prod + position) % 1024] = byte
            struct.pack_into("<I", page, 2052, (prod + len(request)) & 0xFFFFFFFF)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_in_the_page_it_is_answered_or_given_up_in_one_line(
    store: Store, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    chance = random.Random(seed)
    frontend = Frontend()
    said: list[tuple[int, str]] = []
    complain: Callable[[int, str], None] = lambda level, line: said.append((level, line))  # noqa: E731
    guest = GuestClient(store, store.introduce(5), memoryview(frontend.page), frontend.notify, complain)
    for _ in range(400):
        _scribble(frontend.page, chance)
        for _ in range(3):
            guest.service()
    assert frontend.notified > 20, "it hardly came to anything"
    guest.close()
    store.release(5)
    assert sum(level > logging.DEBUG for level, _ in said) <= 1
    assert not caplog.records
