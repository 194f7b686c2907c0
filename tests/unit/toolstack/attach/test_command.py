import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings, strategies as st

from xenia.agent.protocol import RecordType, record
from xenia.testing.foreign import MemoryForeign, MemoryGuest
from xenia.toolstack.attach.command import CommandLine
from xenia.toolstack.attach.session import Ended, Session, Waker, Why
from xenia.toolstack.attach.terminal import Output, Terminal

HELLO = record(RecordType.HELLO, b"\x01" + (100).to_bytes(4, "little"))


def number(kind: RecordType, value: int) -> bytes:
    return record(kind, value.to_bytes(4, "little"))


class Pipes:
    """A command line whose two outputs end in pipes."""

    def __init__(self, *, verbose: bool = False) -> None:
        self.wakes = 0
        self.started = 0
        self._out = os.pipe()
        self._err = os.pipe()
        self.output, self.errors = Output(self._out[1]), Output(self._err[1])
        self.line = CommandLine(self.output, self.errors, self.wake, on_started=self.start, verbose=verbose)

    def wake(self) -> None:
        self.wakes += 1

    def start(self) -> None:
        self.started += 1

    def close(self) -> tuple[bytes, bytes]:
        """What arrived at (standard output, standard error)."""
        arrived: list[bytes] = []
        for output, (read_fd, write_fd) in ((self.output, self._out), (self.errors, self._err)):
            output.close()
            os.close(write_fd)
            arrived.append(os.read(read_fd, 65536))
            os.close(read_fd)
        return arrived[0], arrived[1]


@pytest.fixture
def null() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def test_what_the_agent_said_before_the_command_is_told_and_bounded() -> None:
    pipes = Pipes()
    pipes.line.receive(b"[    0.0] Linux\r\nxenia: eth0: no DHCP server answers\r\nxenia: not yet a li")
    assert pipes.line.agent_words() == ["eth0: no DHCP server answers", "not yet a li"]
    pipes.line.receive(b"\r\nxenia: \xff" * 9999)
    assert len(pipes.line.agent_words()) == 4
    pipes.close()


def test_the_streams_stay_apart_and_the_kernels_messages_reach_neither() -> None:
    pipes = Pipes()
    pipes.line.receive(b"[    0.0] Linux\r\n" + HELLO)
    pipes.line.receive(record(RecordType.STDOUT, b"\x00out\xff"))
    pipes.line.receive(b"[ 1.0] noise\r\n" + record(RecordType.STDERR, b"err"))
    assert pipes.started == 1
    assert pipes.line.console_text() == b"[    0.0] Linux\r\n[ 1.0] noise\r\n"
    assert pipes.close() == (b"\x00out\xff", b"err")


def test_verbose_shows_the_kernels_messages_on_the_error_output() -> None:
    pipes = Pipes(verbose=True)
    pipes.line.receive(b"[    0.0] Linux\r\n")
    assert pipes.close() == (b"", b"[    0.0] Linux\r\n")


def test_there_is_no_room_for_input_before_the_command_runs_nor_beyond_its_credit() -> None:
    pipes = Pipes()
    assert pipes.line.room() == 0
    pipes.line.receive(HELLO)
    assert pipes.line.room() == 100
    assert pipes.line.typed(b"x" * 60) == record(RecordType.STDIN, b"x" * 60)
    assert pipes.line.room() == 40
    wakes = pipes.wakes
    pipes.line.receive(number(RecordType.CREDIT, 60))
    assert pipes.line.room() == 100
    assert pipes.wakes > wakes
    pipes.close()


def test_a_control_o_is_doubled_for_it_would_be_a_sysrq() -> None:
    pipes = Pipes()
    pipes.line.receive(HELLO)
    assert pipes.line.typed(b"a\x0fb") == record(RecordType.STDIN, b"a\x0fb").replace(b"\x0f", b"\x0f\x0f")
    pipes.close()


def test_the_newest_of_what_the_kernel_said_is_kept_in_whole_lines() -> None:
    pipes = Pipes()
    for number_of_line in range(10000):
        pipes.line.receive(b"line %d\n" % number_of_line)
    lines = pipes.line.console_text().splitlines()
    assert lines[-1] == b"line 9999"
    assert all(line.startswith(b"line ") for line in lines)
    assert 1000 < len(lines) < 2000
    pipes.close()


@pytest.mark.parametrize(
    ("kind", "value", "status"), [(RecordType.EXITED, 0, 0), (RecordType.EXITED, 3, 3), (RecordType.KILLED, 9, 137)]
)
def test_the_commands_end_is_a_status_as_a_shell_has_it(kind: RecordType, value: int, status: int) -> None:
    pipes = Pipes()
    pipes.line.receive(HELLO)
    assert not pipes.line.finished()
    pipes.line.receive(number(kind, value))
    assert pipes.line.finished()
    assert pipes.line.status == status
    pipes.close()


RECORDS = st.builds(record, st.sampled_from(RecordType), st.binary(max_size=12) | st.binary(max_size=248))


@settings(deadline=None)
@given(st.lists(RECORDS | st.binary(max_size=30) | st.sampled_from([HELLO, b"\x10\xf5", b"\x10\xf5X\x02\xff\xff"])))
def test_whatever_the_guest_says_the_operator_can_go_on_typing(said: list[bytes]) -> None:
    outputs = [os.open(os.devnull, os.O_WRONLY), os.open(os.devnull, os.O_WRONLY)]
    output, errors = map(Output, outputs)
    guest = MemoryGuest(5)
    line = CommandLine(output, errors, lambda: None, foreign=lambda: MemoryForeign(guest), stdin=outputs[0])
    for data in said:
        line.receive(data)
        line.typed(bytes(min(line.room(), 5000)))
        line.console_text()
        line.finished()
    line.end_of_input()
    assert line.room() == 0
    line.drain()
    line.close()
    guest.assert_let_go()
    for closing in (output, errors):
        closing.close()
    for descriptor in outputs:
        os.close(descriptor)


def test_credit_taken_back_between_asking_and_typing_is_not_taken_back() -> None:
    pipes = Pipes()
    pipes.line.receive(HELLO)
    room = pipes.line.room()
    pipes.line.receive(record(RecordType.HELLO, b"\x01" + bytes(4)))
    assert pipes.line.typed(b"x" * room) == record(RecordType.STDIN, b"x" * room)
    pipes.close()


class Guest:
    """A console with a guest behind it that runs `cat`."""

    def __init__(self, line: CommandLine) -> None:
        self.line = line

    def boot(self) -> None:
        self.line.receive(HELLO)

    def offer(self, data: bytes) -> int:
        rest = data.replace(b"\x0f\x0f", b"\x0f")
        while rest:
            kind, length = rest[3], int.from_bytes(rest[4:6], "little")
            payload, rest = rest[8 : 8 + length], rest[8 + length :]
            if kind == RecordType.STDIN:
                self.line.receive(record(RecordType.STDOUT, payload) + number(RecordType.CREDIT, length))
            elif kind == RecordType.STDIN_END:
                self.line.receive(number(RecordType.EXITED, 7))
        return len(data)


def test_a_session_pipes_a_file_through_a_command_and_ends_with_it(null: int) -> None:
    waker = Waker()
    read_fd, write_fd = os.pipe()
    output, errors = Output(write_fd, waker.wake), Output(null)
    line = CommandLine(output, errors, waker.wake)
    guest = Guest(line)
    shutdown = threading.Event()
    received: list[bytes] = []

    def read() -> None:
        while data := os.read(read_fd, 65536):
            received.append(data)

    reader, boot = threading.Thread(target=read), threading.Thread(target=guest.boot)
    reader.start()
    with open(__file__, "rb") as file:
        session = Session(Terminal(file.fileno(), write_fd, keys=False), guest, line, output, waker)
        boot.start()
        assert session.run(shutdown.wait) == Ended(Why.FINISHED)
        shutdown.set()
        session.close()
        output.close()
        os.close(write_fd)
        boot.join()
        reader.join()
        file.seek(0)
        assert b"".join(received) == file.read()
    assert line.status == 7
    for closing in (errors, waker):
        closing.close()
    os.close(read_fd)
