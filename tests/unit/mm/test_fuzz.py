"""A guest that does to its memory whatever comes to its mind, and what must hold all the same.

After every refusal nothing has changed; whenever one looks, the frame table agrees with a recount from scratch, and no
cached translation writes to a page table or leads to a free frame; at the end every frame comes back.
"""

import random
from collections.abc import Callable

import pytest

from tests.unit.mm.rules import Pte
from xenia.abi.xen import (
    MMUEXT_CLEAR_PAGE as CLEAR,
    MMUEXT_COPY_PAGE as COPY,
    MMUEXT_INVLPG_LOCAL as INVLPG_LOCAL,
    MMUEXT_NEW_BASEPTR as NEW_BASEPTR,
    MMUEXT_NEW_USER_BASEPTR as NEW_USER_BASEPTR,
    MMUEXT_PIN_L1_TABLE as PIN_L1,
    MMUEXT_SET_LDT as SET_LDT,
    MMUEXT_TLB_FLUSH_LOCAL as FLUSH_LOCAL,
    MMUEXT_UNPIN_TABLE as UNPIN,
)
from xenia.machine.machine import MachineMemory
from xenia.testing.pv_domain import BASE, FIRST_FREE, L1, L2, L3, L4, REQUESTS, PvDomain

PRESENT, WRITABLE, USER, ACCESSED = Pte.PRESENT, Pte.WRITABLE, Pte.USER, Pte.ACCESSED
DIRTY, PSE, GLOBAL = Pte.DIRTY, Pte.PSE, Pte.GLOBAL
WRITABLE_TYPE = 7
LDT_AREA = 0xFFFF820000010000
PAGES = 40


class Guest:
    """A seeded random guest with a neighbour whose frames it covets."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.machine = MachineMemory(160 << 12, scatter=seed)
        self.neighbour = PvDomain(12, machine=self.machine, domid=2)
        self.free = self.machine.nr_free
        self.domain = PvDomain(PAGES, machine=self.machine, domid=1)
        self.rings = self.domain.frames[FIRST_FREE : FIRST_FREE + 2]  # of the store and the console, with backends
        assert [self.domain.hold(mfn) for mfn in self.rings] == [0, 0]
        self.tables = set(self.domain.frames[:4])
        self.root = self.domain.frames[L4]
        self.refused = self.accepted = 0
        self.verbs: list[tuple[Callable[[], int | None], int]] = [
            (self.store, 30),
            (self.remap, 20),
            (self.pin, 8),
            (self.unpin, 6),
            (self.update, 30),
            (self.baseptr, 3),
            (self.user_baseptr, 3),
            (self.gdt, 2),
            (self.ldt, 3),
            (self.ldt_fault, 3),
            (self.descriptor, 3),
            (self.give_back, 2),
            (self.take, 2),
            (self.look, 20),
            (self.flush, 3),
            (self.copy, 3),
            (self.batch, 2),
            (self.backend, 5),
        ]
        self.population = [verb for verb, _ in self.verbs]
        self.weights = [weight for _, weight in self.verbs]

    # --- choices ---

    def backend(self) -> None:
        """A backend writes what the guest likes to its ring."""
        self.domain.poke(self.random.choice(self.rings), self.index(), self.pte())
        for mfn in self.rings:
            frame = self.domain.frame(mfn)
            assert (frame.owner, frame.type) == (self.domain.domid, WRITABLE_TYPE)

    def own_pfn(self) -> int:
        return self.random.randrange(FIRST_FREE, len(self.domain.frames))

    def mfn(self) -> int:
        dice = self.random.random()
        if dice < 0.05:
            return self.random.choice(self.rings)
        if dice < 0.85:
            return self.domain.frames[self.own_pfn()]
        if dice < 0.93:
            return self.random.choice(self.domain.frames[:FIRST_FREE])
        if dice < 0.95:
            return self.random.choice(self.neighbour.frames)
        if dice < 0.97:
            return self.random.choice((0, 1, 2, 3, self.domain.perdomain_l1, self.machine.nr_frames))
        return self.random.choice((self.random.randrange(self.machine.nr_frames), 0xFFFFFFFFFF, 1 << 39))

    def pte(self) -> int:
        flags = self.random.choice((0, 1, 1, 3, 3, 5, 7, 7, 0x21, 0x25, 0x63, 0x67))
        if self.random.random() < 0.04:
            flags |= 1 << self.random.choice((3, 4, 7, 8, 9, 10, 11))
        pte = self.mfn() << 12 | flags
        if self.random.random() < 0.04:
            pte ^= 1 << self.random.choice((51, 52, 58, 62, 63))
        return pte & (1 << 64) - 1

    def index(self) -> int:
        return self.random.choice((0, 0, 1, 1, 2, 3, 5, 255, 256, 258, 260, 271, 272, 273, 511))

    def spared(self, mfn: int, index: int) -> bool:
        """What holds up the hypercall arguments themselves stays."""
        if mfn == self.domain.frames[L1]:
            return REQUESTS <= index < REQUESTS + 4
        return (mfn, index) in {(self.domain.frames[L4], 272), (self.domain.frames[L3], 0), (self.domain.frames[L2], 0)}

    # --- verbs: None, or the errno of a refusal that must have changed nothing ---

    def store(self) -> int | None:
        pfn, index = self.random.randrange(len(self.domain.frames)), self.index()
        if pfn < FIRST_FREE and (pfn >= REQUESTS or self.spared(self.domain.frames[pfn], index)):
            return None
        value, size = self.pte(), 8
        if self.random.random() < 0.1:
            size = self.random.choice((1, 2, 4))
        return self.domain.store(BASE + 4096 * pfn + 8 * index, value, size)

    def remap(self) -> int | None:
        pfn = self.own_pfn()
        mfn = self.domain.frames[pfn] if self.random.random() < 0.8 else self.mfn()
        flags = self.random.choice((0x61, 0x61, 0x63, 0x63, 0, 0x67, 0x65))
        if pfn >= 512:
            return None
        return self.domain.update_va_mapping(BASE + 4096 * pfn, mfn << 12 | flags, self.random.choice((0, 0, 2, 1)))

    def pin(self) -> int | None:
        return self.domain.op(PIN_L1 + self.random.randrange(4), self.mfn())

    def unpin(self) -> int | None:
        mfn = self.mfn()
        return self.domain.op(UNPIN, mfn) if mfn != self.root else None

    def update(self) -> int | None:
        mfn, index = self.mfn(), self.index()
        if self.spared(mfn, index) or mfn in self.domain.frames[REQUESTS:FIRST_FREE]:
            return None
        return self.domain.update(mfn, index, self.pte(), self.random.choice((0, 0, 0, 2, 2, 3, 1, 4, 7)))

    def batch(self) -> int | None:
        requests = []
        for _ in range(self.random.randrange(6)):
            mfn, index = self.mfn(), self.index()
            if not self.spared(mfn, index) and mfn not in self.domain.frames[REQUESTS:FIRST_FREE]:
                requests.append((mfn << 12 | index << 3, self.pte()))
        self.domain.mmu_update(requests)
        return None

    def baseptr(self) -> int | None:
        result = self.domain.op(NEW_BASEPTR, self.mfn())
        if result == 0:
            self.domain.touch(BASE + 4096 * self.own_pfn(), True)
            assert self.domain.base_pointer(self.root) == 0
        return result

    def user_baseptr(self) -> int | None:
        return self.domain.op(NEW_USER_BASEPTR, 0 if self.random.random() < 0.4 else self.mfn())

    def gdt(self) -> int | None:
        frames = [self.mfn() for _ in range(self.random.randrange(4))]
        entries = 512 * len(frames) if self.random.random() < 0.9 else self.random.choice((1, 7169, 8192))
        if entries <= 7168 and entries > 512 * len(frames):
            return None
        return self.domain.set_gdt(frames, entries)

    def ldt(self) -> int | None:
        base = BASE + 4096 * self.own_pfn() + self.random.choice((0, 0, 0, 8))
        return self.domain.op(
            SET_LDT, self.random.choice((base, base, 0, LDT_AREA)), self.random.choice((0, 1, 512, 1024, 8192, 8193))
        )

    def ldt_fault(self) -> int | None:
        self.domain.map_ldt_page(LDT_AREA + 4096 * self.random.randrange(17))
        self.domain.find_descriptor(self.random.randrange(65536))
        return None

    def descriptor(self) -> int | None:
        mfn, index = self.mfn(), self.index()
        if mfn in self.domain.frames[REQUESTS:FIRST_FREE]:
            return None
        return self.domain.update_descriptor(mfn << 12 | index << 3, self.random.getrandbits(64))

    def give_back(self) -> int | None:
        mfn = self.mfn()
        if mfn not in self.domain.frames[:FIRST_FREE]:
            self.domain.release(mfn)
        return None

    def take(self) -> int | None:
        if self.machine.nr_free and len(self.domain.frames) < 512:
            self.domain.allocate(1)
        return None

    def look(self) -> int | None:
        self.domain.touch(BASE + 4096 * self.random.randrange(PAGES), self.random.random() < 0.7)
        return None

    def flush(self) -> int | None:
        if self.random.random() < 0.5:
            return self.domain.op(FLUSH_LOCAL)
        return self.domain.op(INVLPG_LOCAL, BASE + 4096 * self.own_pfn())

    def copy(self) -> int | None:
        target = self.mfn()
        if target in self.domain.frames[REQUESTS:FIRST_FREE]:
            return None
        return self.domain.op(COPY, target, self.mfn()) if self.random.random() < 0.8 else self.domain.op(CLEAR, target)

    # --- the story ---

    def act(self, compare: bool) -> None:
        verb = self.random.choices(self.population, self.weights)[0]
        before = self.domain.snapshot() if compare else b""
        result = verb()
        if result is not None and result < 0:
            self.refused += 1
            assert not compare or self.domain.snapshot() == before, (
                f"{verb.__name__} was refused ({result}), and something changed"
            )
        else:
            self.accepted += 1

    def live(self, steps: int, audit_every: int, compare_every: int) -> None:
        for step in range(steps):
            self.act(step % compare_every == 0)
            if step % audit_every == 0:
                assert self.domain.audit() == [], f"after step {step}"

    def die(self) -> None:
        assert self.domain.audit() == []
        assert self.neighbour.audit() == []
        for mfn in self.rings:
            self.domain.let_go(mfn)
        assert self.domain.relinquish() == 0
        assert self.machine.nr_free == self.free


@pytest.mark.parametrize("seed", range(8))
def test_a_guest_may_do_what_it_likes_and_the_frame_table_stays_right(seed: int) -> None:
    guest = Guest(seed)
    guest.live(4000, audit_every=20, compare_every=23)
    guest.die()
    assert guest.accepted > 1000
    assert guest.refused > 500
