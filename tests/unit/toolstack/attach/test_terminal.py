import errno
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from xenia.toolstack.attach.terminal import Output, Terminal, leave_key


@pytest.fixture
def tty() -> Iterator[tuple[int, int]]:
    """(the operator's side, the side that a program has as standard input)"""
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def lflag(slave: int) -> int:
    flags = termios.tcgetattr(slave)[3]
    assert isinstance(flags, int)
    return flags


def test_a_terminal_is_raw_inside_the_block_and_as_it_was_after_it(tty: tuple[int, int]) -> None:
    _, slave = tty
    before = termios.tcgetattr(slave)
    with Terminal(slave, slave):
        assert not lflag(slave) & (termios.ECHO | termios.ICANON | termios.ISIG)
    assert termios.tcgetattr(slave) == before


def test_an_exception_leaves_the_terminal_as_it_was(tty: tuple[int, int]) -> None:
    _, slave = tty
    before = termios.tcgetattr(slave)
    with pytest.raises(ZeroDivisionError), Terminal(slave, slave):
        _ = 1 // 0
    assert termios.tcgetattr(slave) == before


def test_a_process_that_is_killed_outright_still_gives_the_terminal_back(tty: tuple[int, int]) -> None:
    _, slave = tty
    before = termios.tcgetattr(slave)
    program = (
        "import os, signal; from xenia.toolstack.attach.terminal import Terminal\n"
        "with Terminal(0, 0): os.write(1, b'raw'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    source = Path(__file__).parents[4] / "src"
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=slave, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(source)},
    )  # fmt: skip
    assert child.communicate()[0] == b"raw"
    assert child.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while termios.tcgetattr(slave) != before:  # the guardian is nobody's child now: its work is all there is to wait on
        assert time.monotonic() < deadline, "the terminal stayed raw"
        time.sleep(0.005)


def test_restoring_twice_and_entering_again_work(tty: tuple[int, int]) -> None:
    _, slave = tty
    before = termios.tcgetattr(slave)
    terminal = Terminal(slave, slave)
    for _ in range(2):
        with terminal:
            assert not lflag(slave) & termios.ECHO
        terminal.restore()
        assert termios.tcgetattr(slave) == before


def test_resume_makes_the_terminal_raw_again_after_a_shell_reset_it(tty: tuple[int, int]) -> None:
    _, slave = tty
    cooked = termios.tcgetattr(slave)
    with Terminal(slave, slave) as terminal:
        termios.tcsetattr(slave, termios.TCSANOW, cooked)
        terminal.resume()
        assert not lflag(slave) & termios.ECHO


def test_a_pipe_on_either_side_is_not_a_terminal(tty: tuple[int, int]) -> None:
    _, slave = tty
    read_fd, write_fd = os.pipe()
    before = termios.tcgetattr(slave)
    for stdin, stdout in ((slave, write_fd), (read_fd, slave), (read_fd, write_fd)):
        with Terminal(stdin, stdout) as terminal:
            assert not terminal.is_tty
            assert termios.tcgetattr(slave) == before
    os.close(read_fd)
    os.close(write_fd)


def test_the_size_is_the_terminals_or_none(tty: tuple[int, int]) -> None:
    _, slave = tty
    termios.tcsetwinsize(slave, (40, 132))
    assert Terminal(slave, slave).size() == (40, 132)
    read_fd, write_fd = os.pipe()
    assert Terminal(read_fd, write_fd).size() is None
    os.close(read_fd)
    os.close(write_fd)


def test_the_leave_key_cuts_what_was_typed() -> None:
    assert leave_key(b"ls\r") == (b"ls\r", False)
    assert leave_key(b"ls\x1drm\r") == (b"ls", True)
    assert leave_key(b"\x1d") == (b"", True)


def test_output_carries_every_byte_through_a_pipe_that_is_read_slowly() -> None:
    read_fd, write_fd = os.pipe()
    data = bytes(range(256)) * 2000
    output = Output(write_fd)
    writer = threading.Thread(target=output.write, args=(data,))
    writer.start()
    received = b""
    while len(received) < len(data):
        received += os.read(read_fd, 1000)
    writer.join()
    assert received == data
    output.close()
    os.close(read_fd)
    os.close(write_fd)


def test_an_output_that_fails_holds_on_to_nothing_of_what_it_was_given() -> None:
    with open("/dev/full", "wb") as full:
        output = Output(full.fileno())
        pages = bytearray(b"x" * 100)
        with memoryview(pages) as view:
            assert output.put([view[:50], view[50:]]) == 100
        pages.clear()  # BufferError where somebody has a view of them
        assert output.broken and output.error is not None and output.error.errno == errno.ENOSPC
        output.close()


def test_cancel_ends_a_write_that_waits_for_its_reader() -> None:
    read_fd, write_fd = os.pipe()
    output = Output(write_fd)
    writer = threading.Thread(target=output.write, args=(b"x" * 10_000_000,))
    writer.start()
    os.read(read_fd, 1)  # the writer is at work
    output.cancel()
    writer.join(30)
    assert not writer.is_alive()
    assert not output.broken
    output.close()
    os.close(read_fd)
    os.close(write_fd)


def test_a_reader_that_went_away_is_remembered_and_not_raised() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    output = Output(write_fd)
    output.write(b"nobody hears")
    assert output.broken
    assert output.error is None
    output.close()
    os.close(write_fd)


def test_a_full_disk_is_remembered_with_its_error() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        output = Output(full.fileno())
        output.write(b"x")
        assert output.broken
        assert output.error is not None and "space" in str(output.error)
        output.close()
