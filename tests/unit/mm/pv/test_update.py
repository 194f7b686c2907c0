"""mmu_update and update_va_mapping: what real Xen 4.17 was seen to answer (tests/guests/answers/mmu.txt)."""

import pytest

from tests.unit.mm.rules import NO_FRAME, SCRATCH, Kernel, Mmu, Pte, Uvmf, refused
from xenia.abi.errno import Errno
from xenia.abi.xen import DOMID_IO, DOMID_XEN
from xenia.testing.pv_domain import BASE, DOMID_SELF, L1, L2, L4

WINDOW = BASE + 4096 * SCRATCH


@pytest.fixture
def domain() -> Kernel:
    return Kernel(24)


def set_window(domain: Kernel, pte: int, command: int = 0) -> int:
    return domain.update(domain.frames[L1], SCRATCH, pte, command)


def window(domain: Kernel) -> int:
    return domain.word(domain.frames[L1], SCRATCH)


@pytest.mark.parametrize(
    "flags",
    [
        Pte.KERNEL,
        Pte.PRESENT,
        Pte.READ_ONLY,
        Pte.KERNEL | Pte.GLOBAL,
        Pte.KERNEL | Pte.USER,
        Pte.KERNEL | Pte.NX,
        Pte.KERNEL | 0xE00,
        Pte.KERNEL | 1 << 52,
        Pte.KERNEL | 0x3F << 53,
        Pte.KERNEL | 1 << 62,
    ],
)
def test_a_frame_of_its_own_may_be_mapped_with_these_bits(domain: Kernel, flags: int) -> None:
    pte = domain.frames[9] << 12 | flags
    assert set_window(domain, pte) == 0
    assert window(domain) == pte
    assert domain.audit() == []


@pytest.mark.parametrize(
    ("flags", "errno"),
    [
        (Pte.PSE, -Errno.EINVAL),
        (Pte.PCD, -Errno.EINVAL),
        (Pte.PWT, -Errno.EINVAL),
        (Pte.PCD | Pte.PWT, -Errno.EINVAL),
        (1 << 51, -Errno.EPERM),
    ],
)
def test_and_not_with_these(domain: Kernel, flags: int, errno: int) -> None:
    before = domain.snapshot()
    assert set_window(domain, domain.frames[9] << 12 | Pte.KERNEL | flags) == errno
    assert refused(domain, before)


def test_an_entry_that_is_not_present_may_be_anything(domain: Kernel) -> None:
    assert set_window(domain, 0xFFFFFFFFFFFFFFFE) == 0
    assert window(domain) == 0xFFFFFFFFFFFFFFFE
    assert domain.touch(WINDOW) is None
    assert domain.audit() == []


def test_preserve_ad_keeps_what_the_processor_has_set(domain: Kernel) -> None:
    pte = domain.frames[9] << 12 | Pte.PRESENT | Pte.WRITABLE
    assert set_window(domain, pte) == 0
    assert domain.touch(WINDOW, write=True) == domain.frames[9] << 12
    assert set_window(domain, pte, Mmu.PRESERVE_AD) == 0
    assert window(domain) == pte | Pte.ACCESSED | Pte.DIRTY
    assert set_window(domain, pte) == 0
    assert window(domain) == pte


def test_no_translate_is_a_normal_update(domain: Kernel) -> None:
    assert set_window(domain, domain.frames[9] << 12 | Pte.KERNEL, Mmu.NO_TRANSLATE) == 0
    assert window(domain) == domain.frames[9] << 12 | Pte.KERNEL


@pytest.mark.parametrize("command", [4, 5, 6, 7])
def test_other_commands_do_not_exist(domain: Kernel, command: int) -> None:
    before = domain.snapshot()
    assert set_window(domain, domain.frames[9] << 12 | Pte.KERNEL, command) == -Errno.ENOSYS
    assert refused(domain, before)


def test_a_batch_stops_at_what_is_refused_and_says_how_far_it_came(domain: Kernel) -> None:
    entry = domain.frames[L1] << 12 | SCRATCH * 8
    good, other, bad = (mfn << 12 | Pte.KERNEL for mfn in (domain.frames[9], domain.frames[10], NO_FRAME))
    assert domain.mmu_update([(entry, good), (entry, other), (entry, bad), (entry, good)]) == (-Errno.EPERM, 2)
    assert window(domain) == other
    assert domain.mmu_update([(entry, good), (entry, other)]) == (0, 2)
    assert domain.mmu_update([]) == (0, 0)
    assert domain.audit() == []


@pytest.mark.parametrize("address", [0x1000, 0xFFFF830000000000, 0x900000000000, 1 << 63, (1 << 64) - 8])
@pytest.mark.parametrize("count", [1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_requests_where_nothing_is_mapped_are_a_fault(domain: Kernel, address: int, count: int) -> None:
    before = domain.snapshot()
    assert domain.raw_mmu_update(address, count) == (-Errno.EFAULT, 0)
    assert refused(domain, before)


def test_a_huge_count_runs_until_a_request_is_refused(domain: Kernel) -> None:
    entry = domain.frames[L1] << 12 | SCRATCH * 8
    domain.mmu_update([(entry, 0), (entry, 0), (NO_FRAME << 12, 0)])
    result, done = domain.raw_mmu_update(BASE + 4096 * 4, 0x7FFFFFFF)
    assert (result, done) == (-Errno.EINVAL, 2)


@pytest.mark.parametrize(
    ("foreigndom", "errno"),
    [
        (5, -Errno.ESRCH),
        (1, -Errno.ESRCH),
        (0, -Errno.EPERM),
        (DOMID_XEN, -Errno.EPERM),
        (DOMID_IO, -Errno.EBUSY),  # it could map I/O memory with these requests, and only that
        (DOMID_SELF | 6 << 16, -Errno.ESRCH),
        (DOMID_SELF | DOMID_SELF + 1 << 16, -Errno.ESRCH),
    ],
)
def test_only_its_own_frames_are_within_a_domains_reach(domain: Kernel, foreigndom: int, errno: int) -> None:
    before = domain.snapshot()
    request = (domain.frames[L1] << 12 | SCRATCH * 8, domain.frames[9] << 12 | Pte.KERNEL)
    assert domain.mmu_update([request], foreigndom) == (errno, 0)
    assert refused(domain, before)


def test_the_m2p_of_its_own_frames_is_the_guests_to_set(domain: Kernel) -> None:
    assert domain.update(domain.frames[9], 0, 0x777, Mmu.MACHPHYS) == 0
    assert domain.machine.m2p[domain.frames[9]] == 0x777


@pytest.mark.parametrize("mfn", [0, 1, NO_FRAME])
def test_the_m2p_of_other_frames_is_not(domain: Kernel, mfn: int) -> None:
    before = domain.snapshot()
    assert domain.update(mfn, 0, 0x777, Mmu.MACHPHYS) == -Errno.EINVAL
    assert refused(domain, before)


def test_a_word_of_ordinary_memory_is_simply_written(domain: Kernel) -> None:
    assert domain.update(domain.frames[9], 1, 0xDEADBEEFCAFE) == 0
    assert domain.word(domain.frames[9], 1) == 0xDEADBEEFCAFE


@pytest.mark.parametrize("mfn", [0, 1, NO_FRAME])
def test_a_word_of_somebody_elses_is_not(domain: Kernel, mfn: int) -> None:
    before = domain.snapshot()
    assert domain.update(mfn, 0, 0) == -Errno.EINVAL
    assert refused(domain, before)


def test_changing_bits_that_hold_nothing_moves_no_count(domain: Kernel) -> None:
    state = domain.frame(domain.frames[SCRATCH])
    assert set_window(domain, domain.frames[SCRATCH] << 12 | Pte.KERNEL | Pte.USER | Pte.NX | 0xE00) == 0
    assert domain.frame(domain.frames[SCRATCH]) == state
    assert domain.audit() == []


def test_the_processor_is_told_of_each_change(domain: Kernel) -> None:
    old, new = window(domain), domain.frames[9] << 12 | Pte.READ_ONLY
    domain.processor.forget()
    assert set_window(domain, new) == 0
    assert domain.processor.notes == [("pte_changed", domain.frames[L1], SCRATCH, old, new)]


# --- update_va_mapping ---


def test_update_va_mapping_changes_the_entry_of_an_address(domain: Kernel) -> None:
    pte = domain.frames[9] << 12 | Pte.KERNEL
    for va in (WINDOW, WINDOW + 5):
        assert domain.update_va_mapping(va, pte, Uvmf.INVLPG) == 0
        assert window(domain) == pte
    assert domain.touch(WINDOW) == domain.frames[9] << 12


@pytest.mark.parametrize("flags", [0, Uvmf.INVLPG, Uvmf.INVLPG | 4, Uvmf.TLB_FLUSH, Uvmf.TLB_FLUSH | 4, 3])
def test_update_va_mapping_flushes_what_it_is_asked_to(domain: Kernel, flags: int) -> None:
    domain.processor.forget()
    assert domain.update_va_mapping(WINDOW, domain.frames[9] << 12 | Pte.READ_ONLY, flags) == 0
    names = [str(note[0]) for note in domain.processor.notes]
    wanted = {int(Uvmf.INVLPG): ["flush_page"], int(Uvmf.TLB_FLUSH): ["flush_all"]}
    assert [name for name in names if name.startswith("flush")] == wanted.get(flags & 3, [])


@pytest.mark.parametrize(
    ("va", "errno"),
    [
        (0x1000, -Errno.EINVAL),
        (0xFFFF800000000000, -Errno.EINVAL),
        (0xFFFF820000000000, -Errno.EINVAL),
        (0x900000000000, -Errno.EINVAL),
        (BASE + (1 << 39), -Errno.EINVAL),
    ],
)
def test_update_va_mapping_needs_an_l1_of_the_guests_own(domain: Kernel, va: int, errno: int) -> None:
    before = domain.snapshot()
    assert domain.update_va_mapping(va, domain.frames[9] << 12 | Pte.KERNEL, Uvmf.INVLPG) == errno
    assert refused(domain, before)


@pytest.mark.parametrize(
    ("pfn", "errno"), [(L4, -Errno.EBUSY), (L2, -Errno.EBUSY), (L1, -Errno.EBUSY), (None, -Errno.EPERM)]
)
def test_update_va_mapping_obeys_the_rules_of_entries(domain: Kernel, pfn: int | None, errno: int) -> None:
    before = domain.snapshot()
    mfn = NO_FRAME if pfn is None else domain.frames[pfn]
    assert domain.update_va_mapping(WINDOW, mfn << 12 | Pte.KERNEL, Uvmf.INVLPG) == errno
    assert refused(domain, before)
    if pfn is not None:
        assert domain.update_va_mapping(WINDOW, mfn << 12 | Pte.PRESENT, Uvmf.INVLPG) == 0


def test_a_bad_vcpu_mask_is_a_fault_after_the_entry_has_changed(domain: Kernel) -> None:
    pte = domain.frames[9] << 12 | Pte.READ_ONLY
    assert domain.update_va_mapping(WINDOW, pte, 0x1000 | Uvmf.INVLPG) == -Errno.EFAULT
    assert window(domain) == pte


def test_an_address_that_leads_to_another_level_through_a_linear_table_is_refused(domain: Kernel) -> None:
    root = domain.frames[L4]
    assert domain.update(root, 300, root << 12 | Pte.PRESENT) == 0
    before = domain.snapshot()
    self_mapped = 0xFFFF << 48 | 300 << 39
    for index in (272, 256, 260, 300):  # the guest's L3, the M2P's, the per-domain area's, the L4 itself
        assert domain.update_va_mapping(self_mapped | index << 30, domain.frames[9] << 12 | Pte.TABLE) == -Errno.EINVAL
    assert refused(domain, before)
