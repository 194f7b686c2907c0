"""Whole sectors over a layer that ends within one: zeroes follow it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import ClassVar, NoReturn

from xenia.storage.aligned import fine
from xenia.storage.buffers import Buffers, Cursor, zero
from xenia.storage.layer import Capability, Extent, Filter, Layer


class Padded(Filter):
    """The layer below, read-only, up to the end of its last sector."""

    name: ClassVar[str] = "padded"

    def __init__(self, lower: Layer, unit: int) -> None:
        """`unit`: bytes of a sector."""
        super().__init__(fine(lower), lower.capabilities & Capability.FLUSH)
        self._unit = unit

    @property
    def size(self) -> int:
        return -(-self.lower.size // self._unit) * self._unit

    def _read(self, buffers: Buffers, offset: int, length: int) -> None:
        read_padded(self.lower, buffers, offset, length)

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        inside = max(0, min(length, self.lower.size - offset))
        if inside:
            yield from self.lower.extents(offset, inside)
        if inside < length:
            yield Extent(offset + inside, length - inside, zero=True, hole=True)

    def _refuse(self) -> NoReturn:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def _write(self, buffers: Buffers, offset: int, length: int) -> None:
        self._refuse()

    def _discard(self, offset: int, length: int, secure: bool) -> None:
        self._refuse()

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        self._refuse()


def read_padded(layer: Layer, buffers: Buffers, offset: int, length: int) -> None:
    """Read from a layer that may end earlier: zeroes follow it."""
    inside = max(0, min(length, layer.size - offset))
    cursor = Cursor(buffers)
    if inside:
        layer.preadv(cursor.take(inside), offset)
    zero(cursor.take(length - inside))
