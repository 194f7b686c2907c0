"""From a qcow2 image's clusters to places in its container: the L1 table and the L2 tables."""

from __future__ import annotations

import errno
from array import array
from collections import OrderedDict

from xenia.storage.layer import Layer
from xenia.storage.qcow2.header import Header
from xenia.storage.qcow2.refcounts import Refcounts
from xenia.storage.qcow2.table import Table, load, most_kept, names_twice, trim

COPIED = 1 << 63  # nobody else refers to it: it may be written in place
ZERO = 1
OFFSET = 0x00FFFFFFFFFFFE00


class Mapping:
    """The active L1 table and the L2 tables under it.  Its caller holds the image's lock."""

    def __init__(self, container: Layer, header: Header, refcounts: Refcounts) -> None:
        self._container = container
        self._header = header
        self._refcounts = refcounts
        self._l1 = Table(header.l1_offset, load(container, header.l1_offset, header.l1_size * 8))
        if names_twice(self._l1.entries, OFFSET):
            raise OSError(errno.EIO, "the image is damaged: its L1 table names an L2 table twice")
        self._l2: OrderedDict[int, Table] = OrderedDict()  # by index in the L1 table, least recently used first

    @property
    def dirty(self) -> bool:
        return self._l1.dirty or any(table.dirty for table in self._l2.values())

    @property
    def crowded(self) -> bool:
        """Whether so many L2 tables are kept that what is pending should be made durable, to let some go."""
        return len(self._l2) > most_kept(self._header.cluster_size)

    def table(self, index: int) -> Table | None:
        """The L2 table that an L1 entry names, to be looked at."""
        table = self._l2.get(index)
        if table is None:
            entry = self._l1[index]
            offset = entry & OFFSET
            if not offset:
                return None
            if offset % self._header.cluster_size or offset >= self._container.size:
                raise OSError(errno.EIO, "the image is damaged: an L2 table is where none can be")
            trim(self._l2, self._header.cluster_size)
            table = self._l2[index] = Table(offset, load(self._container, offset, self._header.cluster_size))
        else:
            self._l2.move_to_end(index)
        return table

    def writable(self, index: int) -> Table:
        """The L2 table that an L1 entry names, to be changed: made, or made the active state's own, first."""
        table = self.table(index)
        if table is not None and self._l1[index] & COPIED:
            return table
        offset, _ = self._refcounts.allocate(1)
        if table is None:
            entries = array("Q", bytes(self._header.cluster_size))
        else:
            entries = table.entries
            self._refcounts.release(table.offset)
        trim(self._l2, self._header.cluster_size)
        table = self._l2[index] = Table(offset, entries, fresh=True)
        self._l1[index] = offset | COPIED
        return table

    def write_fresh(self) -> None:
        """Write the L2 tables that nothing durable refers to yet."""
        for table in self._l2.values():
            if table.fresh:
                table.write(self._container)

    def write(self) -> None:
        """Write what refers to clusters: the other L2 tables, and the L1 table."""
        for table in self._l2.values():
            if table.dirty and not table.fresh:
                table.write(self._container)
        if self._l1.dirty:
            self._l1.write(self._container)

    def written(self) -> None:
        """All of it is durable."""
        for table in self._l2.values():
            if table.dirty:
                table.written()
        if self._l1.dirty:
            self._l1.written()

    def grow(self, entries: int) -> None:
        """Put a longer L1 table into a place of its own; `Header` then names it, but is not written.

        Precondition: nothing is pending.  The old one is to be released when the header is durable.
        """
        offset, _ = self._refcounts.allocate(-(-entries * 8 // self._header.cluster_size), exactly=True)
        longer = array("Q", self._l1.entries)
        longer.extend([0] * (entries - len(longer)))
        self._l1 = Table(offset, longer, fresh=True)
        self._header.l1_offset, self._header.l1_size = offset, entries
