"""Reaching into guest memory as the guest's kernel would."""

from collections.abc import Callable

import pytest

from tests.unit.mm.rules import SCRATCH, Kernel, Pte
from xenia.abi.errno import Errno
from xenia.testing.pv_domain import BASE, L1, L4

WINDOW = BASE + 4096 * SCRATCH


@pytest.fixture
def domain() -> Kernel:
    return Kernel(24, scatter=3)


def test_bytes_across_frames_that_do_not_follow_each_other(domain: Kernel) -> None:
    data = bytes(range(256)) * 40
    assert domain.write(WINDOW + 100, data) == 0
    assert domain.read(WINDOW + 100, len(data)) == data
    second = domain.frames[SCRATCH + 1] << 12
    assert bytes(memoryview(domain.machine)[second : second + 8]) == data[4096 - 100 : 4096 - 92]


def test_a_write_tells_the_processor_which_machine_memory_it_changed(domain: Kernel) -> None:
    domain.processor.forget()
    assert domain.write(WINDOW + 4090, bytes(12)) == 0
    assert domain.processor.notes == [
        ("code_dirty", (domain.frames[SCRATCH] << 12) + 4090, 6),
        ("code_dirty", domain.frames[SCRATCH + 1] << 12, 6),
    ]


def test_accessed_and_dirty_bits_are_set_as_the_processor_sets_them(domain: Kernel) -> None:
    assert domain.map(SCRATCH, domain.frames[SCRATCH] << 12 | Pte.PRESENT | Pte.WRITABLE) == 0
    assert domain.read(WINDOW, 1) is not None
    assert domain.word(domain.frames[L1], SCRATCH) & (Pte.ACCESSED | Pte.DIRTY) == Pte.ACCESSED
    assert domain.write(WINDOW, b"x") == 0
    assert domain.word(domain.frames[L1], SCRATCH) & (Pte.ACCESSED | Pte.DIRTY) == Pte.ACCESSED | Pte.DIRTY


def test_read_only_memory_is_read_and_not_written(domain: Kernel) -> None:
    assert domain.map(SCRATCH, domain.frames[SCRATCH] << 12 | Pte.READ_ONLY) == 0
    assert domain.read(WINDOW, 8) == bytes(8)
    assert domain.write(WINDOW, b"x") == -Errno.EFAULT


def test_page_tables_are_read_and_not_written(domain: Kernel) -> None:
    before = domain.snapshot()
    assert domain.read(BASE + 4096 * L4, 8) is not None
    assert domain.write(BASE + 4096 * L4, bytes(8)) == -Errno.EFAULT
    assert domain.write(BASE + 4096 * L1, bytes(8)) == -Errno.EFAULT
    assert domain.snapshot() == before


@pytest.mark.parametrize(
    "va",
    [
        0,
        0x1000,
        BASE + 4096 * 24,
        BASE + (1 << 39),
        0xFFFF800000000000,
        0xFFFF820000000000,
        BASE - 1,
        1 << 47,
        1 << 63,
        (1 << 64) - 1,
    ],
)
def test_what_is_not_mapped_or_not_the_guests_is_a_fault(domain: Kernel, va: int) -> None:
    assert domain.read(va, 1) is None
    assert domain.write(va, b"x") == -Errno.EFAULT


def test_a_range_that_runs_out_of_the_mapping_is_a_fault(domain: Kernel) -> None:
    end = BASE + 4096 * 24
    assert domain.read(end - 8, 8) == bytes(8)
    assert domain.read(end - 8, 9) is None
    assert domain.write(end - 8, bytes(9)) == -Errno.EFAULT


def test_a_range_that_runs_into_the_hypervisor_is_a_fault(domain: Kernel) -> None:
    assert domain.read(0xFFFF7FFFFFFFFFF8, 16) is None


def test_an_entry_of_an_upper_level_can_forbid_writing(domain: Kernel) -> None:
    root = domain.frames[L4]
    assert domain.update(root, 272, domain.word(root, 272) & ~Pte.WRITABLE) == 0
    assert domain.read(WINDOW, 1) is not None
    assert domain.write(WINDOW, b"x") == -Errno.EFAULT


def test_the_hypervisors_tables_are_not_reached_through_a_linear_mapping(domain: Kernel) -> None:
    root = domain.frames[L4]
    assert domain.update(root, 300, root << 12 | Pte.PRESENT) == 0
    for slot in (256, 260):
        va = 0xFFFF << 48 | 300 << 39 | slot << 30
        assert domain.write(va, bytes(8)) == -Errno.EFAULT
    assert domain.audit() == []


WRITES: dict[str, Callable[[Kernel, int], object]] = {
    "copy_to_guest": lambda domain, mfn: domain.write(WINDOW, b"\1"),
    "mmu_update": lambda domain, mfn: domain.mmu_update([(mfn << 12, 1)]),
}


@pytest.mark.parametrize("name", WRITES)
def test_the_processors_of_several_are_told_before_xen_writes(name: str, domain: Kernel) -> None:
    domain.add_processor()
    mfn = domain.frames[SCRATCH]
    domain.poke(mfn, 0, 0xA20F)
    WRITES[name](domain, mfn)
    assert domain.word(mfn, 0) != 0xA20F
    assert [processor.lent for processor in domain.processors] == [(mfn, 0xA20F)] * 2
