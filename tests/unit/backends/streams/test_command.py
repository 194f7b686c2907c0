"""A command that was asked for while the guest runs: the host's end, with a guest in memory and a client."""

import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from tests.unit.backends.streams.test_device import CONS, PATIENCE, PROD, Agent
from xenia.agent.words import Word
from xenia.backends.streams.command import Command
from xenia.backends.streams.ring import ERR, NR_RINGS, NR_WORDS, OUT, RING_PAGES, RING_SIZE, State
from xenia.testing.foreign import MemoryForeign, MemoryGuest

HOST_PROD = NR_RINGS * 4 + 1 + NR_RINGS * RING_PAGES
HOST_CONS, HOST_WORDS = HOST_PROD + 1, HOST_PROD + 2
STATE, STATUS, ALIVE = (HOST_WORDS + NR_WORDS + offset for offset in range(3))


class Session:
    """The guest's agent, the command at the host's end, and the client who asked for it."""

    def __init__(self, request: bytes = b"arg=true\0", stdin: bytes | None = None) -> None:
        self.guest = MemoryGuest(7, nr_pages=512)
        self.agent = Agent(self.guest)
        self.agent.words[ALIVE] = 1
        self.client, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.client.settimeout(PATIENCE)
        self.ended = threading.Event()
        (self.out, out), (self.err, err) = os.pipe(), os.pipe()
        os.set_blocking(out, False)
        self.control = control
        self.files = (None if stdin is None else _file(stdin), out, err)
        self.command = Command(
            MemoryForeign(self.guest), self.agent.port.number, self.agent.first.refs[0], request, control, self.files,
            lambda *_: self.ended.set(),
        )  # fmt: skip

    def end(self, state: int, status: int) -> None:
        self.agent.words[STATUS] = status
        self.agent.words[STATE] = state
        self.agent.port.notify()

    def news(self) -> dict[str, Any]:
        """What the client is told; {} at the end."""
        data = self.client.recv(4096)
        return dict(json.loads(data)) if data else {}

    def word(self) -> tuple[int, int]:
        """The next word of the host's."""
        words = self.agent.words
        while words[HOST_PROD] == words[HOST_CONS]:
            assert self.agent.port.wait(PATIENCE)
        word = words[HOST_WORDS + words[HOST_CONS] % NR_WORDS]
        words[HOST_CONS] += 1
        return word >> 24, word & 0xFFFFFF

    def close(self) -> None:
        """Nothing may be left, of the guest's nor of what was handed over."""
        self.client.close()
        self.command.close()
        assert self.ended.is_set()
        self.guest.assert_let_go()
        assert self.control.fileno() == -1
        assert not os.read(self.out, 1 << 20) or not os.read(self.out, 1 << 20)
        for one in (self.out, self.err):
            os.close(one)


def _file(data: bytes) -> int:
    descriptor = os.memfd_create("input")
    os.pwrite(descriptor, data, 0)
    return descriptor


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session()
    yield session
    session.close()


def test_the_request_comes_first_and_the_input_behind_it() -> None:
    request = Random(1).randbytes(RING_SIZE + 12345)
    session = Session(request, b"the input")
    received = b""
    while part := session.agent.read():
        received += part
    assert received == struct.pack("<I", len(request)) + request + b"the input"
    session.end(State.HAS_EXITED, 0)
    assert [session.news(), session.news()] == [{"started": True}, {"status": 0}]
    session.close()


def test_without_input_its_end_is_said_at_once(session: Session) -> None:
    while session.agent.read():
        continue


def test_the_client_is_told_of_the_start_and_the_status_and_all_output_is_out_by_then(session: Session) -> None:
    session.end(State.RUNS, 0)
    assert session.news() == {"started": True}
    session.agent.write(OUT, b"last words")
    session.end(State.HAS_EXITED, 0x1234)
    assert session.news() == {"status": 0x34}
    assert os.read(session.out, 100) == b"last words"
    assert session.news() == {}
    assert session.word() == (Word.BYE, 0)


def test_a_signal_that_ended_the_command_is_told(session: Session) -> None:
    session.end(State.WAS_KILLED, 9)
    assert [session.news(), session.news()] == [{"started": True}, {"signal": 9}]


def test_signals_and_sizes_of_windows_reach_the_agent_and_other_words_do_not(session: Session) -> None:
    for word in (
        Word.BYE.with_value(),
        Word.SIGNAL.with_value(15),
        0,
        0xFFFFFFFF,
        Word.WINDOW.with_value(24 << 12 | 80),
    ):
        session.client.send(struct.pack("=I", word))
    session.client.send(b"odd")
    assert [session.word(), session.word()] == [(Word.SIGNAL, 15), (Word.WINDOW, 24 << 12 | 80)]


def test_a_client_that_leaves_hangs_up_on_the_command_however_many_words_wait(session: Session) -> None:
    for _ in range(3 * NR_WORDS):
        session.client.send(struct.pack("=I", Word.SIGNAL.with_value(1)))
    session.client.close()
    assert session.ended.wait(PATIENCE)
    said = [session.word() for _ in range(NR_WORDS)]
    assert said[-2:] == [(Word.HANG_UP, 0), (Word.BYE, 0)]
    assert set(said[:-2]) == {(Word.SIGNAL, 1)}


def test_who_reads_no_more_has_the_stream_closed_in_the_guest(session: Session) -> None:
    os.close(session.out)
    session.agent.write(OUT, b"x")
    assert session.word() == (Word.CLOSE, 1)
    session.out = os.open(os.devnull, os.O_RDONLY)


def test_output_that_cannot_be_written_is_told_in_the_place_of_the_status(session: Session) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    assert session.files[1] is not None
    os.dup2(full, session.files[1])
    os.close(full)
    session.agent.write(OUT, b"x")
    assert session.word() == (Word.CLOSE, 1)
    session.end(State.HAS_EXITED, 0)
    assert session.news() == {"started": True}
    assert session.news() == {"refused": "cannot write to standard output: No space left on device"}


def test_an_agent_that_dies_is_told_as_a_loss(session: Session) -> None:
    while session.agent.read():
        continue
    session.agent.write(ERR, b"said before")
    session.agent.words[ALIVE] = 0  # as the kernel does, with an event
    session.agent.port.notify()
    assert "agent ended" in session.news()["lost"]
    assert os.read(session.err, 100) == b"said before"


def test_a_guest_that_ends_ends_the_command_with_what_it_wrote(session: Session) -> None:
    session.agent.write(OUT, b"unfinished")
    session.command.lose("the guest ended")
    assert session.news() == {"lost": "the guest ended"}
    assert os.read(session.out, 100) == b"unfinished"


@pytest.mark.parametrize("seed", range(20))
def test_an_agent_that_writes_anything_into_the_page_harms_nobody(seed: int) -> None:
    random = Random(seed)
    session = Session(b"arg=x\0" * 100_000, b"y" * RING_SIZE)
    for _ in range(200):
        index = random.choice((*range(NR_RINGS * 4), HOST_PROD, HOST_CONS, STATUS, random.randrange(ALIVE)))
        session.agent.words[index] = random.choice((random.getrandbits(32), random.getrandbits(4), RING_SIZE))
        session.agent.port.notify()
    session.agent.set(OUT, PROD, session.agent.word(OUT, CONS) + 2 * RING_SIZE)
    session.agent.words[STATE] = 0xFFFFFFFF
    session.agent.port.notify()
    session.client.close()
    assert session.ended.wait(PATIENCE)
    session.close()
