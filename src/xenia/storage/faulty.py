"""For tests: a disk that fails when it is told to."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator
from typing import ClassVar

from xenia.storage.buffers import Buffers, Cursor
from xenia.storage.layer import Extent, Filter, Layer, Operation


class Faulty(Filter):
    """Fails requests of some kinds that touch some bytes, after so many have gone well."""

    name: ClassVar[str] = "faulty"

    def __init__(
        self,
        lower: Layer,
        operations: Collection[Operation] = (),
        *,
        after: int = 0,
        times: int | None = None,
        start: int = 0,
        end: int | None = None,
        number: int = errno.EIO,
        torn: int | None = None,
    ) -> None:
        """Of the requests of those kinds that touch bytes from `start` to `end`, the first `after` go well and the next
        `times` (None: all) fail with errno `number`.  A failing write stores its first `torn` bytes all the same."""
        super().__init__(lower)
        self.operations = set(operations)
        self._after = after
        self._times = times
        self._start = start
        self._end = end
        self._number = number
        self._torn = torn
        self.failed = 0

    def _read(self, buffers: Buffers, offset: int, length: int) -> None:
        self._maybe_fail(Operation.READ, offset, length)
        self.lower.preadv(buffers, offset)

    def _write(self, buffers: Buffers, offset: int, length: int) -> None:
        try:
            self._maybe_fail(Operation.WRITE, offset, length)
        except OSError:
            if self._torn:
                self.lower.pwritev(Cursor(buffers).take(min(self._torn, length)), offset)
            raise
        self.lower.pwritev(buffers, offset)

    def _flush(self) -> None:
        self._maybe_fail(Operation.FLUSH, 0, self.size)
        self.lower.flush()

    def _discard(self, offset: int, length: int, secure: bool) -> None:
        self._maybe_fail(Operation.SECURE_DISCARD if secure else Operation.DISCARD, offset, length)
        self.lower.discard(offset, length, secure)

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        self._maybe_fail(Operation.WRITE_ZEROES, offset, length)
        self.lower.write_zeroes(offset, length, unmap)

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self.lower.extents(offset, length)

    def _maybe_fail(self, operation: Operation, offset: int, length: int) -> None:
        if operation not in self.operations or offset + length <= self._start:
            return
        if self._end is not None and offset >= self._end:
            return
        if self._after:
            self._after -= 1
        elif self._times is None or self.failed < self._times:
            self.failed += 1
            raise OSError(self._number, os.strerror(self._number))
