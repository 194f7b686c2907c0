"""What a guest must not get away with: refused with Xen's errno, nothing changed (tests/guests/answers/attacks.txt)."""

from dataclasses import dataclass

import pytest

from tests.unit.mm.rules import SCRATCH, Kernel, Op, Pte, refused
from xenia.abi.errno import Errno
from xenia.machine.machine import MachineMemory
from xenia.testing.pv_domain import BASE, L1, L2, L3, L4, PvDomain

M2P = 0xFFFF800000000000
PERDOMAIN = 0xFFFF820000000000


@dataclass
class Scene:
    """The attacker, its victim on the same machine, and names for what the attacker aims at."""

    attacker: Kernel
    victim: PvDomain

    def frame(self, name: str) -> int:
        own = self.attacker.frames
        return {
            "frame 0": 0,
            "a frame of Xen's": 1,
            "the M2P's L1": self.attacker.machine.nr_frames * 8 // 4096 + 2,
            "no such frame": 0x7FFFFFFF,
            "the highest frame": 0xFFFFFFFFFF,
            "the victim's data": self.victim.frames[SCRATCH],
            "the victim's L1": self.victim.frames[L1],
            "the victim's L4": self.victim.frames[L4],
            "the per-domain L1": self.attacker.perdomain_l1,
            "a free frame": self.attacker.machine.nr_frames - 1,
            "own data": own[SCRATCH],
            "own L1": own[L1],
            "own L2": own[L2],
            "own L3": own[L3],
            "own L4": own[L4],
        }[name]


@pytest.fixture
def scene() -> Scene:
    machine = MachineMemory(128 << 12)
    return Scene(Kernel(40, machine=machine, domid=1), PvDomain(24, machine=machine, domid=2))


@pytest.mark.parametrize("flags", [Pte.KERNEL, Pte.READ_ONLY, Pte.PRESENT | Pte.WRITABLE, Pte.TABLE])
@pytest.mark.parametrize(
    ("target", "errno"),
    [
        ("frame 0", -Errno.EPERM),
        ("a frame of Xen's", -Errno.EBUSY),
        ("the M2P's L1", -Errno.EBUSY),
        ("the per-domain L1", -Errno.EBUSY),
        ("no such frame", -Errno.EPERM),
        ("the highest frame", -Errno.EINVAL),
        ("the victim's data", -Errno.EBUSY),
        ("the victim's L1", -Errno.EBUSY),
        ("the victim's L4", -Errno.EBUSY),
        ("a free frame", -Errno.EBUSY),
    ],
)
def test_no_entry_maps_a_frame_that_is_not_the_guests(scene: Scene, target: str, errno: int, flags: int) -> None:
    guest, mfn = scene.attacker, scene.frame(target)
    before = guest.snapshot()
    assert guest.update(guest.frames[L1], SCRATCH, mfn << 12 | flags) == errno
    assert guest.update_va_mapping(BASE + 4096 * SCRATCH, mfn << 12 | flags) == errno
    assert refused(guest, before)
    assert scene.victim.audit() == []


@pytest.mark.parametrize("target", ["own L1", "own L2", "own L3", "own L4"])
def test_no_page_table_is_ever_mapped_writable(scene: Scene, target: str) -> None:
    guest, mfn = scene.attacker, scene.frame(target)
    before = guest.snapshot()
    for flags in (Pte.KERNEL, Pte.PRESENT | Pte.WRITABLE, Pte.TABLE):
        assert guest.update(guest.frames[L1], SCRATCH, mfn << 12 | flags) == -Errno.EBUSY
    assert refused(guest, before)
    assert guest.touch(BASE + 4096 * guest.pfn(mfn), write=True) is None


@pytest.mark.parametrize(
    ("level", "target"),
    [
        (level, target)
        for level in (2, 3, 4)
        for target in (
            "frame 0",
            "a frame of Xen's",
            "no such frame",
            "the victim's data",
            "the victim's L1",
            "the victim's L4",
            "own data",
            "the per-domain L1",
            "a free frame",
            "own L1",
            "own L2",
            "own L3",
            "own L4",
        )
        if target != f"own L{level - 1}"
    ],
)
def test_an_entry_leads_to_a_table_of_the_level_below_and_to_nothing_else(
    scene: Scene, level: int, target: str
) -> None:
    guest = scene.attacker
    table = guest.pinned(level)
    before = guest.snapshot()
    assert guest.update(table, 7, scene.frame(target) << 12 | Pte.TABLE) == -Errno.EINVAL
    assert refused(guest, before)
    assert scene.victim.audit() == []


@pytest.mark.parametrize("bits", [Pte.PSE, Pte.GLOBAL, 1 << 3, 1 << 4, 1 << 51])
@pytest.mark.parametrize("level", [2, 3, 4])
def test_upper_entries_have_no_large_pages_and_no_reserved_bits(scene: Scene, level: int, bits: int) -> None:
    guest = scene.attacker
    table, below = guest.pinned(level), guest.table()
    before = guest.snapshot()
    assert guest.update(table, 7, below << 12 | Pte.TABLE | bits) == -Errno.EINVAL
    assert refused(guest, before)
    assert guest.update(table, 7, below << 12 | Pte.TABLE) == 0
    before = guest.snapshot()
    assert guest.update(table, 7, below << 12 | Pte.TABLE | bits) == -Errno.EINVAL  # nor afterwards
    assert refused(guest, before)


@pytest.mark.parametrize("slot", range(256, 272))
def test_the_hypervisors_slots_are_not_the_guests(scene: Scene, slot: int) -> None:
    guest = scene.attacker
    root, good = guest.frames[L4], guest.pinned(3)
    before = guest.snapshot()
    for value in (good << 12 | Pte.TABLE, 0, guest.word(root, slot), root << 12 | Pte.PRESENT, 1):
        assert guest.update(root, slot, value) == -Errno.EINVAL
    assert refused(guest, before)


@pytest.mark.parametrize("slot", [0, 255, 272, 511])
def test_the_slots_beside_them_are(scene: Scene, slot: int) -> None:
    guest = scene.attacker
    table, good = guest.pinned(4), guest.pinned(3)
    assert guest.update(table, slot, good << 12 | Pte.TABLE) == 0
    assert guest.audit() == []


def test_what_a_guest_put_into_the_hypervisors_slots_beforehand_is_gone_when_the_table_is_validated(
    scene: Scene,
) -> None:
    guest = scene.attacker
    planted = [(slot, scene.frame("a frame of Xen's") << 12 | Pte.TABLE) for slot in range(256, 272)]
    root = guest.table(*planted)
    assert guest.op(Op.PIN_L4, root) == 0
    assert [guest.word(root, slot) for slot in range(256, 272)] == [
        guest.word(guest.frames[L4], slot) for slot in range(256, 272)
    ]
    assert guest.audit() == []


def test_the_hypervisors_area_can_be_read_and_never_written(scene: Scene) -> None:
    guest = scene.attacker
    assert guest.touch(M2P) is not None
    assert guest.touch(M2P + 8 * guest.frames[SCRATCH], write=True) is None
    assert guest.touch(PERDOMAIN, write=True) is None
    assert guest.touch(PERDOMAIN + 14 * 4096, write=True) is None
    assert guest.write(M2P, b"x") < 0
    assert guest.read(M2P, 8) is None


@pytest.mark.parametrize("index", [0, 3, 511])
@pytest.mark.parametrize(
    ("contents", "errno"),
    [
        ("own L4", -Errno.EBUSY),
        ("the victim's data", -Errno.EBUSY),
        ("frame 0", -Errno.EPERM),
        ("a frame of Xen's", -Errno.EBUSY),
        ("no such frame", -Errno.EPERM),
    ],
)
def test_a_table_with_one_bad_entry_is_refused_as_a_whole(scene: Scene, contents: str, errno: int, index: int) -> None:
    guest = scene.attacker
    bad = guest.table((1, guest.frames[SCRATCH] << 12 | Pte.KERNEL), (index, scene.frame(contents) << 12 | Pte.KERNEL))
    l2 = guest.pinned(2)
    before = guest.snapshot()
    assert guest.op(Op.PIN_L1, bad) == errno
    assert guest.update(l2, 0, bad << 12 | Pte.TABLE) == errno
    assert refused(guest, before)
    assert guest.unprotect(guest.pfn(bad)) == 0


def test_a_table_that_maps_itself_writable_is_refused(scene: Scene) -> None:
    guest = scene.attacker
    bad = guest.table()
    guest.poke(bad, 3, bad << 12 | Pte.KERNEL)
    l2 = guest.pinned(2)
    before = guest.snapshot()
    assert guest.update(l2, 0, bad << 12 | Pte.TABLE) == -Errno.EBUSY
    assert refused(guest, before)


def test_a_writable_mapping_hidden_in_an_idle_table_counts_when_the_table_is_used(scene: Scene) -> None:
    # The table is written while it is nothing, with a writable mapping of what is to become a page table.
    guest = scene.attacker
    victim_table = guest.table()
    sneaky = guest.table((0, victim_table << 12 | Pte.KERNEL))
    assert guest.op(Op.PIN_L1, sneaky) == 0
    before = guest.snapshot()
    assert guest.op(Op.PIN_L1, victim_table) == -Errno.EINVAL
    assert refused(guest, before)


def test_two_tables_cannot_map_each_other_writable(scene: Scene) -> None:
    guest = scene.attacker
    first, second = guest.table(), guest.table()
    guest.poke(first, 0, second << 12 | Pte.KERNEL)
    guest.poke(second, 0, first << 12 | Pte.KERNEL)
    assert guest.op(Op.PIN_L1, first) == 0  # second is now writable memory
    before = guest.snapshot()
    assert guest.op(Op.PIN_L1, second) == -Errno.EINVAL
    assert refused(guest, before)


def test_a_page_table_of_the_victims_is_nothing_to_the_attacker(scene: Scene) -> None:
    guest, victim = scene.attacker, scene.victim
    before = guest.snapshot()  # of the whole machine, the victim's frames too
    for pfn in (L1, L4, SCRATCH):
        mfn = victim.frames[pfn]
        assert guest.update(mfn, 5, 0) == -Errno.EINVAL
        assert guest.update(mfn, 0, 0x777, 1) == -Errno.EINVAL
        assert [guest.op(command, mfn) for command in (0, 3, 4, 5, 15, 16)] == [-Errno.EINVAL] * 6
        assert guest.op(17, mfn, guest.frames[SCRATCH]) == -Errno.EINVAL
        assert guest.op(17, guest.frames[SCRATCH], mfn) == -Errno.EINVAL
        assert guest.set_gdt([mfn], 512) == -Errno.EINVAL
        assert guest.update_descriptor(mfn << 12, 0) == -Errno.EINVAL
        assert not guest.release(mfn)
    assert refused(guest, before)
    assert victim.audit() == []


def test_a_frame_freed_and_given_to_another_domain_is_out_of_reach_at_once(scene: Scene) -> None:
    guest, victim = scene.attacker, scene.victim
    mfn = guest.frames[SCRATCH]
    assert guest.touch(BASE + 4096 * SCRATCH, write=True) is not None  # a writable translation is cached
    guest.release(mfn)
    assert guest.update_va_mapping(BASE + 4096 * SCRATCH, 0, 0) == 0  # and not flushed by the guest
    assert victim.allocate(1) == [mfn]
    assert guest.touch(BASE + 4096 * SCRATCH, write=True) is None
    assert guest.map(SCRATCH, mfn << 12 | Pte.KERNEL) == -Errno.EBUSY
    assert guest.audit() == []


# --- translations that outlive their entries ---


def test_a_cached_writable_translation_does_not_survive_its_frame_becoming_a_page_table(scene: Scene) -> None:
    guest = scene.attacker
    pfn = guest.page()
    va, mfn = BASE + 4096 * pfn, guest.frames[pfn]
    assert guest.touch(va, write=True) == mfn << 12
    assert guest.update_va_mapping(va, mfn << 12 | Pte.READ_ONLY, 0) == 0  # no flush asked for
    assert guest.touch(va, write=True) == mfn << 12  # so it is still cached
    assert guest.op(Op.PIN_L1, mfn) == 0
    assert guest.touch(va, write=True) is None
    assert guest.audit() == []


def test_nor_one_that_comes_in_through_a_tree(scene: Scene) -> None:
    guest = scene.attacker
    pfn = guest.page()
    va, mfn = BASE + 4096 * pfn, guest.frames[pfn]
    l2 = guest.pinned(2)
    guest.touch(va, write=True)
    assert guest.update_va_mapping(va, mfn << 12 | Pte.READ_ONLY, 0) == 0
    assert guest.update(l2, 0, mfn << 12 | Pte.TABLE) == 0
    assert guest.touch(va, write=True) is None


def test_nor_one_to_a_descriptor_table(scene: Scene) -> None:
    guest = scene.attacker
    pfn = guest.page()
    va, mfn = BASE + 4096 * pfn, guest.frames[pfn]
    guest.touch(va, write=True)
    assert guest.update_va_mapping(va, mfn << 12 | Pte.READ_ONLY, 0) == 0
    assert guest.set_gdt([mfn], 512) == 0
    assert guest.touch(va, write=True) is None
    assert guest.audit() == []


def test_no_flush_is_wasted_on_a_frame_that_was_flushed_since_its_last_use(scene: Scene) -> None:
    guest = scene.attacker
    mfn = guest.table()
    assert guest.op(6) == 0  # MMUEXT_TLB_FLUSH_LOCAL
    guest.processor.forget()
    assert guest.op(Op.PIN_L1, mfn) == 0
    assert [note for note in guest.processor.notes if note[0] == "flush_frame"] == []
