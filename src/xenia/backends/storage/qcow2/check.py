"""Whether a qcow2 image's reference counts are what its tables say, and putting them right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from xenia.backends.storage.aligned import fine
from xenia.backends.storage.layer import Layer
from xenia.backends.storage.qcow2.compression import COMPRESSED, Codec
from xenia.backends.storage.qcow2.header import CORRUPT, DIRTY, MAX_L1_BYTES, Header
from xenia.backends.storage.qcow2.mapping import COPIED, OFFSET
from xenia.backends.storage.qcow2.refcounts import Refcounts
from xenia.backends.storage.qcow2.snapshots import read_snapshots
from xenia.backends.storage.qcow2.table import big_endian, load

MOST_LINES = 20


@dataclass
class Report:
    """What a check found.  `leaks` cost space, nothing else."""

    errors: list[str] = field(default_factory=list)
    error_count: int = 0
    leaks: int = 0  # clusters counted as used more often than they are
    used: int = 0  # clusters
    data: int = 0  # clusters of the active state that are stored, compressed ones included
    compressed: int = 0
    repaired: bool = False

    @property
    def sound(self) -> bool:
        """Whether all data can be trusted."""
        return not self.error_count

    def error(self, text: str) -> None:
        """Count an error, and keep the first few."""
        self.error_count += 1
        if len(self.errors) < MOST_LINES:
            self.errors.append(text)


class Checker:
    """Counts an image's references afresh."""

    def __init__(self, container: Layer, header: Header, progress: Callable[[int, int], None]) -> None:
        self._container = container
        self._header = header
        self._size = header.cluster_size
        self._codec = Codec(header.compression, header.cluster_bits)
        self._refcounts = Refcounts(container, header)
        self._progress = progress
        self.report = Report()
        self._found: dict[int, int] = {}  # references by cluster

    def check(self, repair: bool) -> Report:
        """Compare, and with `repair` write the right counts."""
        header, report = self._header, self.report
        self._mark(0, self._size, "the header")
        self._mark(*self._table_bytes(), "the refcount table")
        for offset in self._refcounts.block_offsets():
            if offset:
                self._mark(offset, self._size, "a refcount block")
        tables = [(header.l1_offset, header.l1_size, True)]
        try:
            snapshots, length = read_snapshots(self._container, header)
        except OSError as error:
            report.error(str(error.strerror))
            snapshots, length = [], 0
        if length:
            self._mark(header.snapshots_offset, length, "the snapshot table")
        tables += [(one.l1_offset, one.l1_size, False) for one in snapshots]
        for index, (offset, entries, active) in enumerate(tables):
            self._count_l1(offset, entries, active, index, len(tables))
        report.used = len(self._found)
        wrong = self._compare()
        if report.error_count == 0 or repair:
            self._check_copied(repair)
        if repair and (wrong or header.incompatible & (DIRTY | CORRUPT)):
            self._repair(wrong)
        return report

    def _table_bytes(self) -> tuple[int, int]:
        offset, clusters = self._refcounts.table_extent()
        return offset, clusters * self._size

    def _mark(self, offset: int, length: int, what: str) -> bool:
        if offset % self._size and not what.startswith("a compressed"):
            self.report.error(f"{what} is not at the beginning of a cluster ({offset:#x})")
            return False
        if offset >= self._container.size:
            self.report.error(f"{what} is outside the file ({offset:#x})")
            return False
        for cluster in range(offset // self._size, (offset + length - 1) // self._size + 1):
            self._found[cluster] = self._found.get(cluster, 0) + 1
        return True

    def _count_l1(self, offset: int, entries: int, active: bool, index: int, tables: int) -> None:
        if not entries:
            return
        if entries * 8 > MAX_L1_BYTES or not self._mark(offset, entries * 8, "an L1 table"):
            return
        for number, entry in enumerate(load(self._container, offset, entries * 8)):
            if entry & OFFSET and self._mark(entry & OFFSET, self._size, "an L2 table"):
                self._count_l2(entry & OFFSET, active)
            if number % 64 == 63:
                self._progress(index * entries + number, tables * entries)

    def _count_l2(self, offset: int, active: bool) -> None:
        for entry in load(self._container, offset, self._size):
            if not entry:
                continue
            if entry & COMPRESSED:
                self._mark(*self._codec.extent(entry), "a compressed cluster")
                self.report.compressed += active
                self.report.data += active
            elif entry & OFFSET:
                self._mark(entry & OFFSET, self._size, "a data cluster")
                self.report.data += active

    def _compare(self) -> dict[int, int]:
        """The clusters whose counts are wrong, with the right ones."""
        wrong: dict[int, int] = {}
        counted = set(self._found)
        entries = self._refcounts.block_entries
        for number, offset in enumerate(self._refcounts.block_offsets()):
            if offset and not offset % self._size and offset < self._container.size:
                first = number * entries
                counted.update(cluster for cluster in range(first, first + entries) if self._refcounts.get(cluster))
        for cluster in sorted(counted):
            expected = self._found.get(cluster, 0)
            try:
                count = self._refcounts.get(cluster)
            except OSError:
                count = 0
            if count > expected:
                self.report.leaks += 1
            elif count < expected:
                self.report.error(f"cluster {cluster} is used {expected} times, and counted {count} times")
            if count != expected:
                wrong[cluster] = expected
        return wrong

    def _check_copied(self, repair: bool) -> None:
        """The flags of the active tables that allow writing in place."""
        header = self._header
        l1 = load(self._container, header.l1_offset, header.l1_size * 8)
        changed = False
        for number, entry in enumerate(l1):
            offset = entry & OFFSET
            if not offset or offset % self._size or offset >= self._container.size:
                continue
            right = self._flagged(entry, offset)
            if right != entry:
                self.report.error(f"L1 entry {number} says wrongly who may write to its L2 table")
                l1[number], changed = right, True
            self._check_copied_l2(offset, repair)
        if changed and repair:
            self._container.pwrite(big_endian(l1), header.l1_offset)

    def _check_copied_l2(self, offset: int, repair: bool) -> None:
        l2 = load(self._container, offset, self._size)
        changed = False
        for index, entry in enumerate(l2):
            if entry & COMPRESSED or not entry & OFFSET:
                continue
            right = self._flagged(entry, entry & OFFSET)
            if right != entry:
                self.report.error(f"L2 entry {index} at {offset:#x} says wrongly who may write to its cluster")
                l2[index], changed = right, True
        if changed and repair:
            self._container.pwrite(big_endian(l2), offset)

    def _flagged(self, entry: int, offset: int) -> int:
        alone = self._found.get(offset // self._size, 0) == 1
        return entry | COPIED if alone else entry & ~COPIED

    def _repair(self, wrong: dict[int, int]) -> None:
        if not all(self._refcounts.counts(cluster) for cluster in wrong):
            return  # a whole block of counts is lost: there is no place for them that is known to be free
        for cluster, count in wrong.items():
            self._refcounts.set(cluster, min(count, self._refcounts.maximum))
        self._refcounts.write()
        self._container.flush()
        self._header.incompatible &= ~(DIRTY | CORRUPT)
        self._container.pwrite(self._header.pack(), 0)
        self._container.flush()
        self.report.repaired = True


def check_image(
    container: Layer, header: Header, repair: bool = False, progress: Callable[[int, int], None] = lambda *_: None
) -> Report:
    """Check an image that nobody has open otherwise."""
    return Checker(fine(container), header, progress).check(repair)
