import os
import pty
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from xenia.toolstack.attach.session import Ended, Line, PlainLine, Session, Waker, Why
from xenia.toolstack.attach.terminal import Output, Terminal


class FakeConsole:
    """A guest that takes everything at once and remembers it; `expect` waits until it has taken that much."""

    def __init__(self) -> None:
        self.taken = b""
        self._changed = threading.Condition()
        self.room = 1 << 20

    def offer(self, data: bytes) -> int:
        with self._changed:
            taken = data[: self.room]
            self.room -= len(taken)
            self.taken += taken
            self._changed.notify_all()
            return len(taken)

    def expect(self, data: bytes) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: data in self.taken, 30), self.taken


class Framed(Line):
    """Marks what it carries, so that a test sees which call was made."""

    def receive(self, data: bytes) -> None: ...

    def typed(self, data: bytes) -> bytes:
        return b"<" + data + b">"

    def end_of_input(self) -> bytes:
        return b"<eof>"

    def resized(self, rows: int, columns: int) -> bytes:
        return b"<%dx%d>" % (rows, columns)


@dataclass
class Desk:
    """A session's surroundings, with the test as operator and as guest."""

    console: FakeConsole
    waker: Waker
    shutdown: threading.Event = field(default_factory=threading.Event)

    def run(
        self, stdin: int, stdout: int, operator: Callable[[], None], *, framed: bool = False, keys: bool = True
    ) -> Ended:
        """Run the session here while `operator` acts on another thread."""
        output = Output(stdout, self.waker.wake)
        line = Framed() if framed else PlainLine(output)
        session = Session(Terminal(stdin, stdout, keys=keys), self.console, line, output, self.waker)
        acting = threading.Thread(target=operator)
        acting.start()
        try:
            return session.run(self.shutdown.wait)
        finally:
            self.shutdown.set()
            session.close()
            acting.join()
            output.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    waker = Waker()
    yield Desk(FakeConsole(), waker)
    waker.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    for descriptor in (read_fd, write_fd):
        try:
            os.close(descriptor)
        except OSError:
            continue  # the test closed it


@pytest.fixture
def null() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def tty() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_the_guests_shutdown_ends_the_session(desk: Desk, pipe: tuple[int, int], null: int) -> None:
    assert desk.run(pipe[0], null, desk.shutdown.set) == Ended(Why.SHUTDOWN)


def test_input_reaches_the_guest_and_its_end_ends_nothing(desk: Desk, pipe: tuple[int, int], null: int) -> None:
    def operator() -> None:
        os.write(pipe[1], b"uname\x1d\x03\x00")
        desk.console.expect(b"<uname\x1d\x03\x00>")  # Ctrl-] and Ctrl-C are plain bytes in a pipe
        os.close(pipe[1])
        desk.console.expect(b"<eof>")
        desk.shutdown.set()

    assert desk.run(pipe[0], null, operator, framed=True) == Ended(Why.SHUTDOWN)
    assert desk.console.taken == b"<uname\x1d\x03\x00><eof>"


def test_a_regular_file_is_input_as_well(desk: Desk, null: int) -> None:
    def operator() -> None:
        desk.console.expect(b"<eof>")
        desk.shutdown.set()

    with open(__file__, "rb") as file:
        assert desk.run(file.fileno(), null, operator, framed=True) == Ended(Why.SHUTDOWN)


def test_standard_input_that_is_closed_is_the_end_of_input(desk: Desk, null: int) -> None:
    descriptor = os.open(os.devnull, os.O_WRONLY)  # cannot be read

    def operator() -> None:
        desk.console.expect(b"<eof>")
        desk.shutdown.set()

    assert desk.run(descriptor, null, operator, framed=True) == Ended(Why.SHUTDOWN)
    os.close(descriptor)


def test_keys_go_raw_to_the_guest_until_the_leave_key(desk: Desk, tty: tuple[int, int]) -> None:
    master, slave = tty
    before = termios.tcgetattr(slave)

    def operator() -> None:
        desk.console.expect(b"x")  # the size: the terminal is raw by now
        os.write(master, b"top\r\x03\x04")
        desk.console.expect(b"<top\r\x03\x04>")
        os.write(master, b"q\x1dnever")

    termios.tcsetwinsize(slave, (24, 80))
    assert desk.run(slave, slave, operator, framed=True) == Ended(Why.LEFT)
    assert desk.console.taken == b"<24x80><top\r\x03\x04><q>"
    assert termios.tcgetattr(slave) == before


def test_a_new_window_size_is_told_to_the_guest(desk: Desk, tty: tuple[int, int]) -> None:
    master, slave = tty

    def operator() -> None:
        desk.console.expect(b"<24x80>")
        termios.tcsetwinsize(slave, (50, 100))
        os.kill(os.getpid(), signal.SIGWINCH)
        desk.console.expect(b"<50x100>")
        os.write(master, b"\x1d")

    termios.tcsetwinsize(slave, (24, 80))
    assert desk.run(slave, slave, operator, framed=True).why is Why.LEFT


def test_a_terminal_without_keys_keeps_its_lines_and_ctrl_d_ends_only_the_input(
    desk: Desk, tty: tuple[int, int]
) -> None:
    master, slave = tty

    def operator() -> None:
        os.write(master, b"a line\n")
        desk.console.expect(b"<a line\n>")
        os.write(master, b"\x04")
        desk.console.expect(b"<eof>")
        desk.shutdown.set()

    assert desk.run(slave, slave, operator, framed=True, keys=False) == Ended(Why.SHUTDOWN)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_session_and_says_which(
    desk: Desk, pipe: tuple[int, int], null: int, number: signal.Signals
) -> None:
    def operator() -> None:
        os.write(pipe[1], b"x")
        desk.console.expect(b"x")  # the handlers stand
        os.kill(os.getpid(), number)

    assert desk.run(pipe[0], null, operator) == Ended(Why.SIGNAL, number)


@pytest.mark.parametrize(("keys", "one_descriptor"), [(True, True), (True, False), (False, False)])
def test_a_terminal_that_hangs_up_ends_the_session_as_the_signal_does(
    desk: Desk, keys: bool, one_descriptor: bool
) -> None:
    master, slave = pty.openpty()
    other = slave if one_descriptor else os.dup(slave)

    def operator() -> None:
        os.write(master, b"x\n")
        desk.console.expect(b"x")
        os.close(master)

    assert desk.run(slave, other, operator, keys=keys) == Ended(Why.SIGNAL, signal.SIGHUP)
    for descriptor in {slave, other}:
        os.close(descriptor)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_do_nothing_more_until_the_session_is_closed(
    desk: Desk, pipe: tuple[int, int], null: int, number: signal.Signals
) -> None:
    output = Output(null, desk.waker.wake)
    session = Session(Terminal(pipe[0], null), desk.console, PlainLine(output), output, desk.waker)
    before = signal.getsignal(number)
    os.write(pipe[1], b"x")

    def kill() -> None:
        desk.console.expect(b"x")
        os.kill(os.getpid(), number)

    killer = threading.Thread(target=kill)
    killer.start()
    assert session.run(desk.shutdown.wait) == Ended(Why.SIGNAL, number)
    for _ in range(3):
        signal.raise_signal(number)
    desk.shutdown.set()
    session.close()
    assert signal.getsignal(number) is before
    killer.join()
    output.close()


def test_a_reader_that_goes_away_ends_the_session(desk: Desk, pipe: tuple[int, int], null: int) -> None:
    os.close(pipe[0])
    output = Output(pipe[1], desk.waker.wake)
    line = PlainLine(output)
    session = Session(Terminal(null, pipe[1]), desk.console, line, output, desk.waker)
    guest = threading.Thread(target=line.receive, args=(b"hello",))
    guest.start()
    assert session.run(desk.shutdown.wait) == Ended(Why.OUTPUT)
    desk.shutdown.set()
    session.close()
    guest.join()
    output.close()


def test_a_reader_that_goes_away_from_a_silent_guest_ends_the_session(desk: Desk, null: int) -> None:
    read_fd, write_fd = os.pipe()
    assert desk.run(null, write_fd, lambda: os.close(read_fd)) == Ended(Why.OUTPUT)
    os.close(write_fd)


def test_a_fault_while_waiting_for_the_guest_surfaces_here(desk: Desk, pipe: tuple[int, int], null: int) -> None:
    output = Output(null, desk.waker.wake)
    session = Session(Terminal(pipe[0], null), desk.console, PlainLine(output), output, desk.waker)

    def wait() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        session.run(wait)
    session.close()
    output.close()


def test_input_is_read_no_faster_than_the_guest_takes_it(desk: Desk, pipe: tuple[int, int], null: int) -> None:
    read_fd, write_fd = pipe
    data = bytes(range(256)) * 400
    desk.console.room = 0

    def operator() -> None:
        os.write(write_fd, data[:60000])
        for start in range(0, len(data), 1000):
            desk.console.room = 1000
            desk.console.expect(data[: min(start + 1000, 60000)])
        os.write(write_fd, data[60000:])
        desk.console.room = 1 << 20
        desk.console.expect(data)
        desk.shutdown.set()

    assert desk.run(read_fd, null, operator) == Ended(Why.SHUTDOWN)
    assert desk.console.taken == data


def test_the_leave_key_works_when_the_guest_takes_no_keys(desk: Desk, tty: tuple[int, int]) -> None:
    master, slave = tty

    def operator() -> None:
        desk.console.expect(b"<24x80>")
        desk.console.room = 0
        for _ in range(20):
            os.write(master, b"x" * 1000)
        os.write(master, b"\x1d")

    termios.tcsetwinsize(slave, (24, 80))
    assert desk.run(slave, slave, operator, framed=True) == Ended(Why.LEFT)


def test_early_lines_begin_at_the_left_of_a_screen_until_the_guest_ends_lines_itself() -> None:
    read_fd, write_fd = os.pipe()
    output = Output(write_fd)
    line = PlainLine(output, is_screen=True)
    for said in (b"mapping kernel\nabout to", b" start\n", b"[0.1] Linux\r\n", b"\x1b[5;5Hdown\n"):
        line.receive(said)
    output.close()
    os.close(write_fd)
    assert os.read(read_fd, 4096) == b"mapping kernel\r\nabout to start\r\n[0.1] Linux\r\n\x1b[5;5Hdown\n"
    os.close(read_fd)
