"""Byte granularity over a layer that has blocks: what does not fill a block is read, changed and written back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from xenia.storage.buffers import ZEROES, Buffers
from xenia.storage.layer import Extent, Filter, Layer


class Aligned(Filter):
    """Accepts smaller blocks than the layer below."""

    name: ClassVar[str] = "aligned"

    def __init__(self, lower: Layer, minimum: int = 1) -> None:
        super().__init__(lower, block_size=replace(lower.block_size, minimum=minimum))
        self._unit = lower.block_size.minimum
        self._changing = threading.Lock()  # no two changes of parts of one block at a time

    def _read(self, buffers: Buffers, offset: int, length: int) -> None:
        before, after = self._edges(offset, length)
        if before or after:
            # What is not asked for goes to a place nobody reads.
            buffers = [memoryview(bytearray(before)), *buffers, memoryview(bytearray(after))]
        self.lower.preadv(buffers, offset - before)

    def _write(self, buffers: Buffers, offset: int, length: int) -> None:
        before, after = self._edges(offset, length)
        with self._changing:
            if before or after:
                start, end = offset - before, offset + length + after
                first = memoryview(self.lower.pread(start, self._unit))
                only = end - start == self._unit
                last = first if only else memoryview(self.lower.pread(end - self._unit, self._unit))
                buffers = [first[:before], *buffers, last[self._unit - after :]]
            self.lower.pwritev(buffers, offset - before)

    def _discard(self, offset: int, length: int, secure: bool) -> None:
        before, after = self._edges(offset, length)
        if secure and (before or after):
            self._write_zeroes(offset, length, unmap=True)  # the rest of those blocks must stay
        start, inner = self._inner(offset, length)
        if inner:
            self.lower.discard(start, inner, secure)

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        start, inner = self._inner(offset, length)
        if not inner:
            self._write([ZEROES[:length]], offset, length)  # less than two blocks
            return
        if head := start - offset:
            self._write([ZEROES[:head]], offset, head)
        if tail := offset + length - start - inner:
            self._write([ZEROES[:tail]], start + inner, tail)
        self.lower.write_zeroes(start, inner, unmap)

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        before, after = self._edges(offset, length)
        end = offset + length
        for extent in self.lower.extents(offset - before, before + length + after):
            start = max(extent.offset, offset)
            stop = min(extent.offset + extent.length, end)
            if start < stop:
                yield replace(extent, offset=start, length=stop - start)

    def _resize(self, size: int) -> None:
        self.lower.resize(-(-size // self._unit) * self._unit)

    def _edges(self, offset: int, length: int) -> tuple[int, int]:
        """How many bytes of the first and the last block are not meant."""
        return offset % self._unit, -(offset + length) % self._unit

    def _inner(self, offset: int, length: int) -> tuple[int, int]:
        """The whole blocks among the bytes: their start and length."""
        start = offset + -offset % self._unit
        return start, max(0, offset + length - (offset + length) % self._unit - start)


def fine(layer: Layer, minimum: int = 1) -> Layer:
    """The layer itself, or with byte granularity put over it, so that blocks of `minimum` are accepted."""
    return layer if layer.block_size.minimum <= minimum else Aligned(layer, minimum)
