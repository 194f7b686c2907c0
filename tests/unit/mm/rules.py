"""What the tests of PV memory share: entry bits, commands, errnos, and a domain in which tables are quickly made."""

from enum import IntEnum

from xenia.testing.pv_domain import FIRST_FREE, PvDomain

NO_FRAME = 0x123456789
SCRATCH = FIRST_FREE  # the pfn whose mapping tests change


class Pte:
    """Bits of an entry, and what kernels make of them."""

    PRESENT, WRITABLE, USER, PWT, PCD, ACCESSED, DIRTY, PSE, GLOBAL = (1 << n for n in range(9))
    NX = 1 << 63
    READ_ONLY = PRESENT | ACCESSED | DIRTY
    KERNEL = READ_ONLY | WRITABLE
    TABLE = KERNEL | USER


class Mmu(IntEnum):
    """MMU_* commands of mmu_update."""

    MACHPHYS = 1
    PRESERVE_AD = 2
    NO_TRANSLATE = 3


class Uvmf(IntEnum):
    """UVMF_* of update_va_mapping."""

    TLB_FLUSH = 1
    INVLPG = 2


class Op(IntEnum):
    """MMUEXT_*."""

    PIN_L1 = 0
    PIN_L2 = 1
    PIN_L3 = 2
    PIN_L4 = 3
    UNPIN = 4
    NEW_BASEPTR = 5
    FLUSH_LOCAL = 6
    INVLPG_LOCAL = 7
    FLUSH_MULTI = 8
    INVLPG_MULTI = 9
    FLUSH_ALL = 10
    INVLPG_ALL = 11
    FLUSH_CACHE = 12
    SET_LDT = 13
    NEW_USER_BASEPTR = 15
    CLEAR_PAGE = 16
    COPY_PAGE = 17
    FLUSH_CACHE_GLOBAL = 18
    MARK_SUPER = 19
    UNMARK_SUPER = 20


class Errno(IntEnum):
    """XEN_E* of public/errno.h, negated as guests get them."""

    EPERM = -1
    ESRCH = -3
    EACCES = -13
    EFAULT = -14
    EBUSY = -16
    EINVAL = -22
    ENOSYS = -38
    EOPNOTSUPP = -95


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
