"""The recount finds what it is there to find."""

import pytest

from tests.unit.mm.rules import SCRATCH, Kernel, Pte
from xenia.testing.pv_domain import L1, L2, L4

GOOD = 9


@pytest.mark.parametrize(
    ("pfn", "index", "target", "flags", "complaint"),
    [
        (L1, SCRATCH, GOOD, Pte.KERNEL, "references"),  # a mapping that was counted for another frame
        (L1, SCRATCH, SCRATCH, Pte.READ_ONLY, "hold it so"),  # a writable one that is not
        (L1, SCRATCH, L4, Pte.KERNEL, "needs frame"),  # a page table mapped writable
        (L1, SCRATCH, SCRATCH, Pte.KERNEL | Pte.PCD, "no guest may set"),
        (L1, SCRATCH, None, Pte.KERNEL, "not the domain's"),
        (L2, 1, GOOD, Pte.TABLE, "needs frame"),  # a level that is not validated
        (L4, 256, GOOD, Pte.PRESENT, "is not the hypervisor's"),
        (L4, 261, GOOD, Pte.PRESENT, "is not the hypervisor's"),
    ],
)
def test_an_entry_that_the_rules_never_let_in(
    pfn: int, index: int, target: int | None, flags: int, complaint: str
) -> None:
    domain = Kernel(16)
    assert domain.audit() == []
    mfn = 1 if target is None else domain.frames[target]
    domain.poke(domain.frames[pfn], index, mfn << 12 | flags)
    assert any(complaint in line for line in domain.audit())


def test_a_guest_that_reaches_the_hypervisors_own_tables() -> None:
    domain = Kernel(16)
    domain.poke(domain.perdomain_l1, 2, domain.word(domain.perdomain_l1, 2) | 2)
    assert any("lets the guest in" in line for line in domain.audit())


def test_a_descriptor_that_was_never_checked() -> None:
    domain = Kernel(16)
    frame = domain.table()
    assert domain.set_gdt([frame], 512) == 0
    domain.poke(frame, 4, 0x000089000000FFFF)
    assert any("descriptor 4" in line for line in domain.audit())
