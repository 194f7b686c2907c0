"""The qcow2 layer: QEMU's image format in any container, with anything as its backing.

What is durable is consistent at every moment. Data goes to its final place at once; tables change in memory, and a
commit makes them durable in three steps with a flush after each of the first two:

1. data, reference counts that went up, new L2 tables: nothing durable refers to any of it;
2. the references: L2 entries and L1 entries, each of which the container stores whole or not at all;
3. counts go down, in memory: what nothing durable refers to any more may be given out again.

A flush is a commit, or the container's flush alone where no table has changed. A crash costs at most clusters that
nobody uses.
"""

from __future__ import annotations

import errno
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar

from xenia.storage.aligned import fine
from xenia.storage.buffers import ZEROES, Buffers, Cursor, fill, is_zero, join, zero
from xenia.storage.layer import BlockSize, Capability, Extent, Layer
from xenia.storage.padded import read_padded
from xenia.storage.qcow2.compression import COMPRESSED, Codec
from xenia.storage.qcow2.header import COMPRESSIONS, Header
from xenia.storage.qcow2.mapping import COPIED, OFFSET, ZERO, Mapping
from xenia.storage.qcow2.refcounts import Refcounts
from xenia.storage.qcow2.run import Run, alike
from xenia.storage.qcow2.snapshots import read_snapshots
from xenia.storage.qcow2.table import Table

DECOMPRESSED_KEPT = 16  # clusters
SPLIT = 64 << 20  # zeroes and discards are done in steps of this, between which others have their turn


class Qcow2(Layer):
    """A qcow2 image."""

    name: ClassVar[str] = "qcow2"
    lower: Layer

    def __init__(
        self,
        container: Layer,
        header: Header,
        backing: Layer | None = None,
        *,
        read_only: bool = False,
        compress: bool = False,
        level: int | None = None,
    ) -> None:
        """`compress`: clusters are compressed as they are written.  The image closes its container and its backing."""
        capabilities = Capability.FLUSH
        if not (read_only or container.read_only):
            capabilities |= Capability.WRITE | Capability.DISCARD | Capability.RESIZE
            if header.version >= 3 or backing is None:
                capabilities |= Capability.WRITE_ZEROES
        super().__init__(fine(container), capabilities, BlockSize(1, header.cluster_size))
        self.header = header
        self.backing = None if backing is None else fine(backing)
        self.refcounts = Refcounts(self.lower, header)
        self.codec = Codec(header.compression, header.cluster_bits, level)
        self._mapping = Mapping(self.lower, header, self.refcounts)
        self._compress = compress
        self._decompressed: OrderedDict[int, bytes] = OrderedDict()  # by L2 entry
        self._cluster_size = header.cluster_size
        self._reach = header.cluster_size * header.l2_entries  # bytes under one L2 table
        self._settled = 0  # changes when clusters become free that were in use
        self._lock = threading.RLock()
        if not self.read_only:
            self.refcounts.need_sound_table()
        if not self.read_only and header.autoclear:
            header.autoclear = 0  # what hangs on these bits does not follow our writes
            self.lower.pwrite(header.pack(), 0)

    @property
    def size(self) -> int:
        return self.header.size

    @property
    def native_sector(self) -> int:
        return 512  # whatever the image is in

    def details(self) -> dict[str, Any]:
        header = self.header
        snapshots, _ = read_snapshots(self.lower, header)
        return {
            "version": header.version,
            "cluster_size": header.cluster_size,
            "compression": next(name for name, number in COMPRESSIONS.items() if number == header.compression),
            "backing_file": header.backing_file or None,
            "snapshots": [one.name for one in snapshots],
        }

    def stack(self) -> Iterator[Layer]:
        yield from super().stack()
        if self.backing is not None:
            yield from self.backing.stack()

    # Reading

    def _read(self, buffers: Buffers, offset: int, length: int) -> None:
        with self._lock:
            found = list(self._runs(offset, length))
            settled = self._settled
            if any(run.entry & COMPRESSED for run in found):
                self._read_runs(found, buffers)
                return
        # Others may go on meanwhile. Should they have given clusters out again, what was read may be another's.
        self._read_runs(found, buffers)
        if settled != self._settled:
            with self._lock:
                self._read_runs(list(self._runs(offset, length)), buffers)

    def _read_runs(self, found: list[Run], buffers: Buffers) -> None:
        cursor = Cursor(buffers)
        for run in found:
            self._read_run(run, cursor.take(run.length))

    def _read_run(self, run: Run, buffers: Buffers) -> None:
        if run.plain:
            # The container may end within the last cluster; the rest is zeroes.
            read_padded(self.lower, buffers, self._host(run), run.length)
        elif run.entry & COMPRESSED:
            start = run.offset % self._cluster_size
            fill(buffers, memoryview(self._decompress(run.entry))[start : start + run.length])
        elif run.zero or self.backing is None:
            zero(buffers)
        else:
            read_padded(self.backing, buffers, run.offset, run.length)

    def _decompress(self, entry: int) -> bytes:
        data = self._decompressed.get(entry)
        if data is None:
            data = self.codec.load(self.lower, entry)
            if len(self._decompressed) >= DECOMPRESSED_KEPT:
                self._decompressed.popitem(last=False)
            self._decompressed[entry] = data
        return data

    def _host(self, run: Run) -> int:
        """Where in the container a plain run begins."""
        host = (run.entry & OFFSET) + run.offset % self._cluster_size
        if (host - run.offset) % self._cluster_size or host >= self.lower.size:
            raise OSError(errno.EIO, f"the image is damaged: {host:#x} is no place for data")
        return host

    def _runs(self, offset: int, length: int) -> Iterator[Run]:
        """How a range is stored.  The next run is looked up when the one before has been dealt with."""
        end = offset + length
        size = self._cluster_size
        while offset < end:
            stop = min(end, (offset // self._reach + 1) * self._reach)  # the L2 table's end
            table = self._mapping.table(offset // self._reach)
            if table is None:
                yield Run(offset, stop - offset, 0)
                offset = stop
                continue
            index = offset % self._reach // size
            entry = table[index]
            run_end = min(stop, (offset // size + 1) * size)
            if not entry & COMPRESSED:
                # A run of clusters in a row, or of ones that have no place.
                step = 0 if entry & ZERO or not entry & OFFSET else size
                expected = entry
                while run_end < stop:
                    index += 1
                    expected += step
                    following = table[index]
                    if following != expected and (step or not alike(following, entry)):
                        break
                    run_end = min(stop, run_end + size)
            yield Run(offset, run_end - offset, entry)
            offset = run_end

    # Writing

    def _write(self, buffers: Buffers, offset: int, length: int) -> None:
        cursor = Cursor(buffers)
        end = offset + length
        with self._lock:
            while offset < end:
                run = next(self._runs(offset, end - offset))
                if self._compress:
                    done = self._write_compressed(run, cursor)
                elif run.plain and run.entry & COPIED:
                    host = self._host(run)
                    self.refcounts.hold(host + run.length)
                    self.lower.pwritev(cursor.take(run.length), host)
                    done = run.length
                else:
                    done = self._write_new(run.offset, self._needing_place(run, end), cursor)
                offset += done
            if self._mapping.crowded:
                self._commit()

    def _needing_place(self, run: Run, end: int) -> int:
        """How many bytes from the run's beginning are in clusters, in a row, that cannot be written in place."""
        stop = min(end, (run.offset // self._reach + 1) * self._reach)
        length = 0
        for one in self._runs(run.offset, stop - run.offset):
            if one.plain and one.entry & COPIED:
                break
            length += one.length
        return length

    def _write_new(self, offset: int, length: int, cursor: Cursor) -> int:
        """Write into new clusters as much of the range as there is room for in a row; how much that was.

        What the clusters hold besides is filled in from what they held until now.
        """
        size = self._cluster_size
        before = offset % size
        table = self._mapping.writable(offset // self._reach)
        host, clusters = self.refcounts.allocate(-(-(before + length) // size))
        length = min(length, clusters * size - before)
        after = -(before + length) % size
        try:
            parts = [*self._old(offset - before, before), *cursor.take(length), *self._old(offset + length, after)]
            self.lower.pwritev(parts, host)
        except OSError:
            self.refcounts.release(host, clusters * size)
            raise
        first = offset % self._reach // size
        for index in range(clusters):
            self._replace(table, first + index, host + index * size | COPIED)
        return length

    def _old(self, offset: int, length: int) -> list[memoryview]:
        """What a part of one cluster holds, zeroes where that is beyond the image's end."""
        if not length:
            return []
        inside = max(0, min(length, self.size - offset))
        if inside:
            run = next(self._runs(offset, inside))
            if self._may_hold_data(run):
                data = memoryview(bytearray(length))
                self._read([data[:inside]], offset, inside)
                return [data]
        return [ZEROES[:length]] if length <= len(ZEROES) else [memoryview(bytes(length))]

    def _write_compressed(self, run: Run, cursor: Cursor) -> int:
        """Write the part of one cluster, which is compressed anew."""
        size = self._cluster_size
        before = run.offset % size
        length = min(run.length, size - before)
        data = join(
            [*self._old(run.offset - before, before), *cursor.take(length),
             *self._old(run.offset + length, size - before - length)]
        )  # fmt: skip
        table = self._mapping.writable(run.offset // self._reach)
        index = run.offset % self._reach // size
        if is_zero(data) and (self.header.version >= 3 or self.backing is None):
            self._replace(table, index, ZERO if self.header.version >= 3 else 0)
            return length
        packed = self.codec.compress(data)
        if packed is not None:
            host = self.refcounts.allocate_bytes(len(packed))
            entry = self.codec.entry(host, len(packed))
            data = packed + bytes(-len(packed) % 512)
        else:
            host, _ = self.refcounts.allocate(1)
            entry = host | COPIED
        try:
            self.lower.pwrite(data, host)
        except OSError:
            self.refcounts.release(host, len(data))
            raise
        self._replace(table, index, entry)
        return length

    def _may_hold_data(self, run: Run) -> bool:
        return not run.zero and (run.entry != 0 or self.backing is not None)

    def _replace(self, table: Table, index: int, entry: int) -> None:
        """Let an L2 entry stand for another place; what it stood for loses a reference."""
        old = table[index]
        table[index] = entry
        if old & COMPRESSED:
            self.refcounts.release(*self.codec.extent(old))
        elif old & OFFSET:
            self.refcounts.release(old & OFFSET)

    # Zeroes and discards

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        self._clear(offset, length, must_be_zero=True)

    def _discard(self, offset: int, length: int, secure: bool) -> None:
        self._clear(offset, length, must_be_zero=False)

    def _clear(self, offset: int, length: int, must_be_zero: bool) -> None:
        """Give the clusters of a range back; write zeroes to the parts of clusters at its ends if it must be zero."""
        size = self._cluster_size
        end = offset + length
        if end == self.size:
            end += -end % size  # the last cluster is whole
        start, stop = offset + -offset % size, end - end % size
        if stop <= start:
            if must_be_zero:
                self._zero_part(offset, length)
            return
        if must_be_zero:
            self._zero_part(offset, start - offset)
            self._zero_part(stop, offset + length - stop)
        while start < stop:
            step = min(SPLIT, stop - start, self._reach - start % self._reach)
            with self._lock:
                self._clear_clusters(start, step, must_be_zero)
            start += step

    def _clear_clusters(self, offset: int, length: int, must_be_zero: bool) -> None:
        """`_clear` for whole clusters under one L2 table."""
        number = offset // self._reach
        if self._mapping.table(number) is None and self.backing is None:
            return
        if self.backing is not None and self.header.version < 3:
            if must_be_zero:
                self._store_zeroes(offset, min(length, self.size - offset))
            return
        empty = ZERO if self.backing is not None else 0
        table = self._mapping.writable(number)
        first = offset % self._reach // self._cluster_size
        for index in range(first, first + length // self._cluster_size):
            if table[index] != empty:
                self._replace(table, index, empty)
        if self._mapping.crowded:
            self._commit()

    def _zero_part(self, offset: int, length: int) -> None:
        if length <= 0:
            return
        with self._lock:
            for run in list(self._runs(offset, length)):
                if self._may_hold_data(run):
                    self._store_zeroes(run.offset, run.length)

    # Durability

    def _flush(self) -> None:
        with self._lock:
            self._commit()

    def _commit(self) -> None:
        if not self.read_only:
            self.refcounts.write()
            if self._mapping.dirty:
                self._mapping.write_fresh()
                self.lower.flush()
                self._mapping.write()
        self.lower.flush()
        if not self.read_only:
            self.refcounts.written()
            self._mapping.written()
            self._decompressed.clear()  # entries may come to stand for something else
            self._settled += self.refcounts.settle()

    # Extents and size

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        with self._lock:
            found = list(self._runs(offset, length))
        for run in found:
            if run.plain or run.entry & COMPRESSED:
                yield Extent(run.offset, run.length)
            elif run.zero or self.backing is None:
                yield Extent(run.offset, run.length, zero=True, hole=True)
            else:
                inside = max(0, min(run.length, self.backing.size - run.offset))
                if inside:
                    yield from self.backing.extents(run.offset, inside)
                if inside < run.length:
                    yield Extent(run.offset + inside, run.length - inside, zero=True, hole=True)

    def _resize(self, size: int) -> None:
        with self._lock:
            if size % 512:
                raise OSError(errno.EINVAL, "the size of a qcow2 image is a multiple of 512")
            if size < self.size:
                raise OSError(errno.EOPNOTSUPP, "a qcow2 image cannot be made smaller")
            old_size, old_table = self.size, (self.header.l1_offset, self.header.l1_size * 8)
            entries = -(-size // self._reach)
            self._commit()
            if entries > self.header.l1_size:
                self._mapping.grow(entries)
            self.header.size = size
            # A backing that is longer must not show in the new part.
            if self.backing is not None and self.backing.size > old_size:
                self._write_zeroes(old_size, min(size, self.backing.size) - old_size, unmap=True)
            self._commit()
            self.lower.pwrite(self.header.pack(), 0)
            self.lower.flush()
            if self.header.l1_offset != old_table[0]:
                self.refcounts.release(*old_table)
                self._commit()
        self._resized()

    def _refresh(self) -> None:
        self.lower.refresh()

    def _trim(self) -> None:
        """Cut the container off behind the last cluster in use, where it can be."""
        end = self.refcounts.end
        if self.lower.can_resize and 0 < end < self.lower.size:
            with suppress(OSError):  # an image inside an image cannot be made smaller
                self.lower.resize(end)

    def _close(self) -> None:
        try:
            if not self.read_only:
                with self._lock:
                    self._commit()
                    self._commit()  # the counts that went down
                    self._trim()
        finally:
            try:
                self.lower.close()
            finally:
                if self.backing is not None:
                    self.backing.close()
