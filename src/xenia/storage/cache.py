"""Keeps what was read or written last in memory.

Written through, the layer below always has everything. Written back, what was written stays in memory until a flush,
or until its place is needed: the layer below sees large writes, and a flush costs what it costs.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import ClassVar

from xenia.storage.buffers import Buffers, Cursor, fill
from xenia.storage.layer import Extent, Filter, Layer

UNIT = 64 << 10


class Cache(Filter):
    """A cache of whole units of the layer below; the least recently used ones go first."""

    name: ClassVar[str] = "cache"

    def __init__(self, lower: Layer, capacity: int = 64 << 20, write_back: bool = False) -> None:
        """`capacity` is in bytes."""
        super().__init__(lower)
        self.write_back = write_back
        self.hits = 0
        self.misses = 0
        self._unit = max(UNIT, lower.block_size.minimum)
        self._capacity = max(1, capacity // self._unit)
        self._units: OrderedDict[int, bytearray] = OrderedDict()  # by number, least recently used first
        self._dirty: set[int] = set()
        self._lock = threading.RLock()

    def _read(self, buffers: Buffers, offset: int, length: int) -> None:
        cursor = Cursor(buffers)
        with self._lock:
            for number, start, end in self._parts(offset, length):
                unit = self._units.get(number)
                if unit is None:
                    self.misses += 1
                    unit = self._load(number)
                else:
                    self.hits += 1
                    self._units.move_to_end(number)
                fill(cursor.take(end - start), memoryview(unit)[start:end])

    def _write(self, buffers: Buffers, offset: int, length: int) -> None:
        with self._lock:
            if not self.write_back:
                try:
                    self.lower.pwritev(buffers, offset)
                except OSError:
                    self._forget(offset, length)
                    raise
            cursor = Cursor(buffers)
            for number, start, end in self._parts(offset, length):
                parts = cursor.take(end - start)
                unit = self._units.get(number)
                if unit is None:
                    if not self.write_back:
                        continue
                    whole = end - start == self._length(number)
                    unit = self._insert(number, bytearray(end)) if whole else self._load(number)
                at = start
                for part in parts:
                    unit[at : at + len(part)] = part
                    at += len(part)
                if self.write_back:
                    self._dirty.add(number)

    def _flush(self) -> None:
        with self._lock:
            self._write_out(sorted(self._dirty))
        self.lower.flush()

    def _discard(self, offset: int, length: int, secure: bool) -> None:
        with self._lock:
            self._forget(offset, length)
            self.lower.discard(offset, length, secure)

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        with self._lock:
            self._forget(offset, length)
            self.lower.write_zeroes(offset, length, unmap)

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        with self._lock:
            self._forget(offset, length)
        return self.lower.extents(offset, length)

    def _resize(self, size: int) -> None:
        with self._lock:
            self._forget(0, self.size)
            self.lower.resize(size)

    def _refresh(self) -> None:
        with self._lock:
            self._forget(0, self.size)
            self.lower.refresh()

    def _close(self) -> None:
        try:
            with self._lock:
                self._write_out(sorted(self._dirty))
        finally:
            self.lower.close()

    def _parts(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """The units of a range: number, and where in it the range begins and ends."""
        end = offset + length
        while offset < end:
            number, start = divmod(offset, self._unit)
            stop = min(self._unit, start + end - offset)
            yield number, start, stop
            offset += stop - start

    def _length(self, number: int) -> int:
        return min(self._unit, self.size - number * self._unit)

    def _load(self, number: int) -> bytearray:
        return self._insert(number, self.lower.pread(number * self._unit, self._length(number)))

    def _insert(self, number: int, unit: bytearray) -> bytearray:
        while len(self._units) >= self._capacity:
            oldest = next(iter(self._units))
            if oldest in self._dirty:
                self._write_out([oldest])
            del self._units[oldest]
        self._units[number] = unit
        return unit

    def _write_out(self, numbers: list[int]) -> None:
        """Write dirty units down, neighbours together."""
        index = 0
        while index < len(numbers):
            end = index + 1
            while end < len(numbers) and numbers[end] == numbers[end - 1] + 1 and end - index < 64:
                end += 1
            self.lower.pwritev(
                [memoryview(self._units[number]) for number in numbers[index:end]], numbers[index] * self._unit
            )
            self._dirty.difference_update(numbers[index:end])
            index = end

    def _forget(self, offset: int, length: int) -> None:
        """Bring the layer below up to date with a range, and keep nothing of it."""
        first, last = offset // self._unit, (offset + length - 1) // self._unit
        self._write_out(sorted(number for number in self._dirty if first <= number <= last))
        for number in [number for number in self._units if first <= number <= last]:
            del self._units[number]
