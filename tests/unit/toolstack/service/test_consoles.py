"""Consoles with several readers, between sockets instead of domains and terminals."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from xenia.toolstack.service.consoles import KEPT, PATIENCE, Consoles, SharedConsole

LIMIT = 20


@pytest.fixture
def consoles() -> Iterator[Consoles]:
    with closing(Consoles()) as found:
        yield found


def domain(consoles: Consoles) -> tuple[socket.socket, SharedConsole]:
    ours, theirs = socket.socketpair()
    ours.settimeout(LIMIT)
    return ours, consoles.add(theirs)


def reader(consoles: Consoles, console: SharedConsole) -> socket.socket:
    ours, theirs = socket.socketpair()
    ours.settimeout(LIMIT)
    consoles.attach(console, theirs)
    return ours


def received(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


def test_all_readers_see_it_and_all_can_type(consoles: Consoles) -> None:
    guest, console = domain(consoles)
    with guest, reader(consoles, console) as first, reader(consoles, console) as second:
        guest.sendall(b"hello")
        assert received(first, 5) == received(second, 5) == b"hello"
        second.sendall(b"two")
        assert received(guest, 3) == b"two"
        first.sendall(b"one")
        assert received(guest, 3) == b"one"


def test_what_nobody_saw_is_for_the_first_who_comes(consoles: Consoles) -> None:
    guest, console = domain(consoles)
    with guest:
        with reader(consoles, console) as here:
            guest.sendall(b"seen")
            assert received(here, 4) == b"seen"
        other, other_console = domain(consoles)
        with other, reader(consoles, other_console) as there:
            guest.sendall(b"unseen")
            other.sendall(b"x")
            assert received(there, 1) == b"x"
        with reader(consoles, console) as first:
            assert received(first, 6) == b"unseen"


def test_a_reader_that_takes_nothing_holds_nobody_up_and_keeps_the_newest(consoles: Consoles) -> None:
    guest, console = domain(consoles)
    with guest, reader(consoles, console) as slow, reader(consoles, console) as quick:
        piece = bytes(range(256)) * 256
        for _ in range(8 * KEPT // len(piece)):
            guest.sendall(piece)
            assert received(quick, len(piece)) == piece
        guest.sendall(b"the end")
        assert received(quick, 7) == b"the end"
        consoles.end(console)
        guest.close()
        seen = b""
        while data := slow.recv(1 << 16):
            seen += data
        assert seen.endswith(b"the end") and len(seen) < 8 * KEPT


def test_a_reader_that_leaves_is_not_missed(consoles: Consoles) -> None:
    guest, console = domain(consoles)
    with guest, reader(consoles, console) as stays:
        reader(consoles, console).close()
        guest.sendall(b"a")
        assert received(stays, 1) == b"a"
        guest.sendall(b"b")
        assert received(stays, 1) == b"b"


def test_the_end_of_a_domain_is_the_end_for_its_readers_once_they_have_seen_all(consoles: Consoles) -> None:
    guest, console = domain(consoles)
    with reader(consoles, console) as here:
        guest.sendall(b"last words")
        guest.close()
        assert received(here, 100) == b"last words"
    with reader(consoles, console) as late:
        consoles.end(console)
        assert received(late, 1) == b""


def test_readers_that_take_nothing_hold_nobody_up_when_a_domain_ends(consoles: Consoles) -> None:
    guest, console = domain(consoles)
    with guest, ExitStack() as stack:
        stuck = [stack.enter_context(reader(consoles, console)) for _ in range(3)]
        quick = stack.enter_context(reader(consoles, console))
        piece = bytes(1 << 16)
        for _ in range(8):
            guest.sendall(piece)
            received(quick, len(piece))
        guest.close()
        other, other_console = domain(consoles)
        with other, reader(consoles, other_console) as there:
            began = time.monotonic()
            other.sendall(b"x")
            assert received(there, 1) == b"x"
            assert time.monotonic() - began < PATIENCE / 2
        assert received(quick, 1) == b""
        assert all(one.recv(1) for one in stuck)  # what there was room for


def test_a_reader_that_comes_back_in_time_gets_the_last_words(consoles: Consoles) -> None:
    guest, console = domain(consoles)
    with guest, reader(consoles, console) as slow:
        for _ in range(4):
            guest.sendall(bytes(1 << 16))
        guest.sendall(b"last words")
        guest.close()
        seen = b""
        while data := slow.recv(1 << 12):
            seen += data
        assert seen.endswith(b"last words")
