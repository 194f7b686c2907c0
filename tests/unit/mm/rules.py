"""What the tests of PV memory share: entry bits, commands, errnos, and a domain in which tables are quickly made."""

from xenia.testing.pv_domain import FIRST_FREE, PvDomain

PRESENT, WRITABLE, USER, PWT, PCD, ACCESSED, DIRTY, PSE, GLOBAL = (1 << n for n in range(9))
NX = 1 << 63
READ_ONLY = PRESENT | ACCESSED | DIRTY
KERNEL = READ_ONLY | WRITABLE
TABLE = KERNEL | USER

PRESERVE_AD, NO_TRANSLATE, MACHPHYS = 2, 3, 1
PIN_L1, PIN_L2, PIN_L3, PIN_L4, UNPIN, NEW_BASEPTR, FLUSH_LOCAL, INVLPG_LOCAL, FLUSH_MULTI, INVLPG_MULTI = range(10)
FLUSH_ALL, INVLPG_ALL, FLUSH_CACHE, SET_LDT = range(10, 14)
NEW_USER_BASEPTR, CLEAR_PAGE, COPY_PAGE, FLUSH_CACHE_GLOBAL, MARK_SUPER, UNMARK_SUPER = range(15, 21)
INVLPG = 2      # UVMF_INVLPG
TLB_FLUSH = 1   # UVMF_TLB_FLUSH

EPERM, ESRCH, EACCES, EFAULT, EBUSY, EINVAL, ENOSYS, EOPNOTSUPP = -1, -3, -13, -14, -16, -22, -38, -95
TYPE_L1, TYPE_L2, TYPE_L3, TYPE_L4, TYPE_SEG_DESC, TYPE_SHARED, TYPE_WRITABLE = range(1, 8)

NO_FRAME = 0x123456789
SCRATCH = FIRST_FREE            # pfn whose mapping tests change


class Kernel(PvDomain):
    """A domain with a supply of unused pages."""

    next_pfn = SCRATCH + 1

    def page(self) -> int:
        """The pfn of an unused page, mapped writable."""
        self.next_pfn += 1
        return self.next_pfn - 1

    def table(self, *entries: tuple[int, int], protect: bool = True) -> int:
        """The mfn of an unused page with these (index, value) entries, mapped read-only so that it may become a table."""
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
        assert self.op(PIN_L1 + level - 1, mfn) == 0
        return mfn


def refused(domain: PvDomain, before: bytes) -> bool:
    """Nothing changed since the snapshot, and the frame table is right."""
    return domain.snapshot() == before and domain.audit() == []
