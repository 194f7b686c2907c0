"""A domain's memory for a process that looks at it: the domain is of paper."""

from __future__ import annotations

import socket
from array import array
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from xenia.toolstack.debug import memory_server
from xenia.toolstack.debug.memory_server import MemoryServer
from xenia.toolstack.debug.remote_memory import RemoteMemory

PAGE = 4096


class Domain:
    """Of so many frames, each full of its number."""

    destroyed = False

    def __init__(self) -> None:
        self.handle = self
        self.frames = 2
        self.listed = 0
        self.memory = SimpleNamespace(read=lambda address, size: b"v" * size)

    def own_frames(self, _: object) -> tuple[array[int], array[int]]:
        self.listed += 1
        return array("Q", range(self.frames)), array("Q", range(self.frames))


def copy_frames(_: object, pfns: array[int], __: object, ___: int, page: bytearray, ____: bool) -> bytes:
    page[:] = bytes([pfns[0]]) * PAGE
    return b"\x07"


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Domain:
    domain = Domain()
    monkeypatch.setattr(memory_server, "own_frames", domain.own_frames)
    monkeypatch.setattr(memory_server, "copy_frames", copy_frames)
    return domain


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [0.0]
    monkeypatch.setattr(memory_server, "monotonic", lambda: clock[0])
    return clock


@pytest.fixture
def connect(domain: Domain) -> Callable[[], socket.socket]:
    def connect() -> socket.socket:
        ours, theirs = socket.socketpair()
        found: Any = domain
        MemoryServer(theirs, lambda: found).start()
        return ours

    return connect


@pytest.fixture
def memory(connect: Callable[[], socket.socket]) -> Iterator[RemoteMemory]:
    with RemoteMemory(connect) as memory:
        yield memory


def test_who_asks_for_what_is_not_there_has_frames_listed_once_a_second(
    memory: RemoteMemory, domain: Domain, clock: list[float]
) -> None:
    assert memory.read_physical(PAGE - 1, 2) == b"\0\1"
    for address in range(100):
        assert memory.read_physical((2 + address) * PAGE, 8) == b""
    assert domain.listed == 1
    domain.frames = 3
    clock[0] = 0.9
    assert memory.read_physical(2 * PAGE, 1) == b"" and domain.listed == 1
    clock[0] = 1.0
    assert memory.read_physical(2 * PAGE, 1) == b"\2", "it is there since"
    assert memory.read_physical(3 * PAGE, 1) == b"" and domain.listed == 2


def test_an_interrupted_question_leaves_no_answer_to_the_next(connect: Callable[[], socket.socket]) -> None:
    """Ctrl-C while the answer is on its way, at a prompt that goes on."""

    class Interrupted:
        def __init__(self) -> None:
            self.stream = connect()
            self.sendall, self.close = self.stream.sendall, self.stream.close

        def recv_into(self, _: memoryview) -> int:
            raise KeyboardInterrupt

    streams: list[Any] = [Interrupted(), connect()]
    with RemoteMemory(lambda: streams.pop(0)) as memory:
        with pytest.raises(KeyboardInterrupt):
            memory.read_physical(PAGE, 4)
        assert memory.read(0, 3) == b"vvv"
