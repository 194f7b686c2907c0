"""A table of numbers that is kept in memory and written back in part."""

from __future__ import annotations

import sys
from array import array
from collections.abc import MutableMapping

from xenia.storage.layer import Layer

MOST_KEPT = 256  # tables in memory
MOST_MEMORY = 16 << 20  # bytes, for them all
SECTOR = 512  # a part of a table is written in whole sectors, each of which the host stores whole or not at all


class Table:
    """Big-endian numbers at `offset` of an image; knows which of them are not written yet."""

    __slots__ = ("_first", "_last", "entries", "fresh", "offset")

    def __init__(self, offset: int, entries: array[int], fresh: bool = False) -> None:
        """`fresh`: nothing durable refers to it, and all of it is to be written."""
        self.offset = offset
        self.entries = entries
        self.fresh = fresh
        self._first, self._last = (0, len(entries) - 1) if fresh else (len(entries), -1)

    @property
    def dirty(self) -> bool:
        """Whether something is to be written."""
        return self._last >= self._first

    def __getitem__(self, index: int) -> int:
        return self.entries[index]

    def __setitem__(self, index: int, value: int) -> None:
        self.entries[index] = value
        if index < self._first:
            self._first = index
        if index > self._last:
            self._last = index

    def write(self, container: Layer) -> None:
        """Write what changed.  It counts as not written until `written` is called, after a flush."""
        unit = self.entries.itemsize
        first = self._first * unit // SECTOR * SECTOR
        part = self.entries[first // unit : -(-(self._last + 1) * unit // SECTOR) * SECTOR // unit]
        container.pwrite(big_endian(part), self.offset + first)

    def written(self) -> None:
        """What `write` wrote is durable."""
        self.fresh = False
        self._first, self._last = len(self.entries), -1


def big_endian(entries: array[int]) -> bytes:
    """The numbers as they are stored."""
    if sys.byteorder == "little" and entries.itemsize > 1:
        entries = entries[:]
        entries.byteswap()
    return entries.tobytes()


def load(container: Layer, offset: int, length: int, typecode: str = "Q") -> array[int]:
    """The numbers in the `length` bytes at `offset`; what lies after the container's end is zeroes."""
    data = container.pread(offset, max(0, min(length, container.size - offset)))
    entries = array(typecode, bytes(data) + bytes(length - len(data)))
    if sys.byteorder == "little" and entries.itemsize > 1:
        entries.byteswap()
    return entries


def most_kept(cluster_size: int) -> int:
    """How many tables of a cluster each are kept in memory."""
    return max(8, min(MOST_KEPT, MOST_MEMORY // cluster_size))


def trim(tables: MutableMapping[int, Table], cluster_size: int) -> None:
    """Make room for one table more: those that have been there longest and have nothing pending go."""
    most = most_kept(cluster_size)
    if len(tables) >= most:
        for index in [index for index, table in tables.items() if not table.dirty][: most // 4]:
            del tables[index]


def names_twice(entries: array[int], mask: int) -> bool:
    """Whether two entries of a table name one place."""
    places = [place for entry in entries if (place := entry & mask)]
    return len(set(places)) < len(places)
