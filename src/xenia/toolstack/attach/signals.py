"""Signals as bytes on a descriptor, so that one poll waits for keys, the guest and signals alike."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

type_of_handler = Callable[[int, FrameType | None], object] | int | None


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The byte that the interpreter writes to the wake-up descriptor is all that is wanted."""


class Signals:
    """Within the `with` block the given signals do nothing but become readable here.

    Main thread only (Python's rule for handlers).  Handlers and the wake-up descriptor found at entry return at exit.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self._numbers = numbers
        self._saved: list[tuple[signal.Signals, type_of_handler]] = []
        self._saved_fd = -1
        self._read_fd = -1
        self._write_fd = -1

    def __enter__(self) -> Self:
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._saved_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in self._numbers:
            # A signal that was ignored for us (nohup) stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._saved.append((number, signal.signal(number, _noted)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._saved:
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._saved.clear()
        signal.set_wakeup_fd(self._saved_fd)
        os.close(self._read_fd)
        os.close(self._write_fd)

    def fileno(self) -> int:
        return self._read_fd

    def take(self) -> list[signal.Signals]:
        """The signals that arrived since the last call, oldest first; never blocks."""
        try:
            arrived = os.read(self._read_fd, 256)
        except BlockingIOError:
            return []
        return [signal.Signals(number) for number in arrived if number in self._numbers]
