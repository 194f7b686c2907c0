"""Linear page tables: a table that serves as a page of its own leaves, read-only and one link deep."""

from tests.unit.mm.rules import Kernel, Op, Pte, refused
from xenia.abi.errno import Errno


def test_an_l4_may_refer_to_itself_read_only() -> None:
    domain = Kernel(16)
    mfn = domain.pinned(4)
    assert domain.update(mfn, 0, mfn << 12 | Pte.PRESENT) == 0
    assert domain.frame(mfn).type_refs == 1  # a link to itself is no reference: it would never go away
    assert domain.op(Op.UNPIN, mfn) == 0
    assert domain.audit() == []


def test_a_self_reference_cannot_be_made_writable_afterwards() -> None:
    domain = Kernel(16)
    mfn = domain.pinned(4)
    assert domain.update(mfn, 0, mfn << 12 | Pte.PRESENT) == 0
    before = domain.snapshot()
    assert domain.update(mfn, 0, mfn << 12 | Pte.PRESENT | Pte.WRITABLE) == -Errno.EINVAL
    assert refused(domain, before)


def test_a_table_may_refer_to_another_of_its_level_which_it_then_holds() -> None:
    for level in (2, 3, 4):
        domain = Kernel(24)
        lower, upper = domain.pinned(level), domain.pinned(level)
        assert domain.update(upper, 1, lower << 12 | Pte.PRESENT) == 0
        assert (domain.frame(lower).type_refs, domain.frame(lower).linear, domain.frame(upper).linear) == (2, -1, 1)
        assert domain.op(Op.UNPIN, lower) == 0
        assert domain.frame(lower).validated  # upper still holds it
        assert domain.audit() == []
        assert domain.update(upper, 1, 0) == 0
        assert (domain.frame(lower).type_refs, domain.frame(upper).linear) == (0, 0)
        assert domain.audit() == []


def test_links_never_chain_so_that_letting_go_never_recurses() -> None:
    domain = Kernel(24)
    first, second, third = (domain.pinned(4) for _ in range(3))
    assert domain.update(first, 0, second << 12 | Pte.PRESENT) == 0
    before = domain.snapshot()
    assert domain.update(second, 0, third << 12 | Pte.PRESENT) == -Errno.EINVAL  # second is a lower table
    assert domain.update(third, 0, first << 12 | Pte.PRESENT) == -Errno.EINVAL  # first is an upper one
    assert domain.update(second, 0, first << 12 | Pte.PRESENT) == -Errno.EINVAL  # nor in a circle
    assert refused(domain, before)


def test_a_writable_link_is_none() -> None:
    domain = Kernel(24)
    lower, upper = domain.pinned(3), domain.pinned(3)
    before = domain.snapshot()
    assert domain.update(upper, 0, lower << 12 | Pte.TABLE) == -Errno.EINVAL
    assert refused(domain, before)


def test_a_frame_that_is_no_table_yet_is_not_linked_to() -> None:
    domain = Kernel(24)
    upper, idle = domain.pinned(4), domain.table((0, 0x99 << 12 | Pte.PRESENT))
    before = domain.snapshot()
    assert domain.update(upper, 0, idle << 12 | Pte.PRESENT) == -Errno.EINVAL
    assert refused(domain, before)


def test_a_validated_tree_brings_its_links_along() -> None:
    domain = Kernel(24)
    lower = domain.pinned(4)
    upper = domain.pinned(4, (0, lower << 12 | Pte.PRESENT), (1, lower << 12 | Pte.PRESENT))
    assert (domain.frame(lower).linear, domain.frame(upper).linear) == (-2, 2)
    assert domain.op(Op.UNPIN, lower) == 0
    assert domain.op(Op.UNPIN, upper) == 0
    assert domain.frame(lower).type_refs == 0
    assert domain.audit() == []
