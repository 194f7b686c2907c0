"""For tests: a disk as slow as one likes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import ClassVar

from xenia.storage.buffers import Buffers
from xenia.storage.layer import Extent, Filter, Layer


class Delay(Filter):
    """Sleeps before each request."""

    name: ClassVar[str] = "delay"

    def __init__(
        self,
        lower: Layer,
        read: float = 0.0,
        write: float = 0.0,
        flush: float = 0.0,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Seconds for each kind of request; discards and zeroes are writes."""
        super().__init__(lower)
        self._seconds = (read, write, flush)
        self._sleep = sleep

    def _read(self, buffers: Buffers, offset: int, length: int) -> None:
        self._sleep(self._seconds[0])
        self.lower.preadv(buffers, offset)

    def _write(self, buffers: Buffers, offset: int, length: int) -> None:
        self._sleep(self._seconds[1])
        self.lower.pwritev(buffers, offset)

    def _flush(self) -> None:
        self._sleep(self._seconds[2])
        self.lower.flush()

    def _discard(self, offset: int, length: int, secure: bool) -> None:
        self._sleep(self._seconds[1])
        self.lower.discard(offset, length, secure)

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        self._sleep(self._seconds[1])
        self.lower.write_zeroes(offset, length, unmap)

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self.lower.extents(offset, length)
