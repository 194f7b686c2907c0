"""The start of day: what a PV guest finds in its memory and registers when its first instruction runs.

public/xen.h ("Start-of-day memory layout") says it: one virtual region, mapping the guest's first page frames one to
one, holds in this order

    kernel image | RAM disk | p2m list | start_info | xenstore ring | console ring | page tables | stack | padding

and ends on a 4 MB boundary with at least 512 KB of padding.  Two notes take things out of it: with MOD_START_PFN the
RAM disk needs no mapping and follows the region in pseudo-physical memory; with INIT_P2M the p2m list, and the page
tables that map it at the address asked for, follow after that.  Where the memory does not reach so far, these two go
below the kernel image instead (Linux leaves 16 MB free there), but above the first megabyte, where PCs have their ROMs.

The work is in two steps.  `plan` is arithmetic: where everything goes, or a ConfigError if the memory is too small.
`build` writes it into the domain's frames, which must read as zeros before.  Both know frames only as numbers: pfn n
is the machine frame frames[n], and frames may be scattered.

Page-table entries carry no _PAGE_USER here: the guest kernel runs at CPL 1, and nothing of it may be seen from CPL 3.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from xenia.abi.start_info import MAGIC, MAX_GUEST_CMDLINE, START_INFO
from xenia.abi.xen import FLAT_RING3_CS64, FLAT_RING3_SS, StartFlags
from xenia.domain.build.elf import ElfKernel
from xenia.domain.build.hypercall_page import hypercall_page
from xenia.domain.build.p2m import fill_m2p
from xenia.errors import ConfigError

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT
REGION_ALIGN: Final = 4 << 20
REGION_PADDING: Final = 512 << 10
EFLAGS_IF: Final = 1 << 9
INVALID_P2M_ENTRY: Final = (1 << 64) - 1

_PRESENT, _RW, _ACCESSED, _DIRTY = 1, 2, 32, 64
_TABLE = _PRESENT | _RW | _ACCESSED | _DIRTY
_LEAF = _PRESENT | _RW | _ACCESSED

_ADDRESS_MASK: Final = (1 << 48) - 1
_LOW_END: Final = 1 << 47  # the lower half of the address space ends here; above that nothing ...
_HOLE_END: Final = 0xFFFF_8800_0000_0000  # ... is the guest's, up to the end of the hypervisor's own range
_LOWEST_PFN: Final = 256
_PAGES_PER_MEGABYTE: Final = 256
_MOST_MEGABYTES: Final = 1 << 20
_ZERO_PAGE = bytes(PAGE_SIZE)


@dataclass(frozen=True)
class Extent:
    """`count` page frames from `pfn`, mapped from virtual address `va` (0 if not mapped)."""

    pfn: int
    count: int
    va: int

    @property
    def end(self) -> int:
        """The first pfn after it."""
        return self.pfn + self.count


@dataclass(frozen=True)
class Plan:
    """Where everything goes.

    region        all of the initial mapping
    tables        the page tables that map it, the top one first
    p2m           the p2m list, and behind it (included) ...
    p2m_tables    ... the further page tables that map a list at INIT_P2M
    """

    region: Extent
    kernel: Extent
    ramdisk: Extent
    p2m: Extent
    p2m_tables: Extent
    start_info: Extent
    store: Extent
    console: Extent
    tables: Extent
    stack: Extent
    nr_pages: int
    ramdisk_size: int


@dataclass(frozen=True)
class StartOfDay:
    """A built domain: its vcpu's first registers (all others are 0), and the frames that Xen needs to know.

    root_mfn      the L4 table (CR3)
    table_mfns    every page table of the initial mapping, the root first
    """

    rip: int
    rsp: int
    rsi: int
    cs: int
    ss: int
    rflags: int
    root_mfn: int
    table_mfns: tuple[int, ...]
    start_info_mfn: int
    store_mfn: int
    console_mfn: int
    plan: Plan


def plan(kernel: ElfKernel, ramdisk_size: int, nr_pages: int) -> Plan:
    """Lay out a domain of `nr_pages` page frames; ConfigError if they do not suffice."""
    base = kernel.virt_base
    nr_p2m = _pages(nr_pages * 8)
    nr_ramdisk = _pages(ramdisk_size)
    next_pfn = 0

    def take(count: int) -> Extent:
        nonlocal next_pfn
        extent = Extent(next_pfn, count, base + (next_pfn << PAGE_SHIFT))
        next_pfn += count
        return extent

    image_start = kernel.start - base >> PAGE_SHIFT
    take(image_start)
    image = take(_pages(kernel.end - base) - image_start)
    ramdisk_inside = not kernel.notes.mod_start_pfn
    p2m_inside = kernel.notes.init_p2m is None
    ramdisk = take(nr_ramdisk) if ramdisk_inside else Extent(0, 0, 0)
    p2m = take(nr_p2m) if p2m_inside else Extent(0, 0, 0)
    start_info, store, console = take(1), take(1), take(1)

    # The region maps its own page tables, so their number is what makes this come out even.
    first_table, nr_tables = next_pfn, 0
    while True:
        last = first_table + nr_tables + 1  # the stack's page is the last before the padding
        nr_region = -(-((last << PAGE_SHIFT) + REGION_PADDING) // REGION_ALIGN) * REGION_ALIGN >> PAGE_SHIFT
        needed = len(_tables_of(base, nr_region))
        if needed <= nr_tables:
            break
        nr_tables = needed
    tables, stack = take(nr_tables), take(1)
    region = Extent(0, nr_region, base)
    next_pfn = nr_region
    _check_addresses(base, nr_region, "the initial mapping")

    hole = _LOWEST_PFN

    def place(count: int) -> int:
        """The first pfn for something outside of the region."""
        nonlocal next_pfn, hole
        if next_pfn + count > nr_pages and hole + count <= image_start:
            hole += count
            return hole - count
        next_pfn += count
        return next_pfn - count

    if not ramdisk_inside:
        ramdisk = Extent(place(nr_ramdisk), nr_ramdisk, 0)
    p2m_tables = Extent(0, 0, 0)
    if kernel.notes.init_p2m is not None:
        va = kernel.notes.init_p2m
        _check_addresses(va, nr_p2m, "the p2m list")
        if va < base + (nr_region << PAGE_SHIFT) and base < va + (nr_p2m << PAGE_SHIFT):
            raise ConfigError(f"the kernel wants its p2m list at {va:#x}, inside its initial mapping from {base:#x}")
        further = _tables_of(va, nr_p2m) - _tables_of(base, nr_region)
        p2m = Extent(place(nr_p2m + len(further)), nr_p2m + len(further), va)
        p2m_tables = Extent(p2m.pfn + nr_p2m, len(further), 0)
    if next_pfn > nr_pages:
        needed, given = _megabytes(next_pfn), _megabytes(nr_pages)
        raise ConfigError(f"the kernel and initrd need {needed} MB of memory to start; the domain has {given} MB")
    return Plan(
        region, image, ramdisk, p2m, p2m_tables, start_info, store, console, tables, stack, nr_pages, ramdisk_size
    )


def smallest_memory(kernel: ElfKernel, ramdisk_size: int) -> int:
    """The least number of page frames, in whole megabytes, that a domain needs to start this kernel."""

    def fits(megabytes: int) -> bool:
        try:
            plan(kernel, ramdisk_size, megabytes * _PAGES_PER_MEGABYTE)
        except ConfigError:
            return False
        return True

    return bisect_left(range(_MOST_MEGABYTES), True, key=fits) * _PAGES_PER_MEGABYTE


def build(
    kernel: ElfKernel,
    where: Plan,
    frames: array[int],
    memory: memoryview,
    m2p: memoryview,
    *,
    ramdisk: bytes | memoryview,
    command_line: str,
    shared_info_maddr: int,
    store_port: int,
    console_port: int,
) -> StartOfDay:
    """Write a planned domain into its frames.

    frames      array('Q'): frames[pfn] is a machine frame number; exactly plan.nr_pages of them, reading as zeros
    memory      all of machine memory, writable bytes
    m2p         the M2P, writable: its entries for these frames are set
    Ports are event channels of the new domain.  ConfigError if the command line is too long.
    """
    if len(frames) != where.nr_pages or len(ramdisk) != where.ramdisk_size:
        raise ValueError("the plan was made for another domain")
    words = command_line.encode("utf-8", "surrogateescape")
    if len(words) >= MAX_GUEST_CMDLINE:
        raise ConfigError(f"the kernel command line is {len(words)} bytes long; at most {MAX_GUEST_CMDLINE - 1} fit")
    domain = _Frames(frames, memory)
    for segment in kernel.segments:
        domain.write(segment.offset, segment.data)
    if kernel.hypercall_page is not None:
        domain.write(kernel.hypercall_page - kernel.virt_base, hypercall_page())
    domain.write(where.ramdisk.pfn << PAGE_SHIFT, ramdisk)
    _write_p2m(domain, where, frames)
    fill_m2p(m2p, frames)
    _write_tables(domain, kernel, where)

    flags = StartFlags.VIRT_P2M_4TOOLS
    mod_start = 0
    if where.ramdisk_size:
        mod_start = where.ramdisk.va
        if kernel.notes.mod_start_pfn:
            flags |= StartFlags.MOD_START_PFN
            mod_start = where.ramdisk.pfn
    outside = kernel.notes.init_p2m is not None
    start_info = START_INFO.pack(
        MAGIC,
        where.nr_pages,
        shared_info_maddr,
        flags,
        frames[where.store.pfn],
        store_port,
        frames[where.console.pfn],
        console_port,
        where.tables.va,
        where.tables.count,
        where.p2m.va,
        mod_start,
        where.ramdisk_size,
        words,
        where.p2m.pfn if outside else 0,
        where.p2m.count if outside else 0,
    )
    domain.write(where.start_info.pfn << PAGE_SHIFT, start_info)
    tables = [*range(where.tables.pfn, where.tables.end), *range(where.p2m_tables.pfn, where.p2m_tables.end)]
    return StartOfDay(
        rip=kernel.entry,
        rsp=where.stack.va + PAGE_SIZE,
        rsi=where.start_info.va,
        cs=FLAT_RING3_CS64,
        ss=FLAT_RING3_SS,
        rflags=EFLAGS_IF,
        root_mfn=frames[where.tables.pfn],
        table_mfns=tuple(frames[pfn] for pfn in tables),
        start_info_mfn=frames[where.start_info.pfn],
        store_mfn=frames[where.store.pfn],
        console_mfn=frames[where.console.pfn],
        plan=where,
    )


class _Frames:
    """The domain's pseudo-physical memory as one stretch of bytes."""

    def __init__(self, frames: array[int], memory: memoryview) -> None:
        self._frames = frames
        self._memory = memory

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Write at a pseudo-physical address.  Pages of zeros are left alone: they are zero, and stay untouched."""
        for position, pfn, offset, length in self._pieces(address, len(data)):
            piece = data[position : position + length]
            if bytes(piece) != _ZERO_PAGE[:length]:
                start = (self._frames[pfn] << PAGE_SHIFT) + offset
                self._memory[start : start + length] = piece

    def table(self, pfn: int) -> memoryview:
        """A frame as 512 entries."""
        start = self._frames[pfn] << PAGE_SHIFT
        return self._memory[start : start + PAGE_SIZE].cast("Q")

    def maddr(self, pfn: int) -> int:
        """Machine address of a page frame."""
        return self._frames[pfn] << PAGE_SHIFT

    @staticmethod
    def _pieces(address: int, length: int) -> Iterator[tuple[int, int, int, int]]:
        """Cut a range at page boundaries: (position in the data, pfn, offset in the page, length)."""
        position = 0
        while position < length:
            pfn, offset = divmod(address + position, PAGE_SIZE)
            piece = min(PAGE_SIZE - offset, length - position)
            yield position, pfn, offset, piece
            position += piece


def _write_p2m(domain: _Frames, where: Plan, frames: array[int]) -> None:
    domain.write(where.p2m.pfn << PAGE_SHIFT, memoryview(frames).cast("B"))
    rest = -len(frames) % 512
    if rest:
        invalid = array("Q", [INVALID_P2M_ENTRY]) * rest
        domain.write((where.p2m.pfn << PAGE_SHIFT) + len(frames) * 8, memoryview(invalid).cast("B"))


def _write_tables(domain: _Frames, kernel: ElfKernel, where: Plan) -> None:
    """Map the region, and a p2m list outside of it; the page tables themselves are mapped read-only."""
    tables: dict[tuple[int, int], int] = {}
    _add_tables(domain, tables, _tables_of(where.region.va, where.region.count), where.tables)
    _map(domain, tables, where.region, where.tables, where.p2m_tables)
    if kernel.notes.init_p2m is not None:
        mapped = Extent(where.p2m.pfn, where.p2m.count - where.p2m_tables.count, where.p2m.va)
        _add_tables(domain, tables, _tables_of(mapped.va, mapped.count) - tables.keys(), where.p2m_tables)
        _map(domain, tables, mapped)


def _tables_of(va: int, nr_pages: int) -> set[tuple[int, int]]:
    """The page tables that map a range, each as (level, the address bits that select it)."""
    last = va + (nr_pages << PAGE_SHIFT) - 1
    tables = {(level, key) for level in (1, 2, 3) for key in range(_key(va, level), _key(last, level) + 1)}
    return tables | {(4, 0)}


def _key(va: int, level: int) -> int:
    """The bits of an address that select the table of a level: all above those which the table itself resolves."""
    return (va & _ADDRESS_MASK) >> PAGE_SHIFT + 9 * level


def _add_tables(
    domain: _Frames, tables: dict[tuple[int, int], int], wanted: set[tuple[int, int]], extent: Extent
) -> None:
    """Give each wanted table a page frame of the extent, upper levels first, and enter it in the table above it."""
    in_order = sorted(wanted, key=lambda table: (-table[0], table[1]))
    for (level, key), pfn in zip(in_order, range(extent.pfn, extent.end), strict=True):
        tables[level, key] = pfn
        if level < 4:
            above = domain.table(tables[level + 1, key >> 9])
            above[key & 511] = domain.maddr(pfn) | _TABLE


def _map(domain: _Frames, tables: dict[tuple[int, int], int], extent: Extent, *read_only: Extent) -> None:
    """Enter an extent in its L1 tables, all of it writable but for the frames in the extents of `read_only`."""
    page, last = extent.va >> PAGE_SHIFT, (extent.va >> PAGE_SHIFT) + extent.count
    while page < last:
        end = min(last, (page | 511) + 1)
        pfn = extent.pfn + page - (extent.va >> PAGE_SHIFT)
        entries = array("Q", [domain.maddr(pfn + i) | _LEAF for i in range(end - page)])
        for protected in read_only:
            for index in range(max(protected.pfn - pfn, 0), min(protected.end - pfn, len(entries))):
                entries[index] &= ~_RW
        first = page & 511
        domain.table(tables[1, _key(page << PAGE_SHIFT, 1)])[first : first + len(entries)] = memoryview(entries)
        page = end


def _check_addresses(va: int, nr_pages: int, what: str) -> None:
    end = va + (nr_pages << PAGE_SHIFT)
    if end > 1 << 64 or (va < _HOLE_END and end > _LOW_END):
        raise ConfigError(f"the kernel wants {what} at {va:#x} to {end:#x}, which no PV guest can have")


def _pages(size: int) -> int:
    return -(-size // PAGE_SIZE)


def _megabytes(nr_pages: int) -> int:
    return -(-(nr_pages << PAGE_SHIFT) // (1 << 20))
