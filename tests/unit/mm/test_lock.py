"""How long others wait for a domain's lock while the domain does something long."""

from collections.abc import Callable

import pytest

from tests.unit.mm.rules import SCRATCH, Kernel, Op, Pte
from xenia.abi.errno import Errno
from xenia.machine.machine import MachineMemory
from xenia.testing.pv_domain import PvDomain


class Tree:
    """A domain with an L4 that nothing validated yet, over `nr_l1` L1 tables of 512 pages each."""

    def __init__(self, nr_l1: int = 200) -> None:
        self.domain = domain = PvDomain(64, machine=MachineMemory(4096 * (nr_l1 + 1024)))
        page = domain.frames[SCRATCH]
        l1s = domain.allocate(nr_l1)
        for l1 in l1s:
            for index in range(512):
                domain.poke(l1, index, page << 12 | Pte.KERNEL)
        l2s = self.above(l1s)
        l3s = self.above(l2s)
        self.l4 = self.above(l3s)[0]
        self.tables = [*l1s, *l2s, *l3s, self.l4]

    def above(self, tables: list[int]) -> list[int]:
        """Tables of the next level, whose entries are these."""
        uppers = self.domain.allocate((len(tables) + 511) // 512)
        for index, table in enumerate(tables):
            self.domain.poke(uppers[index // 512], index % 512, table << 12 | Pte.TABLE)
        return uppers

    def pin(self) -> None:
        """MMUEXT_PIN_L4_TABLE."""
        assert self.domain.op(Op.PIN_L4, self.l4) == 0

    def unpin(self) -> None:
        """MMUEXT_UNPIN_TABLE."""
        assert self.domain.op(Op.UNPIN, self.l4) == 0

    def end(self) -> None:
        """The domain ends."""
        assert self.domain.relinquish() == 0


def test_others_have_the_lock_between_any_two_requests() -> None:
    domain = Kernel()
    requests = [(domain.frames[SCRATCH] << 12 | 8 * i, i) for i in range(20)]
    assert domain.asker.lends(lambda: domain.mmu_update(requests), under=True)[0] == 20
    clears = [(Op.CLEAR_PAGE, domain.frames[SCRATCH], 0)] * 20
    assert domain.asker.lends(lambda: domain.mmuext(clears), under=True)[0] == 20
    assert domain.audit() == []


def test_others_have_the_lock_between_any_two_tables_of_a_tree() -> None:
    domain = Kernel()
    l2 = domain.table(
        *((i, domain.table((0, domain.frames[SCRATCH] << 12 | Pte.READ_ONLY)) << 12 | Pte.TABLE) for i in range(20))
    )
    assert domain.asker.lends(lambda: domain.op(Op.PIN_L2, l2), under=True)[0] == 22
    assert domain.audit() == []
    assert domain.asker.lends(lambda: domain.op(Op.UNPIN, l2), under=True)[0] == 22
    assert domain.audit() == []


@pytest.mark.parametrize("operation", [Tree.pin, Tree.unpin, Tree.end])
def test_nobody_waits_long_for_the_lock_of_a_domain_with_thousands_of_tables(operation: Callable[[Tree], None]) -> None:
    tree = Tree()
    if operation is not Tree.pin:
        tree.pin()
    times, longest = tree.domain.asker.lends(lambda: operation(tree), under=True)
    print(f"{operation.__name__} of {len(tree.tables)} tables: lends {times}, kept for {longest / 1e6:.3f} ms at most")
    assert times >= len(tree.tables)
    assert longest < 5_000_000


def test_who_may_write_to_a_frame_never_writes_to_a_table_half_made_or_half_let_go() -> None:
    tree = Tree(nr_l1=64)
    others: list[int] = []

    def pin_and_unpin() -> None:
        for _ in range(40):
            tree.domain.asker.during(lambda: others.append(tree.domain.op(Op.PIN_L4, tree.l4)), under=True)
            if others[-1] == 0:
                tree.domain.asker.during(tree.unpin, under=True)

    written = tree.domain.while_others_write(tree.tables, pin_and_unpin)
    assert written
    assert set(others) <= {0, -Errno.EINVAL}
    assert tree.domain.audit() == []
