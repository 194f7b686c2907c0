"""An operator's session with a guest: bytes in both directions until one of them has had enough.

The main thread waits, in one poll, for keys, for signals and for the guest's end.  What the guest writes arrives on the
console's own thread and leaves through an `Output`, which holds that thread up while the reader is slow; the console
ring then fills and the guest waits, as it would on a slow line.  In the other direction keys are read only while the
guest takes them.
"""

from __future__ import annotations

import math
import os
import select
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from xenia.toolstack.attach.signals import Signals
from xenia.toolstack.attach.terminal import Output, Terminal, leave_key

_READ = 4096
_END_OF_INPUT = b"\x04"  # Ctrl-D
# How long to wait before asking a console that has no room for input whether it does now (milliseconds).
_RETRY = 20

_WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH, signal.SIGCONT)


class ConsoleInput(Protocol):
    """What a session needs of a domain's console."""

    def offer(self, data: bytes) -> int:
        """Give the guest input without waiting; how many of the bytes there was room for."""


class Line(ABC):
    """What the bytes on the console mean: a screen and keys, or a command's streams."""

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Bytes from the guest, on the console's thread."""

    def room(self) -> int:
        """How many bytes of input the guest's side takes now.  When it grows, the session has to be woken."""
        return _READ

    def finished(self) -> bool:
        """Whether there is nothing more to come.  When that changes, the session has to be woken."""
        return False

    @abstractmethod
    def typed(self, data: bytes) -> bytes:
        """The bytes for the guest that say: the operator sent `data`."""

    @abstractmethod
    def end_of_input(self) -> bytes:
        """The bytes for the guest that say: there will be no more input."""

    def resized(self, rows: int, columns: int) -> bytes:
        """The bytes for the guest that say: the screen has this size now."""
        return b""


class PlainLine(Line):
    """The console as it is: what the guest writes goes out, and what is typed goes in.

    Where input ends, nobody can type any more, and Ctrl-D says so as a keyboard would: once for a line that has been
    begun, and once more for the end.
    On a screen, lines end as they do there until the guest does that itself: a kernel's first words come past its tty.
    `on_resize` is told the window's rows and columns; the console has no words for that.
    """

    def __init__(
        self,
        output: Output,
        on_resize: Callable[[int, int], None] = lambda rows, columns: None,
        *,
        is_screen: bool = False,
    ) -> None:
        self._output = output
        self._on_resize = on_resize
        self._early = is_screen

    def receive(self, data: bytes) -> None:
        if self._early:
            self._early = b"\r" not in data
            data = data.replace(b"\n", b"\r\n") if self._early else data
        self._output.write(data)

    def typed(self, data: bytes) -> bytes:
        return data

    def end_of_input(self) -> bytes:
        return 2 * _END_OF_INPUT

    def resized(self, rows: int, columns: int) -> bytes:
        self._on_resize(rows, columns)
        return b""


class Why(Enum):
    """What ended a session."""

    SHUTDOWN = "the guest shut down"
    FINISHED = "the line has nothing more to say"
    LEFT = "the operator left with Ctrl-]"
    SIGNAL = "a signal"
    OUTPUT = "nobody reads the output"
    TIMEOUT = "the time is over"


@dataclass(frozen=True)
class Ended:
    """The end of a session; `signal` where a signal was the reason."""

    why: Why
    signal: signal.Signals | None = None


_HANG_UP = Ended(Why.SIGNAL, signal.SIGHUP)  # of the terminal, whether the signal comes as well or not


class Waker:
    """A descriptor that any thread can make readable for the session's poll."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._read_fd

    def wake(self) -> None:
        try:
            os.write(self._write_fd, b"w")
        except BlockingIOError:
            return  # as readable as can be

    def clear(self) -> None:
        try:
            os.read(self._read_fd, 4096)
        except BlockingIOError:
            return

    def close(self) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)


class Waiting(threading.Thread):
    """Runs a blocking call aside, and wakes the session when it is over."""

    def __init__(self, call: Callable[[], object], waker: Waker) -> None:
        super().__init__(name="xenia-wait", daemon=True)
        self._call = call
        self._waker = waker
        self._failure: BaseException | None = None
        self.over = False

    def run(self) -> None:
        try:
            self._call()
        except BaseException as failure:
            self._failure = failure
        self.over = True
        self._waker.wake()

    def check(self) -> bool:
        """Whether the call is over; raises what it raised."""
        if self._failure is not None:
            raise self._failure
        return self.over


class Session:
    """Connects a terminal with a console over a line."""

    def __init__(
        self,
        terminal: Terminal,
        console: ConsoleInput,
        line: Line,
        output: Output,
        waker: Waker,
        *,
        timeout: float | None = None,
    ) -> None:
        """`timeout` seconds from now on everything is to be over."""
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._terminal = terminal
        self._console = console
        self._line = line
        self._output = output
        self._waker = waker
        self._reading = True
        self._unsent = b""  # input that the console had no room for
        self._waiting: Waiting | None = None
        self._poll = select.poll()
        self._screen = os.isatty(terminal.stdout)
        self._held = ExitStack()

    def run(self, wait: Callable[[], object]) -> Ended:
        """Carry bytes until the guest shuts down (`wait` returns), the operator leaves, or a signal ends it.

        Main thread only.  The terminal is restored when this returns or raises; signals go on to do nothing until
        `close`, so that no second one keeps the guest's disks from being closed.
        """
        waiting = self._waiting = Waiting(wait, self._waker)
        signals = self._held.enter_context(Signals(*_WATCHED))
        with self._terminal:
            waiting.start()
            self._poll.register(signals, select.POLLIN)
            self._poll.register(self._waker, select.POLLIN)
            if self._terminal.stdout != self._terminal.stdin:
                self._poll.register(self._terminal.stdout, 0)  # its reader's leave only
            self._resized()
            while True:
                ready = self._wait()
                self._waker.clear()
                if self._line.finished():
                    return Ended(Why.FINISHED)
                if waiting.check():
                    return Ended(Why.SHUTDOWN)
                if self._output.broken or self._terminal.stdout in ready - {self._terminal.stdin}:
                    return _HANG_UP if self._screen else Ended(Why.OUTPUT)
                for number in signals.take():
                    if number is signal.SIGWINCH:
                        self._resized()
                    elif number is signal.SIGCONT:
                        self._terminal.resume()
                    else:
                        return Ended(Why.SIGNAL, number)
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    return Ended(Why.TIMEOUT)
                self._send(b"")
                if self._terminal.stdin in ready and self._take_input():
                    return Ended(Why.LEFT)
                if self._terminal.is_tty and not self._reading:
                    return _HANG_UP

    def close(self) -> None:
        """Let go of what `run` used.  Main thread only.

        Precondition: the guest is destroyed, so that `wait` returns.
        """
        with self._held:
            if self._waiting is not None and self._waiting.ident is not None:
                self._waiting.join()

    def _wait(self) -> set[int]:
        """The descriptors that are ready, once some are or it is time to offer again what was not taken."""
        # Keys are read even when the guest takes none, for the leave key may be among them.
        full = bool(self._unsent) and not self._terminal.is_tty
        hungry = self._reading and not full and self._line.room() > 0 and self._terminal.in_foreground()
        if hungry:
            self._poll.register(self._terminal.stdin, select.POLLIN)
        try:
            return {descriptor for descriptor, _ in self._poll.poll(self._patience())}
        finally:
            if hungry:
                self._poll.unregister(self._terminal.stdin)

    def _patience(self) -> int | None:
        """Milliseconds until there is something to do that nobody wakes us for."""
        waits = [_RETRY] if self._unsent else []
        if self._deadline is not None:
            waits.append(max(0, math.ceil((self._deadline - time.monotonic()) * 1000)))
        return min(waits, default=None)

    def _take_input(self) -> bool:
        """Pass on what standard input has; True when it was the leave key."""
        try:
            data = os.read(self._terminal.stdin, min(_READ, self._line.room()))
        except OSError:
            data = b""  # closed, or a terminal that hung up
        if not data:
            self._reading = False
            self._send(self._line.end_of_input())
            return False
        leave = False
        if self._terminal.is_tty:
            data, leave = leave_key(data)
        self._send(self._line.typed(data))
        return leave

    def _resized(self) -> None:
        if size := self._terminal.size():
            self._send(self._line.resized(*size))

    def _send(self, data: bytes) -> None:
        # What is typed at a guest that takes nothing is lost beyond this, as on any tty.
        if self._unsent and self._terminal.is_tty:
            data = data[: max(0, _READ - len(self._unsent))]
        unsent = self._unsent + data
        self._unsent = unsent[self._console.offer(unsent) :] if unsent else b""
