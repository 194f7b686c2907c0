"""Where a console's output goes."""

from __future__ import annotations

import os
import select
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final


class Sink(ABC):
    """Takes bytes without waiting."""

    __slots__ = ()

    @abstractmethod
    def write(self, data: bytes) -> int:
        """Take as many bytes as can be taken now; answers how many.  Raises OSError when none will ever be taken
        again."""

    @abstractmethod
    def fileno(self) -> int | None:
        """What becomes writable when `write` takes more; None where `write` always takes all."""


class CallbackSink(Sink):
    """Hands every piece of output to a function.  It is called on the console's thread and must not block."""

    __slots__ = ("_on_output",)

    def __init__(self, on_output: Callable[[bytes], object]) -> None:
        self._on_output = on_output

    def write(self, data: bytes) -> int:
        self._on_output(data)
        return len(data)

    def fileno(self) -> int | None:
        return None


class FdSink(Sink):
    """Writes to a descriptor that stays its owner's.

    Whether it blocks is not changed: a terminal or pipe is shared with other processes, and so would the change be.
    Instead it is asked first, and given no more at once than a pipe that is writable takes.
    """

    __slots__ = ("_fd", "_poll")

    _PIECE: Final = select.PIPE_BUF

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def write(self, data: bytes) -> int:
        written = 0
        while written < len(data):
            if not self._poll.poll(0):
                break
            try:
                written += os.write(self._fd, data[written : written + self._PIECE])
            except BlockingIOError:
                break
        return written

    def fileno(self) -> int:
        return self._fd
