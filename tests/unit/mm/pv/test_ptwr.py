"""Stores to page tables, carried out for the guest (tests/guests/answers/ptwr.txt)."""

import pytest

from tests.unit.mm.rules import NO_FRAME, SCRATCH, Kernel, Pte, refused
from xenia.abi.errno import Errno
from xenia.testing.pv_domain import BASE, L1, L2, L3, L4

ENTRY = BASE + 4096 * L1 + 8 * SCRATCH  # where the guest sees the entry that maps pfn SCRATCH
NOT_OURS = 1


@pytest.fixture
def domain() -> Kernel:
    return Kernel(24)


def entry(domain: Kernel) -> int:
    return domain.word(domain.frames[L1], SCRATCH)


def test_a_store_to_an_l1_is_an_update_of_its_entry(domain: Kernel) -> None:
    old, new = entry(domain), domain.frames[9] << 12 | Pte.KERNEL
    domain.processor.forget()
    assert domain.store(ENTRY, new) == 0
    assert entry(domain) == new
    assert domain.processor.notes == [("pte_changed", domain.frames[L1], SCRATCH, old, new)]
    assert domain.nr_ptwr == 1
    assert domain.audit() == []


def test_a_smaller_store_changes_its_part_of_the_entry(domain: Kernel) -> None:
    mfn = domain.frames[SCRATCH]
    assert domain.store(ENTRY, 0x61, 1) == 0
    assert entry(domain) == mfn << 12 | 0x61
    assert domain.store(ENTRY, (mfn << 12 | Pte.KERNEL) & 0xFFFF, 2) == 0
    assert entry(domain) == mfn << 12 | Pte.KERNEL
    assert domain.store(ENTRY + 4, 0x8000_0000, 4) == 0
    assert entry(domain) == 1 << 63 | mfn << 12 | Pte.KERNEL
    assert domain.store(ENTRY + 7, 0, 1) == 0
    assert entry(domain) == mfn << 12 | Pte.KERNEL
    assert domain.audit() == []


@pytest.mark.parametrize(("offset", "size"), [(4, 8), (1, 2), (2, 4), (7, 8), (3, 2)])
def test_stores_that_are_not_aligned_are_not_carried_out(domain: Kernel, offset: int, size: int) -> None:
    before = domain.snapshot()
    assert domain.store(ENTRY + offset, 0, size) == NOT_OURS
    assert refused(domain, before)


@pytest.mark.parametrize(
    ("target", "errno"),
    [("the L4 writable", -Errno.EBUSY), ("itself writable", -Errno.EBUSY), ("no frame", -Errno.EPERM)],
)
def test_a_forbidden_value_is_refused(domain: Kernel, target: str, errno: int) -> None:
    mfn = {"the L4 writable": domain.frames[L4], "itself writable": domain.frames[L1], "no frame": NO_FRAME}[target]
    before = domain.snapshot()
    assert domain.store(ENTRY, mfn << 12 | Pte.KERNEL) == errno
    assert refused(domain, before)
    assert domain.nr_ptwr == 0


def test_half_an_entry_must_make_a_whole_one_that_is_allowed(domain: Kernel) -> None:
    before = domain.snapshot()
    assert (
        domain.store(ENTRY + 4, 0x7FF, 4) == -Errno.EPERM
    )  # a present entry, and suddenly of a frame that does not exist
    assert refused(domain, before)
    assert domain.store(ENTRY, 0, 4) == 0
    assert domain.store(ENTRY + 4, 0x7FF, 4) == 0  # not present: anything goes
    assert domain.audit() == []


@pytest.mark.parametrize("pfn", [L2, L3, L4])
def test_tables_of_higher_levels_are_not_written_through(domain: Kernel, pfn: int) -> None:
    before = domain.snapshot()
    assert domain.store(BASE + 4096 * pfn + 8 * 100, 0) == NOT_OURS
    assert refused(domain, before)


def test_without_the_assist_no_store_is_carried_out(domain: Kernel) -> None:
    domain.writable_pagetables(False)
    before = domain.snapshot()
    assert domain.store(ENTRY, 0) == NOT_OURS
    assert refused(domain, before)


def test_read_only_memory_that_is_no_page_table_stays_read_only(domain: Kernel) -> None:
    domain.protect(9)
    before = domain.snapshot()
    assert domain.store(BASE + 4096 * 9, 0) == NOT_OURS
    assert domain.store(0x1000, 0) == NOT_OURS
    assert domain.store(0xFFFF800000000000, 0) == NOT_OURS  # nor the M2P, nor the GDT
    assert domain.store(0xFFFF820000000000, 0) == NOT_OURS
    assert refused(domain, before)


def test_a_table_seen_through_a_linear_mapping_is_not_written_through(domain: Kernel) -> None:
    root = domain.frames[L4]
    assert domain.update(root, 300, root << 12 | Pte.PRESENT) == 0
    through = 0xFFFF << 48 | 300 << 39 | 272 << 30 | 0 << 21 | 0 << 12 | 8 * SCRATCH
    assert domain.touch(through) == domain.frames[L1] << 12 | 8 * SCRATCH
    before = domain.snapshot()
    assert domain.store(through, domain.frames[9] << 12 | Pte.KERNEL) == NOT_OURS
    assert refused(domain, before)


def test_a_table_that_is_no_longer_one_is_ordinary_memory_again(domain: Kernel) -> None:
    table = domain.pinned(1)
    va = BASE + 4096 * domain.pfn(table)
    assert domain.store(va, domain.frames[SCRATCH] << 12 | Pte.READ_ONLY) == 0
    assert domain.op(4, table) == 0
    assert domain.store(va, 0xFFFF_FFFF_FFFF_FFFF) == NOT_OURS
    assert domain.unprotect(domain.pfn(table)) == 0
    assert domain.store(va, Pte.PRESENT | Pte.WRITABLE) is None
    assert domain.audit() == []
