"""What the tests of PV memory share: entry bits, commands, errnos, and a domain in which tables are quickly made."""

from enum import IntEnum

from xenia.abi import xen
from xenia.machine import paging
from xenia.testing.pv_domain import FIRST_FREE, PvDomain

NO_FRAME = 0x123456789
SCRATCH = FIRST_FREE  # the pfn whose mapping tests change


class Pte:
    """Bits of an entry, and what kernels make of them."""

    PRESENT, WRITABLE, USER = paging.PAGE_PRESENT, paging.PAGE_RW, paging.PAGE_USER
    PWT, PCD, ACCESSED, DIRTY = paging.PAGE_PWT, paging.PAGE_PCD, paging.PAGE_ACCESSED, paging.PAGE_DIRTY
    PSE, GLOBAL, NX = paging.PAGE_PSE, paging.PAGE_GLOBAL, paging.PAGE_NX
    READ_ONLY = PRESENT | ACCESSED | DIRTY
    KERNEL = READ_ONLY | WRITABLE
    TABLE = KERNEL | USER


class Mmu(IntEnum):
    """MMU_* commands of mmu_update."""

    MACHPHYS = xen.MMU_MACHPHYS_UPDATE
    PRESERVE_AD = xen.MMU_PT_UPDATE_PRESERVE_AD
    NO_TRANSLATE = xen.MMU_PT_UPDATE_NO_TRANSLATE


class Uvmf(IntEnum):
    """UVMF_* of update_va_mapping."""

    TLB_FLUSH = xen.UVMF_TLB_FLUSH
    INVLPG = xen.UVMF_INVLPG


class Op(IntEnum):
    """MMUEXT_*."""

    PIN_L1 = xen.MMUEXT_PIN_L1_TABLE
    PIN_L2 = xen.MMUEXT_PIN_L2_TABLE
    PIN_L3 = xen.MMUEXT_PIN_L3_TABLE
    PIN_L4 = xen.MMUEXT_PIN_L4_TABLE
    UNPIN = xen.MMUEXT_UNPIN_TABLE
    NEW_BASEPTR = xen.MMUEXT_NEW_BASEPTR
    FLUSH_LOCAL = xen.MMUEXT_TLB_FLUSH_LOCAL
    INVLPG_LOCAL = xen.MMUEXT_INVLPG_LOCAL
    FLUSH_MULTI = xen.MMUEXT_TLB_FLUSH_MULTI
    INVLPG_MULTI = xen.MMUEXT_INVLPG_MULTI
    FLUSH_ALL = xen.MMUEXT_TLB_FLUSH_ALL
    INVLPG_ALL = xen.MMUEXT_INVLPG_ALL
    FLUSH_CACHE = xen.MMUEXT_FLUSH_CACHE
    SET_LDT = xen.MMUEXT_SET_LDT
    NEW_USER_BASEPTR = xen.MMUEXT_NEW_USER_BASEPTR
    CLEAR_PAGE = xen.MMUEXT_CLEAR_PAGE
    COPY_PAGE = xen.MMUEXT_COPY_PAGE
    FLUSH_CACHE_GLOBAL = xen.MMUEXT_FLUSH_CACHE_GLOBAL
    MARK_SUPER = xen.MMUEXT_MARK_SUPER
    UNMARK_SUPER = xen.MMUEXT_UNMARK_SUPER


class Type(IntEnum):
    """What a frame is."""

    NONE = 0
    L1 = 1
    L2 = 2
    L3 = 3
    L4 = 4
    SEG_DESC = 5
    SHARED = 6
    WRITABLE = 7


class Kernel(PvDomain):
    """A domain with a supply of unused pages."""

    next_pfn = SCRATCH + 1

    def page(self) -> int:
        """The pfn of an unused page, mapped writable."""
        self.next_pfn += 1
        return self.next_pfn - 1

    def table(self, *entries: tuple[int, int], protect: bool = True) -> int:
        """The mfn of an unused page with these (index, value) entries, read-only so that it may become a table."""
        pfn = self.page()
        for index, value in entries:
            self.poke(self.frames[pfn], index, value)
        if protect:
            assert self.protect(pfn) == 0
        return self.frames[pfn]

    def pfn(self, mfn: int) -> int:
        """Where the direct map has a frame."""
        return self.frames.index(mfn)

    def pinned(self, level: int, *entries: tuple[int, int]) -> int:
        """The mfn of a new pinned table."""
        mfn = self.table(*entries)
        assert self.op(Op.PIN_L1 + level - 1, mfn) == 0
        return mfn


def refused(domain: PvDomain, before: bytes) -> bool:
    """Nothing changed since the snapshot, and the frame table is right."""
    return domain.snapshot() == before and domain.audit() == []
