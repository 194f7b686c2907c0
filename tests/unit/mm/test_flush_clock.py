"""A frame that was writable becomes a page table only when no processor of the domain can still write to it.

Each processor here keeps its translations until it is told to drop them (`dangerous` in the audit sees those that lead
where they may not), so a flush too few shows; and a frame that needs none gets none.
"""

import itertools

import pytest

from tests.unit.mm.rules import SCRATCH, Kernel, Op
from xenia.testing.pv_domain import BASE

VA = BASE + 4096 * SCRATCH


class Two(Kernel):
    """A guest with two vcpus."""

    def __init__(self) -> None:
        super().__init__(16)
        self.add_processor()

    def flush(self, number: int) -> None:
        """That vcpu drops its translations, all of them."""
        self.run_on(number)
        assert self.op(Op.FLUSH_LOCAL) == 0
        self.run_on(0)

    def both_write(self) -> int:
        """Both have a translation that lets them write to a page; its frame."""
        for number in (0, 1):
            self.run_on(number)
            assert self.touch(VA, write=True) is not None
        self.run_on(0)
        return self.frames[SCRATCH]

    def lose(self) -> None:
        """The page is mapped read-only, and nobody flushes."""
        assert self.update_va_mapping(VA, self.frames[SCRATCH] << 12 | 0x61) == 0

    def notes(self, kind: str) -> list[int]:
        """How often each was told that since the last time one asked."""
        counts = [sum(note[0] == kind for note in processor.notes) for processor in self.processors]
        for processor in self.processors:
            processor.forget()
        return counts


def test_a_frame_that_lost_its_writer_is_flushed_on_every_processor_before_it_is_a_table() -> None:
    domain = Two()
    mfn = domain.both_write()
    domain.lose()
    domain.notes("flush_frame")
    assert domain.op(Op.PIN_L1, mfn) == 0
    assert domain.notes("flush_frame") == [1, 1]
    assert domain.audit() == []


@pytest.mark.parametrize("flushes", [[0], [1], [0, 0, 0], [1, 1, 1], [0, 1], [1, 0]])
def test_flushes_of_some_or_before_the_loss_are_not_enough(flushes: list[int]) -> None:
    # The flushes of the last two come before the loss, but after the last that was counted.
    domain = Two()
    mfn = domain.both_write()
    if len(set(flushes)) == 2:
        for number in flushes:
            domain.flush(number)
        domain.both_write()
        domain.lose()
    else:
        domain.lose()
        for number in flushes:
            domain.flush(number)
    assert domain.op(Op.PIN_L1, mfn) == 0
    assert domain.audit() == []


@pytest.mark.parametrize("flushes", list(itertools.product((0, 1), repeat=4)))
@pytest.mark.parametrize("lost_after", range(5))
def test_whatever_the_order_of_flushes_nobody_can_write_to_a_table(flushes: tuple[int, ...], lost_after: int) -> None:
    domain = Two()
    mfn = domain.both_write()
    other = domain.page()
    for step in range(5):
        if step == lost_after:
            domain.both_write()
            domain.lose()
        # Another frame loses its writer too: the time is asked in between.
        assert domain.protect(other) == 0
        assert domain.unprotect(other) == 0
        if step < len(flushes):
            domain.flush(flushes[step])
    assert domain.op(Op.PIN_L1, mfn) == 0
    assert domain.audit() == []


def test_once_all_have_flushed_twice_over_nothing_more_is_flushed() -> None:
    domain = Two()
    mfn = domain.both_write()
    domain.lose()
    for _ in range(2):
        for number in (0, 1):
            domain.flush(number)
        domain.protect(domain.page())  # the time is asked
        domain.unprotect(SCRATCH + 1)
    domain.notes("flush_frame")
    assert domain.op(Op.PIN_L1, mfn) == 0
    assert domain.notes("flush_frame") == [0, 0]
    assert domain.audit() == []


def test_what_one_vcpu_asks_for_itself_is_done_on_its_processor_and_what_it_asks_for_all_on_all() -> None:
    domain = Two()
    domain.poke(domain.frames[SCRATCH], 0, 1 << 1)
    asked = [
        (Op.FLUSH_LOCAL, 0, [1, 0]),
        (Op.FLUSH_ALL, 0, [1, 1]),
        (Op.FLUSH_MULTI, VA, [0, 1]),
    ]
    for command, argument, expected in asked:
        domain.notes("flush_all")
        assert domain.op(command, 0, argument) == 0
        assert domain.notes("flush_all") == expected
    for command, argument, expected in [
        (Op.INVLPG_LOCAL, 0, [1, 0]),
        (Op.INVLPG_ALL, 0, [1, 1]),
        (Op.INVLPG_MULTI, VA, [0, 1]),
    ]:
        domain.notes("flush_page")
        assert domain.op(command, BASE, argument) == 0
        assert domain.notes("flush_page") == expected


def test_a_frame_that_is_given_back_is_forgotten_on_every_processor() -> None:
    domain = Two()
    mfn = domain.both_write()
    assert domain.update_va_mapping(VA, 0) == 0
    domain.notes("flush_frame")
    assert domain.release(mfn)
    assert all(domain.notes("flush_frame"))
    assert domain.audit() == []
