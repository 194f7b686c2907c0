"""The log of what is written: a frame that nobody could write to when it began, and that was not told of since, has in
it what it had."""

import pytest

from tests.unit.mm.rules import SCRATCH, Kernel, Op, Pte, Type
from tests.unit.mm.test_fuzz import Guest
from xenia.testing.pv_domain import BASE, L1, PvDomain

ACCESSED_AND_DIRTY = (Pte.ACCESSED | Pte.DIRTY).to_bytes(8, "little") * 512


def contents(domain: PvDomain) -> dict[int, int]:
    """What is in each frame of the domain, without accessed and dirty bits."""
    memory = memoryview(domain.machine)
    mask = ~int.from_bytes(ACCESSED_AND_DIRTY, "little")
    owned = [mfn for mfn in range(domain.machine.nr_frames) if domain.frame(mfn).owner == domain.domid]
    return {mfn: int.from_bytes(memory[mfn << 12 : (mfn + 1) << 12], "little") & mask for mfn in owned}


def writable(domain: PvDomain) -> set[int]:
    return {mfn for mfn in range(domain.machine.nr_frames) if domain.frame(mfn).type == Type.WRITABLE}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_guest_does_a_frame_that_was_not_told_of_is_as_it_was(seed: int) -> None:
    guest = Guest(seed)
    guest.live(200, audit_every=200, compare_every=1000)
    told = 0
    guest.domain.log_dirty()
    for _ in range(25):
        could_be_written = writable(guest.domain)
        before = contents(guest.domain)
        guest.live(20, audit_every=20, compare_every=1000)
        logged, after = guest.domain.logged(), contents(guest.domain)
        changed = {mfn for mfn in before.keys() & after.keys() if before[mfn] != after[mfn]}
        assert changed <= could_be_written | logged
        told += len((changed & logged) - could_be_written)
    assert told > 25
    guest.die()


def test_a_frame_is_told_of_when_it_becomes_writable_before_anything_is_written() -> None:
    domain = Kernel(16)
    mfn = domain.table()
    domain.log_dirty()
    assert domain.unprotect(domain.pfn(mfn)) == 0
    assert domain.logged() == {mfn, domain.frames[L1]}
    assert domain.hold(mfn) == 0
    assert domain.logged() == {mfn}
    domain.let_go(mfn)
    assert domain.while_others_write([mfn], lambda: None) >= 0


def test_what_xenia_writes_is_told_of() -> None:
    domain = Kernel(16)
    mfn, table = domain.frames[SCRATCH], domain.pinned(1)
    domain.log_dirty()
    assert domain.write(BASE + 4096 * (SCRATCH - 1) + 4090, b"across two pages") == 0
    assert domain.logged() == {domain.frames[SCRATCH - 1], mfn}
    assert domain.update(table, 3, mfn << 12 | Pte.READ_ONLY) == 0
    assert domain.logged() == {table}
    assert domain.op(Op.CLEAR_PAGE, mfn) == 0
    assert domain.logged() == {mfn}
    assert domain.update(mfn, 0, 1) == 0
    assert domain.logged() == {mfn}


def test_a_descriptor_page_is_told_of_when_it_is_checked_and_when_it_changes() -> None:
    domain = Kernel(16)
    mfn = domain.table()
    domain.log_dirty()
    assert domain.set_gdt([mfn], 512) == 0
    assert mfn in domain.logged()
    assert domain.update_descriptor(mfn << 12, 0x00CFF3000000FFFF) == 0
    assert mfn in domain.logged()


def test_reading_and_a_refusal_to_read_tell_of_nothing() -> None:
    domain = Kernel(16)
    domain.log_dirty()
    assert domain.read(BASE + 4096 * SCRATCH, 64) == bytes(64)
    assert domain.read(1 << 40, 8) is None
    assert domain.logged() == set()
