"""The GDT and the LDT: handed over frame by frame, checked, shown read-only, and changed one descriptor at a time."""

import pytest

from tests.unit.mm.rules import NO_FRAME, SCRATCH, Kernel, Op, Pte, Type, refused
from xenia.abi.errno import Errno
from xenia.testing.pv_domain import BASE, L1, L4

GDT = 0xFFFF820000000000
LDT = GDT + 0x10000
CODE64, CODE32, DATA = 0xE033, 0xE023, 0xE02B
ACCESSED = 1 << 40
RING3 = 3 << 45
FLAT_DATA = 0x00CFF2000000FFFF  # ring 3, not accessed
TSS = 0x000089000000FFFF


@pytest.fixture
def domain() -> Kernel:
    return Kernel(48)


def descriptor_table(domain: Kernel, *descriptors: tuple[int, int]) -> int:
    return domain.table(*descriptors)


def flat(domain: Kernel, selector: int) -> tuple[int, int]:
    found = domain.find_descriptor(selector)
    assert isinstance(found, tuple)
    base, limit, attributes = found
    assert (base, limit) == (0, 0xFFFFFFFF)
    return attributes >> 21 & 1, attributes >> 22 & 1  # L, D/B


def test_the_flat_descriptors_are_always_there(domain: Kernel) -> None:
    assert flat(domain, CODE64) == (1, 0)
    assert flat(domain, CODE32) == (0, 1)
    assert flat(domain, DATA) == (0, 1)
    assert domain.find_descriptor(0) == -Errno.EINVAL
    assert domain.find_descriptor(0xF000) == -Errno.EINVAL  # past the reserved page


def test_a_gdt_is_held_shown_and_let_go(domain: Kernel) -> None:
    first, second = descriptor_table(domain, (6, FLAT_DATA)), descriptor_table(domain, (1, FLAT_DATA))
    assert domain.set_gdt([first, second], 1024) == 0
    assert domain.frame(first).type == Type.SEG_DESC
    assert domain.touch(GDT) == first << 12
    assert domain.touch(GDT + 4096) == second << 12
    assert domain.touch(GDT, write=True) is None
    assert domain.find_descriptor(6 << 3 | 3) == (0, 0xFFFFFFFF, 0x00C0F300)
    assert domain.find_descriptor(513 << 3) == (0, 0xFFFFFFFF, 0x00C0F300)
    assert domain.audit() == []
    assert domain.set_gdt([], 0) == 0
    assert domain.frame(first).type_refs == 0
    assert domain.touch(GDT) not in (None, first << 12)  # the null page
    assert domain.audit() == []


def test_validation_moves_descriptors_to_ring_3_and_marks_them_accessed(domain: Kernel) -> None:
    ring0 = 0x00CF92000000FFFF
    frame = descriptor_table(domain, (1, ring0), (2, 0x1234))
    assert domain.set_gdt([frame], 512) == 0
    assert domain.word(frame, 1) == ring0 | RING3 | ACCESSED
    assert domain.word(frame, 2) == 0x1234


def test_a_gdt_with_one_bad_descriptor_is_refused_and_the_old_one_stays(domain: Kernel) -> None:
    good = descriptor_table(domain, (1, FLAT_DATA))
    assert domain.set_gdt([good], 512) == 0
    bad = descriptor_table(domain, (1, FLAT_DATA), (511, TSS))
    before = domain.snapshot()
    assert domain.set_gdt([good, bad], 1024) == -Errno.EINVAL
    assert refused(domain, before)


@pytest.mark.parametrize("frame", ["writable", "page table", "absent", "foreign"])
def test_a_gdt_frame_is_the_guests_own_and_nothing_else_at_the_time(domain: Kernel, frame: str) -> None:
    mfn = {"writable": domain.frames[SCRATCH], "page table": domain.frames[L4], "absent": NO_FRAME, "foreign": 1}[frame]
    before = domain.snapshot()
    assert domain.set_gdt([mfn], 512) == -Errno.EINVAL
    assert refused(domain, before)


@pytest.mark.parametrize("entries", [7169, 8192, 0xFFFFFFFF])
def test_a_gdt_stays_below_the_reserved_descriptors(domain: Kernel, entries: int) -> None:
    assert domain.set_gdt([descriptor_table(domain)] * 15, entries) == -Errno.EINVAL


def test_fourteen_pages_are_allowed_and_may_be_one_frame(domain: Kernel) -> None:
    frame = descriptor_table(domain, (1, FLAT_DATA))
    assert domain.set_gdt([frame] * 14, 14 * 512) == 0
    assert domain.frame(frame).type_refs == 14
    assert domain.audit() == []
    assert domain.set_gdt([], 0) == 0
    assert domain.frame(frame).type_refs == 0


def test_a_gdt_frame_is_not_writable_and_cannot_become_a_page_table(domain: Kernel) -> None:
    frame = descriptor_table(domain)
    assert domain.set_gdt([frame], 512) == 0
    before = domain.snapshot()
    assert domain.unprotect(domain.pfn(frame)) == -Errno.EBUSY
    assert domain.op(0, frame) == -Errno.EINVAL
    assert refused(domain, before)


def test_the_processor_is_told_to_flush_what_it_saw_of_the_old_gdt(domain: Kernel) -> None:
    frame = descriptor_table(domain)
    assert domain.set_gdt([frame], 512) == 0
    assert domain.touch(GDT) == frame << 12
    other = descriptor_table(domain)
    assert domain.set_gdt([other], 512) == 0
    assert domain.touch(GDT) == other << 12


# --- update_descriptor ---


def test_a_descriptor_in_use_is_changed_by_hypercall(domain: Kernel) -> None:
    frame = descriptor_table(domain)
    assert domain.set_gdt([frame], 512) == 0
    assert domain.update_descriptor(frame << 12 | 5 * 8, FLAT_DATA) == 0
    assert domain.word(frame, 5) == FLAT_DATA | ACCESSED
    assert domain.processor.notes[-1] == ("code_dirty", frame << 12 | 5 * 8, 8)
    assert domain.audit() == []


def test_and_in_a_frame_that_the_guest_could_write_itself(domain: Kernel) -> None:
    assert domain.update_descriptor(domain.frames[SCRATCH] << 12, FLAT_DATA) == 0
    assert domain.word(domain.frames[SCRATCH], 0) == FLAT_DATA | ACCESSED


@pytest.mark.parametrize(
    ("place", "descriptor"),
    [("unaligned", FLAT_DATA), ("page table", FLAT_DATA), ("foreign", FLAT_DATA), ("absent", FLAT_DATA), ("fine", TSS)],
)
def test_nothing_else_is_written_as_a_descriptor(domain: Kernel, place: str, descriptor: int) -> None:
    maddr = {
        "unaligned": domain.frames[SCRATCH] << 12 | 4,
        "page table": domain.frames[L1] << 12 | 8 * SCRATCH,
        "foreign": 1 << 12,
        "absent": NO_FRAME << 12,
        "fine": domain.frames[SCRATCH] << 12,
    }[place]
    before = domain.snapshot()
    assert domain.update_descriptor(maddr, descriptor) == -Errno.EINVAL
    assert refused(domain, before)


# --- the LDT ---


def with_ldt(domain: Kernel, pages: int = 1) -> list[int]:
    """An LDT of some pages at the end of the direct map; their frames."""
    frames = [descriptor_table(domain, (3, FLAT_DATA)) for _ in range(pages)]
    for n, frame in enumerate(frames):
        assert domain.map(40 + n, frame << 12 | Pte.READ_ONLY) == 0
    assert domain.op(Op.SET_LDT, BASE + 4096 * 40, 512 * pages) == 0
    return frames


def test_an_ldt_page_is_mapped_when_the_processor_first_asks_for_it(domain: Kernel) -> None:
    first, second = with_ldt(domain, 2)
    assert domain.processor.notes[-1] == ("set_ldt", LDT, 8 * 1024 - 1)
    assert domain.touch(LDT) is None
    assert domain.frame(first).type_refs == 0
    assert domain.map_ldt_page(LDT + 0x18)
    assert domain.touch(LDT) == first << 12
    assert domain.touch(LDT, write=True) is None
    assert domain.frame(first).type == Type.SEG_DESC
    assert domain.frame(second).type_refs == 0
    assert domain.map_ldt_page(LDT)  # again: nothing changes
    assert domain.frame(first).type_refs == 1
    assert domain.audit() == []


def test_a_selector_of_the_ldt_finds_its_descriptor(domain: Kernel) -> None:
    with_ldt(domain)
    assert domain.find_descriptor(3 << 3 | 7) == (0, 0xFFFFFFFF, 0x00C0F300)
    assert domain.find_descriptor(512 << 3 | 4) == -Errno.EINVAL  # past its end
    assert domain.audit() == []


def test_past_the_end_of_the_ldt_nothing_is_mapped(domain: Kernel) -> None:
    with_ldt(domain)
    assert not domain.map_ldt_page(LDT + 4096)
    assert not domain.map_ldt_page(LDT - 4096)
    assert domain.op(Op.SET_LDT, 0, 0) == 0
    assert not domain.map_ldt_page(LDT)
    assert domain.audit() == []


@pytest.mark.parametrize("obstacle", ["absent", "writable", "bad descriptor", "page table"])
def test_an_ldt_page_that_cannot_be_one_is_not_mapped(domain: Kernel, obstacle: str) -> None:
    frame = descriptor_table(domain, (0, TSS if obstacle == "bad descriptor" else 0))
    pte = {
        "absent": 0,
        "writable": domain.frames[SCRATCH] << 12 | Pte.KERNEL,
        "bad descriptor": frame << 12 | Pte.READ_ONLY,
        "page table": domain.frames[L4] << 12 | Pte.READ_ONLY,
    }[obstacle]
    assert domain.map(40, pte) == 0
    assert domain.op(Op.SET_LDT, BASE + 4096 * 40, 512) == 0
    before = domain.snapshot()
    assert not domain.map_ldt_page(LDT)
    assert domain.find_descriptor(4) == -Errno.EFAULT
    assert refused(domain, before)


@pytest.mark.parametrize(
    "event", ["another LDT", "another length", "no LDT", "another base pointer", "unmapped", "remapped"]
)
def test_ldt_pages_are_let_go_when_their_address_may_mean_something_else(domain: Kernel, event: str) -> None:
    (frame,) = with_ldt(domain)
    assert domain.map_ldt_page(LDT)
    assert domain.touch(LDT) == frame << 12
    if event == "another LDT":
        assert domain.op(Op.SET_LDT, BASE + 4096 * 41, 512) == 0
    elif event == "another length":
        assert domain.op(Op.SET_LDT, BASE + 4096 * 40, 100) == 0
    elif event == "no LDT":
        assert domain.op(Op.SET_LDT, 0, 0) == 0
    elif event == "another base pointer":
        assert domain.op(5, domain.pinned(4, (272, domain.word(domain.frames[L4], 272)))) == 0
    elif event == "unmapped":
        assert domain.map(40, 0) == 0
    else:
        assert domain.map(40, domain.frames[SCRATCH] << 12 | Pte.READ_ONLY) == 0
    assert domain.touch(LDT) is None
    assert domain.frame(frame).type_refs == 0
    assert domain.audit() == []


def test_the_same_ldt_again_keeps_its_pages(domain: Kernel) -> None:
    (frame,) = with_ldt(domain)
    assert domain.map_ldt_page(LDT)
    assert domain.op(Op.SET_LDT, BASE + 4096 * 40, 512) == 0
    assert domain.touch(LDT) == frame << 12
    assert domain.audit() == []


def test_an_ldt_frame_is_writable_again_once_it_is_let_go(domain: Kernel) -> None:
    (frame,) = with_ldt(domain)
    assert domain.map_ldt_page(LDT)
    assert domain.unprotect(domain.pfn(frame)) == -Errno.EBUSY
    assert domain.op(Op.SET_LDT, 0, 0) == 0
    assert domain.unprotect(domain.pfn(frame)) == 0
    assert domain.audit() == []
