"""The pages that a guest shares with Xen and with backends: whatever it does to them, they stay what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from tests.guests.tiny import kernel
from xenia import Machine
from xenia.shutdown import Reason

pytestmark = pytest.mark.guest

MIB = 1 << 20
LIMIT = 120
NOBODY = (1 << 64) - 1  # in the M2P
SECRET = b"THE VICTIM'S SECRET"


class Neighbours:
    """A victim that stands still, and an attacker beside it, in a machine that checks every translation."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.victim = machine.create_domain(kernel("shutdown_reboot"), name="victim", memory=8 * MIB)
        memory = self.victim.handle.machine.memory
        self.frames = [mfn for mfn, pfn in enumerate(memory.m2p) if pfn != NOBODY]
        memoryview(memory)[self.frames[-1] << 12 :][: len(SECRET)] = SECRET
        self.before = self.digest()
        self.output = bytearray()

    def digest(self) -> bytes:
        """Of all that the victim has."""
        memory = memoryview(self.victim.handle.machine.memory)
        return hashlib.sha256(b"".join(memory[mfn << 12 : (mfn + 1) << 12] for mfn in self.frames)).digest()

    def attack(self, program: str, cmdline: str) -> None:
        """Let the attacker run to its end; the victim is unharmed, and everybody's frames are accounted for."""
        attacker = self.machine.create_domain(
            kernel(program), name="attacker", memory=8 * MIB, cmdline=cmdline, console=self.output.extend
        )
        attacker.start()
        ended = attacker.wait(LIMIT)
        assert ended is not None and ended.reason is Reason.POWEROFF, (ended, self.output)
        attacker.handle.stop()
        assert self.digest() == self.before
        assert attacker.handle.audit() == []
        assert self.victim.handle.audit() == []
        attacker.destroy()


@pytest.fixture
def neighbours() -> Iterator[Neighbours]:
    with Machine(Machine.memory_for(8 * MIB, 8 * MIB), check=True) as machine:
        yield Neighbours(machine)


def test_the_store_writes_no_page_table_entries(neighbours: Neighbours) -> None:
    neighbours.attack("store_page", f"{neighbours.frames[-1]:x}")
    assert neighbours.output.decode().rstrip() == (
        "read-only 0, pinned -22, below an L2 -22, the store answered with the entry"
    )


@pytest.mark.parametrize("seed", range(4))
def test_what_is_shared_stays_ordinary_memory_of_its_owner(neighbours: Neighbours, seed: int) -> None:
    free = neighbours.machine.free_memory
    neighbours.attack("sharing", str(seed))
    assert neighbours.machine.free_memory == free
