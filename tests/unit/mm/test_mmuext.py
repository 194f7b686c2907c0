"""mmuext_op: what real Xen 4.17 was seen to answer (tests/guests/answers/mmuext.txt)."""

import pytest

from tests.unit.mm.rules import NO_FRAME, SCRATCH, Kernel, Op, Type, refused
from xenia.abi.errno import Errno
from xenia.abi.xen import DOMID_XEN
from xenia.testing.pv_domain import BASE, L1, L3, L4


@pytest.fixture
def domain() -> Kernel:
    return Kernel(32)


def flushes(domain: Kernel) -> list[tuple[str | int, ...]]:
    return [note for note in domain.processor.notes if str(note[0]).startswith("flush")]


def second_root(domain: Kernel) -> int:
    """Another L4 with the kernel's mappings."""
    return domain.pinned(4, (272, domain.word(domain.frames[L4], 272)))


def test_a_new_base_pointer_is_held_and_loaded_and_the_old_one_let_go(domain: Kernel) -> None:
    old, new = domain.frames[L4], second_root(domain)
    assert domain.op(Op.NEW_BASEPTR, new) == 0
    assert domain.root_kernel == new
    assert domain.processor.notes[-2] == ("load_root", new, False)
    assert (domain.frame(new).type_refs, domain.frame(old).type_refs) == (2, 1)
    assert domain.audit() == []


def test_the_same_base_pointer_again_changes_no_count(domain: Kernel) -> None:
    before = domain.snapshot()
    assert domain.op(Op.NEW_BASEPTR, domain.frames[L4]) == 0
    assert domain.snapshot() == before


def test_a_base_pointer_need_not_be_pinned_and_may_be_unpinned_in_use(domain: Kernel) -> None:
    new = second_root(domain)
    assert domain.op(Op.UNPIN, new) == 0
    assert domain.op(Op.NEW_BASEPTR, new) == 0
    assert domain.op(Op.UNPIN, domain.frames[L4]) == 0
    assert domain.frame(domain.frames[L4]).type_refs == 0
    assert domain.frame(new).type == Type.L4
    assert domain.audit() == []


def test_a_user_base_pointer_comes_and_goes(domain: Kernel) -> None:
    user = domain.pinned(4)
    assert domain.op(Op.NEW_USER_BASEPTR, user) == 0
    assert domain.op(Op.UNPIN, user) == 0
    assert domain.unprotect(domain.pfn(user)) != 0  # still a page table
    assert domain.op(Op.NEW_USER_BASEPTR, 0) == 0
    assert domain.unprotect(domain.pfn(user)) == 0
    assert domain.audit() == []


@pytest.mark.parametrize(
    "command", [Op.PIN_L1, Op.PIN_L4, Op.UNPIN, Op.NEW_BASEPTR, Op.NEW_USER_BASEPTR, Op.CLEAR_PAGE]
)
@pytest.mark.parametrize("mfn", [1, NO_FRAME, 0xFFFFFFFFFFFFFFFF, 1 << 52])
def test_frames_of_nobody_or_somebody_else_are_refused(domain: Kernel, command: int, mfn: int) -> None:
    before = domain.snapshot()
    assert domain.op(command, mfn) == -Errno.EINVAL
    assert refused(domain, before)


@pytest.mark.parametrize("pfn", [SCRATCH, L3])
def test_only_an_l4_is_a_base_pointer(domain: Kernel, pfn: int) -> None:
    before = domain.snapshot()
    assert domain.op(Op.NEW_BASEPTR, domain.frames[pfn]) == -Errno.EINVAL
    assert domain.op(Op.NEW_USER_BASEPTR, domain.frames[pfn]) == -Errno.EINVAL
    assert refused(domain, before)


def test_what_is_not_pinned_is_not_unpinned(domain: Kernel) -> None:
    before = domain.snapshot()
    assert domain.op(Op.UNPIN, domain.frames[SCRATCH]) == -Errno.EINVAL
    assert domain.op(Op.UNPIN, domain.frames[L1]) == -Errno.EINVAL
    assert refused(domain, before)


def test_a_table_that_is_in_use_may_be_pinned_too(domain: Kernel) -> None:
    assert domain.op(Op.PIN_L3, domain.frames[L3]) == 0
    assert domain.frame(domain.frames[L3]).type_refs == 2
    assert domain.op(Op.UNPIN, domain.frames[L3]) == 0
    assert domain.audit() == []


@pytest.mark.parametrize("command", [Op.FLUSH_LOCAL, Op.FLUSH_ALL])
def test_flushes_of_everything(domain: Kernel, command: int) -> None:
    assert domain.op(command) == 0
    assert flushes(domain) == [("flush_all",)]


@pytest.mark.parametrize("command", [Op.INVLPG_LOCAL, Op.INVLPG_ALL])
def test_flushes_of_a_page(domain: Kernel, command: int) -> None:
    assert domain.op(command, BASE) == 0
    assert flushes(domain) == [("flush_page", BASE)]
    for va in (0xFFFF800000000000, 1 << 63):  # no address of the guest's: accepted, and nothing to do
        assert domain.op(command, va) == 0
    assert len(flushes(domain)) == 1


def test_flushes_by_vcpu_mask(domain: Kernel) -> None:
    mask = BASE + 4096 * SCRATCH
    domain.poke(domain.frames[SCRATCH], 0, 1)
    assert domain.op(Op.FLUSH_MULTI, 0, mask) == 0
    assert domain.op(Op.INVLPG_MULTI, BASE, mask) == 0
    assert flushes(domain) == [("flush_all",), ("flush_page", BASE)]
    domain.poke(domain.frames[SCRATCH], 0, 2)  # some other vcpu
    assert domain.op(Op.FLUSH_MULTI, 0, mask) == 0
    assert len(flushes(domain)) == 2
    assert domain.op(Op.FLUSH_MULTI, 0, 0x1000) == -Errno.EINVAL
    assert domain.op(Op.INVLPG_MULTI, BASE, 0x1000) == -Errno.EINVAL


@pytest.mark.parametrize(
    ("command", "errno"),
    [
        (Op.FLUSH_CACHE, -Errno.EACCES),
        (Op.FLUSH_CACHE_GLOBAL, -Errno.EINVAL),
        (Op.MARK_SUPER, -Errno.EOPNOTSUPP),
        (Op.UNMARK_SUPER, -Errno.EOPNOTSUPP),
        (14, -Errno.ENOSYS),
        (99, -Errno.ENOSYS),
        (0xFFFFFFFF, -Errno.ENOSYS),
    ],
)
def test_what_a_domain_without_devices_is_not_given(domain: Kernel, command: int, errno: int) -> None:
    before = domain.snapshot()
    assert domain.op(command, domain.frames[SCRATCH]) == errno
    assert refused(domain, before)


def test_clear_and_copy_work_on_memory_that_the_guest_may_write(domain: Kernel) -> None:
    source, target = domain.frames[9], domain.frames[10]
    domain.poke(source, 7, 99)
    assert domain.op(Op.COPY_PAGE, target, source) == 0
    assert domain.word(target, 7) == 99
    assert domain.op(Op.CLEAR_PAGE, target) == 0
    assert domain.word(target, 7) == 0
    assert domain.op(Op.COPY_PAGE, target, domain.frames[L4]) == 0  # a page table may be read
    assert domain.word(target, 272) == domain.word(domain.frames[L4], 272)
    assert [note for note in domain.processor.notes if note[0] == "code_dirty"] == [
        ("code_dirty", target << 12, 4096)
    ] * 3


def test_clear_and_copy_never_touch_page_tables_or_frames_of_others(domain: Kernel) -> None:
    before = domain.snapshot()
    assert domain.op(Op.CLEAR_PAGE, domain.frames[L4]) == -Errno.EINVAL
    assert domain.op(Op.COPY_PAGE, domain.frames[L4], domain.frames[9]) == -Errno.EINVAL
    assert domain.op(Op.COPY_PAGE, domain.frames[9], 1) == -Errno.EINVAL
    assert domain.op(Op.COPY_PAGE, 1, domain.frames[9]) == -Errno.EINVAL
    assert refused(domain, before)


def test_a_batch_stops_at_what_is_refused(domain: Kernel) -> None:
    assert domain.mmuext([(Op.FLUSH_LOCAL, 0, 0), (Op.PIN_L1, 0, 0), (Op.FLUSH_LOCAL, 0, 0)]) == (-Errno.EINVAL, 1)
    assert domain.mmuext([]) == (0, 0)


@pytest.mark.parametrize(
    ("foreigndom", "errno"), [(0, -Errno.EPERM), (DOMID_XEN, -Errno.EPERM), (77, -Errno.ESRCH), (1, -Errno.ESRCH)]
)
def test_only_its_own_frames_are_within_a_domains_reach(domain: Kernel, foreigndom: int, errno: int) -> None:
    assert domain.mmuext([(Op.FLUSH_LOCAL, 0, 0)], foreigndom) == (errno, 0)
    assert flushes(domain) == []


def test_set_ldt_takes_a_page_aligned_address_of_the_guests_and_8192_entries_at_most(domain: Kernel) -> None:
    for base, entries in ((0, 0), (0x1000, 8), (BASE, 8192), (0x1000, 0)):
        assert domain.op(Op.SET_LDT, base, entries) == 0
    before = domain.snapshot()
    for base, entries in ((8, 1), (BASE, 8193), (0xFFFF800000000000, 8), (1 << 47, 8)):
        assert domain.op(Op.SET_LDT, base, entries) == -Errno.EINVAL
    assert refused(domain, before)
