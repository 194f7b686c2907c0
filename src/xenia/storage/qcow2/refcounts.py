"""Which clusters of a qcow2 image are in use, and by how many.

What is durable never counts too little: a count goes up before a reference becomes durable, and down only after the
last one has ceased to be (`release` and `settle`). After a crash clusters may be lost to use, which a check repairs;
no cluster can be given out twice.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Mapping

from xenia.storage.layer import Layer
from xenia.storage.qcow2.header import MAX_REFCOUNT_TABLE_BYTES, Header
from xenia.storage.qcow2.table import SECTOR, Table, big_endian, load, names_twice, trim

_TYPECODES = {3: "B", 4: "H", 5: "I", 6: "Q"}
# How many fields of 1, 2 or 4 bits of a byte are not 0, by the byte.
_FIELDS_IN_USE = [
    bytes(sum(bool(byte >> shift & (1 << bits) - 1) for shift in range(0, 8, bits)) for byte in range(256))
    for bits in (1, 2, 4)
]
_OFFSET = ~0x1FF
_GROWTH = 16 << 20  # a container grows by steps of this


class Refcounts:
    """The reference counts of one image, which also gives clusters out.  Its caller holds the image's lock."""

    def __init__(self, container: Layer, header: Header) -> None:
        self._container = container
        self._header = header
        self._order = header.refcount_order
        self._bits = 1 << self._order
        self.maximum = (1 << self._bits) - 1
        self.cluster_size = header.cluster_size
        self.block_entries = self.cluster_size * 8 // self._bits
        self._table = Table(
            header.refcount_table_offset,
            load(container, header.refcount_table_offset, header.refcount_table_clusters * self.cluster_size),
        )
        self._blocks: dict[int, Table] = {}  # by their number; clean ones may go
        self._hint = 0  # no cluster below is free
        self._released: list[int] = []  # clusters that lose a reference when what is pending is durable
        self._packed = 0  # where the next compressed cluster may go, or 0

    @property
    def dirty(self) -> bool:
        return any(block.dirty for block in self._blocks.values())

    def get(self, cluster: int) -> int:
        """How many refer to it."""
        number, index = divmod(cluster, self.block_entries)
        block = self._block(number)
        if block is None:
            return 0
        if self._order >= 3:
            return block[index]
        per_byte = 8 >> self._order
        return block[index // per_byte] >> (index % per_byte << self._order) & self.maximum

    def set(self, cluster: int, count: int) -> None:
        """Change a count, of a cluster that has a block."""
        number, index = divmod(cluster, self.block_entries)
        block = self._block(number)
        assert block is not None
        if self._order >= 3:
            block[index] = count
        else:
            per_byte = 8 >> self._order
            shift = index % per_byte << self._order
            block[index // per_byte] = block[index // per_byte] & ~(self.maximum << shift) | count << shift
        if not count:
            self._hint = min(self._hint, cluster)

    def allocate(self, wanted: int, exactly: bool = False) -> tuple[int, int]:
        """Take free clusters that follow each other: the first one's offset, and how many, at least one.  ENOSPC."""
        start, count = self._find(wanted, exactly)
        try:
            self._extend(start + count)
        except OSError:
            if exactly or count == 1:
                raise
            count = 1
            self._extend(start + 1)
        for cluster in range(start, start + count):
            self.set(cluster, 1)
        if not exactly:
            self._hint = start + count
        return start * self.cluster_size, count

    def allocate_bytes(self, length: int) -> int:
        """Take room for a compressed cluster, in a whole number of sectors; others may share its clusters."""
        length = -(-length // SECTOR) * SECTOR
        cluster, used = divmod(self._packed, self.cluster_size)
        left = self.cluster_size - used
        if used and self.get(cluster) < self.maximum:
            if length > left and self._is_free(cluster + 1):
                self._extend(cluster + 2)
                self.set(cluster + 1, 1)
                left += self.cluster_size
            if length <= left:
                self.set(cluster, self.get(cluster) + 1)
                offset = self._packed
                self._packed += length
                return offset
        offset, _ = self.allocate(1)
        self._packed = offset + length
        return offset

    def release(self, offset: int, length: int = 1) -> None:
        """The clusters of these bytes lose a reference, once `settle` is called."""
        first, last = offset // self.cluster_size, (offset + length - 1) // self.cluster_size
        self._released.extend(range(first, last + 1))

    def settle(self) -> int:
        """Nothing durable refers any more to what was released: count it down, and give the space back.

        How many clusters became free.
        """
        freed: list[int] = []
        for cluster in self._released:
            count = self.get(cluster)
            if not count:
                continue  # the image was damaged; the check says more
            self.set(cluster, count - 1)
            if count == 1:
                freed.append(cluster)
                if cluster == self._packed // self.cluster_size:
                    self._packed = 0
        self._released.clear()
        if self._container.can_discard:
            self._discard(sorted(freed))
        return len(freed)

    def write(self) -> None:
        """Write the blocks that changed."""
        for block in self._blocks.values():
            if block.dirty:
                block.write(self._container)

    def written(self) -> None:
        """They are durable."""
        for block in self._blocks.values():
            if block.dirty:
                block.written()

    def need_sound_table(self) -> None:
        """EIO where one block is to count two stretches of the file."""
        if names_twice(self._table.entries, _OFFSET):
            raise OSError(errno.EIO, "the image is damaged: its refcount table names a block twice")

    def in_use(self, number: int) -> int:
        """How many of the clusters that a block counts are in use."""
        block = self._block(number)
        if block is None:
            return 0
        if self._order >= 3:
            return len(block.entries) - block.entries.count(0)
        return sum(block.entries.tobytes().translate(_FIELDS_IN_USE[self._order]))

    def rewrite(self, number: int, counts: Mapping[int, int]) -> None:
        """Put a block right at once: the counts of its clusters, all others 0.  Not durable yet."""
        block = self._block(number)
        assert block is not None
        self._blocks[number] = self._new_block(block.offset)
        self._hint = 0
        for cluster, count in counts.items():
            self.set(cluster, min(count, self.maximum))
        self._blocks[number].write(self._container)
        self._blocks[number].written()

    @property
    def end(self) -> int:
        """The offset after the last cluster in use."""
        reach = self.block_entries * self.cluster_size
        for number in range(min(len(self._table.entries), -(-self._container.size // reach)) - 1, -1, -1):
            if self.in_use(number):
                for cluster in range((number + 1) * self.block_entries - 1, number * self.block_entries - 1, -1):
                    if self.get(cluster):
                        return (cluster + 1) * self.cluster_size
        return 0

    def block_offsets(self) -> list[int]:
        """Where the blocks are, 0 for one that is not."""
        return [entry & _OFFSET for entry in self._table.entries]

    def table_extent(self) -> tuple[int, int]:
        """Where the table is, and its length in clusters."""
        return self._header.refcount_table_offset, self._header.refcount_table_clusters

    def _block(self, number: int) -> Table | None:
        block = self._blocks.get(number)
        if block is None and number < len(self._table.entries):
            offset = self._table[number] & _OFFSET
            if not offset:
                return None
            if offset % self.cluster_size or offset >= self._container.size:
                raise OSError(errno.EIO, "the image is damaged: a refcount block is where none can be")
            typecode = _TYPECODES.get(self._order, "B")
            trim(self._blocks, self.cluster_size)
            block = self._blocks[number] = Table(offset, load(self._container, offset, self.cluster_size, typecode))
        return block

    def _find(self, wanted: int, exactly: bool) -> tuple[int, int]:
        if exactly and wanted >= self.block_entries:
            raise OSError(errno.EFBIG, "the image's clusters are too small for it to grow so much")
        cluster = self._hint
        while True:
            cluster = self._next_free(cluster)
            count = 1
            while count < wanted and self._is_free(cluster + count):
                count += 1
            if count == wanted or not exactly:
                return cluster, count
            cluster += count

    def _next_free(self, cluster: int) -> int:
        """The first free cluster from this one on."""
        while True:
            number, index = divmod(cluster, self.block_entries)
            block = self._block(number)
            if block is None:
                self._add_block(number)
                continue
            if self._order >= 3:
                try:
                    return number * self.block_entries + block.entries.index(0, index)
                except ValueError:
                    pass
            else:
                for free in range(cluster, (number + 1) * self.block_entries):
                    if not self.get(free):
                        return free
            cluster = (number + 1) * self.block_entries

    def _is_free(self, cluster: int) -> bool:
        return self._block(cluster // self.block_entries) is not None and not self.get(cluster)

    def _add_block(self, number: int) -> None:
        """A new block, in the first cluster of those that it counts: none of them can be in use."""
        if number >= len(self._table.entries):
            self._grow_table(number)
            return
        offset = number * self.block_entries * self.cluster_size
        self._extend(offset // self.cluster_size + 1)
        self._blocks[number] = self._new_block(offset)
        self.set(number * self.block_entries, 1)
        # Durable before anything can refer to it.
        self._blocks[number].write(self._container)
        self._container.flush()
        self._blocks[number].written()
        self._table[number] = offset
        self._table.write(self._container)
        self._table.written()

    def _grow_table(self, number: int) -> None:
        """A longer table, together with the blocks that count it, at the beginning of what block `number` counts."""
        per_cluster = self.cluster_size // 8
        blocks = 1
        while True:
            clusters = -(-max(number + blocks + 1, len(self._table.entries) * 3 // 2) // per_cluster)
            if blocks * self.block_entries >= blocks + clusters:
                break
            blocks += 1
        if clusters * self.cluster_size > MAX_REFCOUNT_TABLE_BYTES:
            raise OSError(errno.EFBIG, "the image has the largest size that it can have")
        start = number * self.block_entries
        table_offset = (start + blocks) * self.cluster_size
        self._extend(start + blocks + clusters)
        entries = array("Q", self._table.entries)
        entries.extend([0] * (clusters * per_cluster - len(entries)))
        for index in range(blocks):
            self._blocks[number + index] = self._new_block((start + index) * self.cluster_size)
            entries[number + index] = (start + index) * self.cluster_size
        old = self._table, self.table_extent()
        self._table = Table(table_offset, entries)
        for cluster in range(start, start + blocks + clusters):
            self.set(cluster, 1)
        for index in range(blocks):
            self._blocks[number + index].write(self._container)
        self._container.pwrite(big_endian(entries), table_offset)
        self._container.flush()
        self._header.refcount_table_offset = table_offset
        self._header.refcount_table_clusters = clusters
        self._container.pwrite(self._header.pack(), 0)
        self._container.flush()
        for index in range(blocks):
            self._blocks[number + index].written()
        offset, length = old[1]
        self.release(offset, length * self.cluster_size)

    def _new_block(self, offset: int) -> Table:
        typecode = _TYPECODES.get(self._order, "B")
        return Table(offset, array(typecode, bytes(self.cluster_size)), fresh=True)

    def _extend(self, clusters: int) -> None:
        self.hold(clusters * self.cluster_size)

    def hold(self, size: int) -> None:
        """Make the container at least so long."""
        if size <= self._container.size:
            return
        if not self._container.can_resize:
            raise OSError(errno.ENOSPC, "the image has filled what holds it")
        self._container.resize(max(size, self._container.size + min(size, _GROWTH)))

    def _discard(self, clusters: list[int]) -> None:
        index = 0
        while index < len(clusters):
            end = index + 1
            while end < len(clusters) and clusters[end] == clusters[end - 1] + 1:
                end += 1
            offset = clusters[index] * self.cluster_size
            length = min((end - index) * self.cluster_size, self._container.size - offset)
            if length > 0:
                self._container.discard(offset, length)
            index = end
