"""Whether a qcow2 image's reference counts are what its tables say, and putting them right.

An image may be made to do harm: what a check costs is bounded by what the file really stores. Each table is looked at
once, however often it is named, and a sound image's tables name no more than eight bytes each can.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from xenia.storage.aligned import fine
from xenia.storage.layer import Layer
from xenia.storage.qcow2.compression import COMPRESSED, Codec
from xenia.storage.qcow2.header import CORRUPT, DIRTY, MAX_L1_BYTES, Header
from xenia.storage.qcow2.mapping import COPIED, OFFSET
from xenia.storage.qcow2.refcounts import Refcounts
from xenia.storage.qcow2.snapshots import read_snapshots
from xenia.storage.qcow2.table import big_endian, load

MOST_LINES = 20
MOST_LOADED, LEAST_LOADED = 8, 64 << 20  # bytes of tables: so many for each that is stored, and so many in any case
MOST_NAMED, LEAST_NAMED = 6, 1 << 18  # clusters: one for so many bytes that are stored, and so many in any case


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


class TooMuch(OSError):
    """The image's tables name more than a sound one's can."""

    def __init__(self) -> None:
        super().__init__(errno.EFBIG, "the tables name far more than a file with so few bytes can hold")


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
        self._lost = False  # whether something is beyond repair
        self._found: dict[int, int] = {}  # references by cluster
        self._blocks: dict[int, int] = {}  # which blocks of counts there are, by their offsets
        self._l2: dict[int, int] = {}  # references from L1 tables by L2 table
        self._active: set[int] = set()  # the L2 tables of the active state
        stored = sum(extent.length for extent in container.extents(0, container.size) if not extent.hole)
        self._loads = LEAST_LOADED + stored * MOST_LOADED
        self._names = LEAST_NAMED + stored // MOST_NAMED

    def check(self, repair: bool) -> Report:
        """Compare, and with `repair` write the right counts."""
        try:
            self._count()
            self.report.used = len(self._found)
            wrong = self._compare()
            if not self.report.error_count or repair:
                self._check_copied(repair)
        except TooMuch as error:
            self.report.error(str(error.strerror))
            return self.report
        if repair and not self._lost and (wrong or self._header.incompatible & (DIRTY | CORRUPT)):
            self._repair(wrong)
        return self.report

    def _count(self) -> None:
        header, report = self._header, self.report
        self._mark(0, self._size, "the header")
        offset, clusters = self._refcounts.table_extent()
        self._mark(offset, clusters * self._size, "the refcount table")
        for number, offset in enumerate(self._refcounts.block_offsets()):
            if offset in self._blocks:
                report.error(f"the refcount table names a block twice ({offset:#x})")
                self._lost = True
                break
            if offset and self._mark(offset, self._size, "a refcount block"):
                self._blocks[offset] = number
        tables = [(header.l1_offset, header.l1_size, True)]
        try:
            snapshots, length = read_snapshots(self._container, header)
        except OSError as error:
            report.error(str(error.strerror))
            snapshots, length = [], 0
        if length:
            self._mark(header.snapshots_offset, length, "the snapshot table")
        tables += [(one.l1_offset, one.l1_size, False) for one in snapshots]
        for offset, entries, active in tables:
            self._count_l1(offset, entries, active)
        for number, offset in enumerate(self._l2):
            self._count_l2(offset)
            if number % 64 == 63:
                self._progress(number, len(self._l2))

    def _spend(self, length: int) -> None:
        self._loads -= length
        if self._loads < 0:
            raise TooMuch

    def _load(self, offset: int, length: int) -> array[int]:
        self._spend(length)
        return load(self._container, offset, length)

    def _mark(self, offset: int, length: int, what: str, references: int = 1) -> bool:
        if offset % self._size and not what.startswith("a compressed"):
            self.report.error(f"{what} is not at the beginning of a cluster ({offset:#x})")
            return False
        if offset >= self._container.size:
            self.report.error(f"{what} is outside the file ({offset:#x})")
            return False
        clusters = range(offset // self._size, (offset + length - 1) // self._size + 1)
        self._names -= len(clusters)
        if self._names < 0:
            raise TooMuch
        for cluster in clusters:
            self._found[cluster] = self._found.get(cluster, 0) + references
        return True

    def _count_l1(self, offset: int, entries: int, active: bool) -> None:
        if not entries:
            return
        if entries * 8 > MAX_L1_BYTES or not self._mark(offset, entries * 8, "an L1 table"):
            return
        own: set[int] = set()
        for entry in self._load(offset, entries * 8):
            place = entry & OFFSET
            if not place:
                continue
            if place in own:
                self.report.error(f"an L1 table names an L2 table twice ({place:#x})")
                self._lost = True
                break
            if self._mark(place, self._size, "an L2 table"):
                own.add(place)
                self._l2[place] = self._l2.get(place, 0) + 1
        if active:
            self._active = own

    def _count_l2(self, offset: int) -> None:
        references, active = self._l2[offset], offset in self._active
        for entry in self._load(offset, self._size):
            if not entry:
                continue
            if entry & COMPRESSED:
                self._mark(*self._codec.extent(entry), "a compressed cluster", references)
                self.report.compressed += active
                self.report.data += active
            elif entry & OFFSET:
                self._mark(entry & OFFSET, self._size, "a data cluster", references)
                self.report.data += active

    def _compare(self) -> dict[int, dict[int, int]]:
        """The right counts of the blocks in which some are wrong."""
        wrong: dict[int, dict[int, int]] = {}
        entries = self._refcounts.block_entries
        used: dict[int, dict[int, int]] = {}
        for cluster in sorted(self._found):
            used.setdefault(cluster // entries, {})[cluster] = self._found[cluster]
        for number in self._blocks.values():
            expected = used.pop(number, {})
            if not self._is_right(number, expected):
                wrong[number] = expected
        for clusters in used.values():
            for cluster, count in clusters.items():
                self._complain(cluster, count, 0)
        self._lost |= bool(used)  # there is no place for those counts that is known to be free
        return wrong

    def _is_right(self, number: int, expected: dict[int, int]) -> bool:
        self._spend(self._size)
        leaks = self._refcounts.in_use(number)
        differs = False
        for cluster, references in expected.items():
            count = self._refcounts.get(cluster)
            leaks -= 0 < count <= references
            differs |= count != references
            if count < references:
                self._complain(cluster, references, count)
        self.report.leaks += leaks
        return not differs and not leaks

    def _complain(self, cluster: int, expected: int, count: int) -> None:
        self.report.error(f"cluster {cluster} is used {expected} times, and counted {count} times")

    def _check_copied(self, repair: bool) -> None:
        """The flags of the active tables that allow writing in place."""
        header = self._header
        l1 = self._load(header.l1_offset, header.l1_size * 8)
        changed = False
        for number, entry in enumerate(l1):
            offset = entry & OFFSET
            if offset not in self._active:
                continue
            self._active.remove(offset)
            right = self._flagged(entry, offset)
            if right != entry:
                self.report.error(f"L1 entry {number} says wrongly who may write to its L2 table")
                l1[number], changed = right, True
            self._check_copied_l2(offset, repair)
        if changed and repair:
            self._container.pwrite(big_endian(l1), header.l1_offset)

    def _check_copied_l2(self, offset: int, repair: bool) -> None:
        l2 = self._load(offset, self._size)
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

    def _repair(self, wrong: dict[int, dict[int, int]]) -> None:
        for number, counts in wrong.items():
            self._refcounts.rewrite(number, counts)
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
