"""console_io: the emergency console (public/xen.h)."""

import os
from collections.abc import Iterator

import pytest

from tests.unit.hypercalls.hypercalls import LIST, UNMAPPED
from xenia.abi.errno import Errno
from xenia.abi.xen import CONSOLEIO_read as READ, CONSOLEIO_write as WRITE, Hypercall
from xenia.testing.still import CONTINUE, StillDomain


@pytest.fixture
def domain() -> StillDomain:
    return StillDomain()


@pytest.fixture
def pipe(domain: StillDomain) -> Iterator[int]:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    domain.set_emergency_fd(writer)
    yield reader
    os.close(reader)
    os.close(writer)


def test_what_is_written_comes_out_at_the_other_end(domain: StillDomain, pipe: int) -> None:
    text = b"early words\n" * 200
    domain.write(LIST, text)
    assert domain.call(Hypercall.CONSOLE_IO, WRITE, len(text), LIST) == 0
    assert os.read(pipe, 10_000) == text


def test_a_full_pipe_drops_and_never_stops_the_guest(domain: StillDomain, pipe: int) -> None:
    for _ in range(100):
        assert domain.call(Hypercall.CONSOLE_IO, WRITE, 4096, LIST) == 0
    assert len(os.read(pipe, 1 << 20)) <= 1 << 16


def test_long_texts_can_be_interrupted(domain: StillDomain, pipe: int) -> None:
    domain.write(LIST, bytes(range(256)) * 8)
    domain.preempt = True
    assert domain.call(Hypercall.CONSOLE_IO, WRITE, 2048, LIST) == CONTINUE
    domain.syscall(Hypercall.CONSOLE_IO, WRITE, 2048, LIST)
    assert (domain.registers["rsi"], domain.registers["rdx"]) == (2048 - 512, LIST + 512)


def test_there_is_nothing_to_read_and_nothing_else_to_do(domain: StillDomain) -> None:
    assert domain.call(Hypercall.CONSOLE_IO, READ, 100, LIST) == 0
    assert domain.call(Hypercall.CONSOLE_IO, WRITE, 10, UNMAPPED) == -Errno.EFAULT
    assert domain.call(Hypercall.CONSOLE_IO, 2, 10, LIST) == -Errno.ENOSYS
    assert domain.call(Hypercall.CONSOLE_IO, WRITE, 10, LIST) == 0, "with nobody listening"
