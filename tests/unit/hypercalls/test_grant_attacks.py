"""Two domains on two host threads, each attacking the other's grants: every frame's counts add up afterwards."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable

import pytest

from tests.unit.hypercalls.hypercalls import ARGUMENT, LIST
from tests.unit.hypercalls.test_grant_table import COPYING, MAPPING, UNMAPPING, setup
from xenia.abi.grant_table import (
    GNTMAP_host_map as HOST,
    GNTMAP_readonly as READONLY,
    GNTTABOP_copy as COPY,
    GNTTABOP_map_grant_ref as MAP,
    GNTTABOP_swap_grant_ref as SWAP,
    GNTTABOP_transfer as TRANSFER,
    GNTTABOP_unmap_grant_ref as UNMAP,
    GTF_permit_access as PERMIT,
)
from xenia.abi.xen import DOMID_SELF, Hypercall
from xenia.testing.fuzzer import fuzz
from xenia.testing.still import BASE, PAGES, StillDomain

ROUNDS = 1500
REFS = range(8, 16)


class Attacker:
    """One domain, and what it does, drawn from a seed."""

    def __init__(self, domain: StillDomain, other: int, seed: int, together: threading.Barrier) -> None:
        self.together = together
        self.domain = domain
        self.other = other
        self.draw = random.Random(seed)
        self.table = setup(domain, 1)[0]
        self.handles: list[tuple[int, int]] = []
        self.mapped = 0

    def attack(self) -> None:
        for index in range(ROUNDS):
            if index % 10 == 0:
                self.together.wait(60)  # neither gets far ahead
            self.draw.choice(
                (self.grant, self.grant, self.map, self.map, self.unmap, self.copy, self.retype, self.give)
            )()

    def grant(self) -> None:
        """Write any entry at any moment, also while the other domain looks at it."""
        page = self.draw.choice([*range(8, 24), PAGES, PAGES + 3])
        flags = self.draw.choice([0, PERMIT, PERMIT, PERMIT | 4, 2, self.draw.getrandbits(16)])
        place = (self.table << 12) + 8 * self.draw.choice(REFS)
        entry = struct.pack("<HHI", flags, self.draw.choice([self.other, 3]), self.domain.mfn(page))
        memoryview(self.domain.machine)[place : place + 8] = entry

    def call(self, command: int, layout: str, *fields: int) -> tuple[int, ...]:
        data = struct.pack(layout, *fields)
        self.domain.write(ARGUMENT, data)
        assert self.domain.call(Hypercall.GRANT_TABLE_OP, command, ARGUMENT, 1) == 0
        return struct.unpack(layout, self.domain.read(ARGUMENT, len(data)))

    def map(self) -> None:
        address = BASE + self.draw.randrange(24, 30) * 4096
        flags = HOST | self.draw.choice([0, READONLY])
        fields = self.call(MAP, MAPPING, address, flags, self.draw.choice(REFS), self.other, 99, 99, 99)
        if fields[4] == 0:
            self.mapped += 1
            self.handles.append((fields[5], address))

    def unmap(self) -> None:
        if self.handles:
            handle, address = self.handles.pop(self.draw.randrange(len(self.handles)))
            self.call(UNMAP, UNMAPPING, address if self.draw.random() < 0.9 else address + 4096, 0, handle, 99)

    def copy(self) -> None:
        mine = (self.domain.mfn(self.draw.randrange(8, 24)), DOMID_SELF, 0)
        theirs = (self.draw.choice(REFS), self.other, 0)
        if self.draw.random() < 0.5:
            self.call(COPY, COPYING, *mine, *theirs, 4096, 2, 99)
        else:
            self.call(COPY, COPYING, *theirs, *mine, 4096, 1, 99)

    def retype(self) -> None:
        """Make a page that may be granted read-only, a page table, writable again."""
        page = self.draw.randrange(8, 24)
        mfn = self.domain.mfn(page)
        self.domain.call(14, BASE + page * 4096, mfn << 12 | 0x61, 2)
        for command in (0, 4):
            self.domain.write(ARGUMENT, struct.pack("<QQQ", command, mfn, 0))
            self.domain.call(26, ARGUMENT, 1, 0, DOMID_SELF)
        self.domain.call(14, BASE + page * 4096, mfn << 12 | 0x63, 2)

    def give(self) -> None:
        """Give frames away, to Xen and to the other domain, and swap entries."""
        kind = self.draw.randrange(8)
        mfn = self.domain.mfn(self.draw.randrange(8, 12))
        if kind == 0:
            self.call(TRANSFER, "<QHxxIhxxxxxx", mfn, self.other, self.draw.choice(REFS), 99)
        elif kind == 1:
            self.domain.write(ARGUMENT, struct.pack("<QQIIHxxxxxx", LIST, 1, 0, 0, DOMID_SELF))
            self.domain.write(LIST, struct.pack("<Q", mfn))
            self.domain.call(Hypercall.MEMORY_OP, 1, ARGUMENT)
        else:
            self.call(SWAP, "<IIhxx", self.draw.choice(REFS), self.draw.choice(REFS), 99)


def run(*targets: Callable[[], object]) -> None:
    failures: list[BaseException] = []

    def guarded(target: Callable[[], object]) -> None:
        try:
            target()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("seed", range(6))
def test_domains_that_attack_each_others_grants_only_get_errors(seed: int) -> None:
    first = StillDomain(1, memory=2 << 20)
    second = StillDomain(2, beside=first)
    together = threading.Barrier(2)
    attackers = Attacker(first, 2, 2 * seed, together), Attacker(second, 1, 2 * seed + 1, together)
    run(*(attacker.attack for attacker in attackers))
    assert all(attacker.mapped > 10 for attacker in attackers)
    assert first.audit() + second.audit() == []
    # The first one dies with everything mapped; the second one gives back what it still holds of it.
    left = first.destroy()
    assert second.audit() == []
    second.destroy()
    assert left >= 0
    owners = [first.frame(mfn) for mfn in range(first.machine.nr_frames)]
    assert not [frame for frame in owners if frame[0] and frame[3] in (1, 2) and frame[2] != 6]


@pytest.mark.parametrize("seed", range(4))
def test_random_hypercalls_of_two_domains_at_once_leave_the_frame_table_consistent(seed: int) -> None:
    first = StillDomain(1, memory=4 << 20, spare=64)
    second = StillDomain(2, beside=first, spare=64)
    setup(first, 1)
    setup(second, 1)
    run(lambda: fuzz(first, 2 * seed, 20000), lambda: fuzz(second, 2 * seed + 1, 20000))
    assert first.audit() + second.audit() == []
