"""References and types: a frame is one thing at a time, and stays as long as something holds it."""

from tests.unit.mm.rules import SCRATCH, Kernel, Op, Pte, Type, refused
from xenia.abi.errno import Errno
from xenia.testing.pv_domain import BASE, L1, L2, L3, L4


def test_a_new_domain_holds_its_frames_and_its_tables_hold_them_too() -> None:
    domain = Kernel(16)
    data = domain.frame(domain.frames[SCRATCH])
    assert (data.refs, data.type, data.type_refs, data.allocated) == (2, Type.WRITABLE, 1, True)
    root = domain.frame(domain.frames[L4])
    assert (root.refs, root.type, root.type_refs, root.pinned, root.validated) == (4, Type.L4, 2, True, True)
    assert [domain.frame(domain.frames[pfn]).type for pfn in (L3, L2, L1)] == [Type.L3, Type.L2, Type.L1]
    assert domain.audit() == []


def test_each_writable_mapping_is_a_type_reference_and_each_read_only_one_is_not() -> None:
    domain = Kernel(16)
    mfn, other = domain.frames[9], 10
    assert domain.map(other, mfn << 12 | Pte.KERNEL) == 0
    assert (domain.frame(mfn).refs, domain.frame(mfn).type_refs) == (3, 2)
    assert domain.map(other, mfn << 12 | Pte.READ_ONLY) == 0
    assert (domain.frame(mfn).refs, domain.frame(mfn).type_refs) == (3, 1)
    assert domain.map(other, 0) == 0
    assert (domain.frame(mfn).refs, domain.frame(mfn).type_refs) == (2, 1)


def test_a_frame_that_is_mapped_writable_cannot_become_a_table_of_any_level() -> None:
    domain = Kernel(16)
    before = domain.snapshot()
    for pin in (Op.PIN_L1, Op.PIN_L2, Op.PIN_L3, Op.PIN_L4):
        assert domain.op(pin, domain.frames[SCRATCH]) == -Errno.EINVAL
    assert refused(domain, before)


def test_a_table_of_one_level_cannot_become_one_of_another() -> None:
    domain = Kernel(24)
    for level, pin in enumerate((Op.PIN_L1, Op.PIN_L2, Op.PIN_L3, Op.PIN_L4), 1):
        mfn = domain.pinned(level)
        before = domain.snapshot()
        assert [domain.op(other, mfn) for other in (Op.PIN_L1, Op.PIN_L2, Op.PIN_L3, Op.PIN_L4) if other != pin] == [
            -Errno.EINVAL
        ] * 3
        assert refused(domain, before)


def test_a_pinned_table_stays_one_until_it_is_unpinned() -> None:
    domain = Kernel(16)
    mfn = domain.pinned(1)
    pfn = domain.pfn(mfn)
    before = domain.snapshot()
    assert domain.op(Op.PIN_L1, mfn) == -Errno.EINVAL  # once is all
    assert domain.unprotect(pfn) == -Errno.EBUSY
    assert refused(domain, before)
    assert domain.op(Op.UNPIN, mfn) == 0
    assert domain.op(Op.UNPIN, mfn) == -Errno.EINVAL
    assert domain.unprotect(pfn) == 0
    assert domain.audit() == []


def test_a_tree_is_validated_from_its_top_and_let_go_from_its_top() -> None:
    domain = Kernel(24)
    data = domain.frames[SCRATCH]
    l1 = domain.table((5, data << 12 | Pte.KERNEL))
    l2 = domain.table((0, l1 << 12 | Pte.TABLE))
    l3 = domain.table((511, l2 << 12 | Pte.TABLE))
    l4 = domain.table((300, l3 << 12 | Pte.TABLE))
    before = domain.frame(data)
    assert domain.op(Op.PIN_L4, l4) == 0
    assert [domain.frame(mfn).type for mfn in (l1, l2, l3, l4)] == [Type.L1, Type.L2, Type.L3, Type.L4]
    assert domain.frame(data) == before._replace(refs=before.refs + 1, type_refs=before.type_refs + 1)
    assert domain.audit() == []
    assert domain.op(Op.UNPIN, l4) == 0
    assert [domain.frame(mfn).type_refs for mfn in (l1, l2, l3, l4)] == [0] * 4
    assert domain.frame(data) == before
    assert domain.audit() == []


def test_one_bad_entry_at_the_bottom_leaves_the_whole_tree_as_it_was() -> None:
    domain = Kernel(24)
    good = domain.table((5, domain.frames[SCRATCH] << 12 | Pte.KERNEL))
    bad = domain.table((0, domain.frames[SCRATCH] << 12 | Pte.READ_ONLY), (511, domain.frames[L4] << 12 | Pte.KERNEL))
    l2 = domain.table((0, good << 12 | Pte.TABLE), (1, good << 12 | Pte.TABLE), (2, bad << 12 | Pte.TABLE))
    l3 = domain.table((0, l2 << 12 | Pte.TABLE))
    before = domain.snapshot()
    assert domain.op(Op.PIN_L3, l3) == -Errno.EBUSY
    assert refused(domain, before)


def test_a_shared_subtree_is_validated_once_and_stays_until_its_last_user_goes() -> None:
    domain = Kernel(24)
    l1 = domain.table((0, domain.frames[SCRATCH] << 12 | Pte.KERNEL))
    first = domain.pinned(2, (0, l1 << 12 | Pte.TABLE), (1, l1 << 12 | Pte.TABLE))
    second = domain.pinned(2, (7, l1 << 12 | Pte.TABLE))
    assert (domain.frame(l1).type_refs, domain.frame(domain.frames[SCRATCH]).type_refs) == (3, 2)
    assert domain.op(Op.UNPIN, first) == 0
    assert domain.frame(l1).type_refs == 1
    assert domain.update(second, 7, 0) == 0
    assert domain.frame(l1).type_refs == 0
    assert domain.audit() == []


def test_a_table_may_map_itself_read_only_at_the_bottom() -> None:
    domain = Kernel(16)
    mfn = domain.table()
    domain.poke(mfn, 3, mfn << 12 | Pte.PRESENT)
    assert domain.op(Op.PIN_L1, mfn) == 0
    assert domain.audit() == []
    assert domain.op(Op.UNPIN, mfn) == 0
    assert domain.audit() == []


def test_no_table_maps_itself_writable() -> None:
    domain = Kernel(24)
    for level in range(1, 5):
        mfn = domain.table()
        domain.poke(mfn, 3, mfn << 12 | Pte.PRESENT | Pte.WRITABLE)
        before = domain.snapshot()
        assert domain.op(Op.PIN_L1 + level - 1, mfn) == (-Errno.EBUSY if level == 1 else -Errno.EINVAL)
        assert refused(domain, before)


def test_a_frame_given_back_while_mapped_stays_until_its_last_mapping_goes() -> None:
    domain = Kernel(16)
    mfn, free = domain.frames[SCRATCH], domain.machine.nr_free
    assert domain.release(mfn)
    assert (domain.frame(mfn).refs, domain.machine.nr_free) == (1, free)
    assert domain.touch(BASE + 4096 * SCRATCH, write=True) == mfn << 12
    assert domain.update_va_mapping(BASE + 4096 * SCRATCH, 0) == 0
    assert (domain.machine.nr_free, domain.tot_pages) == (free + 1, 15)
    assert domain.audit() == []  # not even a cached translation is left


def test_a_frame_is_scrubbed_before_anyone_else_gets_it() -> None:
    domain = Kernel(16)
    mfn = domain.frames[SCRATCH]
    domain.poke(mfn, 100, 0x5EC2E7)
    domain.release(mfn)
    assert domain.map(SCRATCH, 0) == 0
    assert domain.allocate(1) == [mfn]
    assert all(domain.word(mfn, index) == 0 for index in range(512))


def test_page_tables_given_back_stay_page_tables_while_in_use() -> None:
    domain = Kernel(16)
    for pfn in (L1, L2, L3, L4):
        assert domain.release(domain.frames[pfn])
    assert domain.touch(BASE + 4096 * SCRATCH) is not None
    assert domain.audit() == []
    assert domain.relinquish() == 0


def test_the_end_of_a_domain_gives_everything_back() -> None:
    domain = Kernel(40)
    l1 = domain.pinned(1, (0, domain.frames[SCRATCH] << 12 | Pte.KERNEL))
    l4 = domain.pinned(4)
    assert domain.update(l4, 0, l4 << 12 | Pte.PRESENT) == 0
    assert domain.op(15, l4) == 0
    domain.release(domain.frames[L1])
    assert domain.set_gdt([domain.table()], 512) == 0
    assert domain.frame(l1).pinned
    machine = domain.machine
    assert domain.relinquish() == 0
    assert machine.nr_free == machine.nr_frames - 5  # frame 0, the M2P and its three tables


MOST = 0xFFFFFFFF


def test_a_frame_with_as_many_references_as_can_be_counted_gets_no_more() -> None:
    domain = Kernel(16)
    mfn, other = domain.frames[9], domain.frames[10]
    domain.set_counts(mfn, MOST - 1, 1)
    assert domain.map(11, mfn << 12 | Pte.READ_ONLY) == 0
    assert domain.frame(mfn).refs == MOST
    before = domain.snapshot()
    assert domain.map(10, mfn << 12 | Pte.READ_ONLY) == -Errno.EBUSY
    assert domain.map(10, mfn << 12 | Pte.KERNEL) == -Errno.EBUSY
    assert domain.update(mfn, 0, 0) == -Errno.EINVAL
    assert domain.op(Op.PIN_L1, mfn) == -Errno.EINVAL
    assert domain.op(Op.UNPIN, mfn) == -Errno.EINVAL
    assert domain.op(Op.CLEAR_PAGE, mfn) == -Errno.EINVAL
    assert domain.op(Op.COPY_PAGE, other, mfn) == -Errno.EINVAL
    assert domain.op(Op.COPY_PAGE, mfn, other) == -Errno.EINVAL
    assert domain.set_gdt([mfn], 512) == -Errno.EINVAL
    assert domain.update_descriptor(mfn << 12, 0) == -Errno.EINVAL
    assert domain.hold(mfn) == -Errno.EINVAL
    assert not domain.release(mfn)
    assert domain.snapshot() == before
    assert domain.map(11, 0) == 0
    domain.set_counts(mfn, 2, 1)
    assert domain.audit() == []


def test_nor_as_what_it_is() -> None:
    domain = Kernel(16)
    mfn = domain.frames[9]
    domain.set_counts(mfn, 2, MOST)
    before = domain.snapshot()
    assert domain.map(10, mfn << 12 | Pte.KERNEL) == -Errno.EBUSY
    assert domain.update(mfn, 0, 0) == -Errno.EINVAL
    assert domain.hold(mfn) == -Errno.EINVAL
    assert domain.snapshot() == before
    domain.set_counts(mfn, 2, 1)
    assert domain.audit() == []


def test_nor_as_a_page_table_of_the_level_below_or_of_its_own() -> None:
    domain = Kernel(24)
    upper, lower = domain.pinned(2), domain.pinned(1)
    domain.set_counts(lower, MOST, MOST)
    before = domain.snapshot()
    assert domain.update(upper, 0, lower << 12 | Pte.TABLE) == -Errno.EINVAL
    assert domain.snapshot() == before
    domain.set_counts(lower, 3, 1)
    other = domain.pinned(2)
    domain.set_counts(other, 3, 1, -(1 << 31))  # as many linear links as can be counted
    before = domain.snapshot()
    assert domain.update(upper, 0, other << 12 | Pte.PRESENT) == -Errno.EINVAL
    assert domain.snapshot() == before
    domain.set_counts(other, 3, 1)
    assert domain.update(upper, 0, other << 12 | Pte.PRESENT) == 0
    assert domain.audit() == []
