"""The `emulated` engine: one vcpu's guest code, translated by Unicorn (QEMU's TCG).

Theory of operation.  Guest kernel code runs at CPL 1 and guest user code at CPL 3, on the guest's own page tables, over
machine memory as Unicorn's physical memory.  The register state lives in Unicorn's CPUX86State (registers.pxd) while
guest code runs.  At every exit what the core needs of it is pulled into the vcpu's Context, the core answers on that,
and what changed is pushed back; the rest is pulled when it is asked for.  What is kept only here can be made again from
that and from memory: translated code, cached translations, counts.  All of it is compiled and holds no GIL.

Only the privilege level, not selectors, separates the rings: CS and SS keep the selectors of the ABI (RPL 3), which
both modes load by the rules of ring 3 (segments.c), and the processor's notion of the current ring is set directly, by
`segments_ring` alone.  Nothing that the guest does changes it: descriptors are validated, gates and TSS do not exist,
and the page tables themselves decide what ring 1 may touch.
"""

from xenia.machine.machine import MachineMemory

class EmulatedEngine:
    """An engine for one vcpu over `memory`.  Raises HypervisorBug when Unicorn is not laid out as expected."""
    def __init__(self, memory: MachineMemory) -> None: ...
    def stale_translations(self) -> list[tuple[int, int, str, bool]]:
        """Every cached translation that the page tables do not give: (va, machine address, what differs, writable).

        Compares each entry of the engine's TLB with a walk of the current page tables; the first 64.
        """
        ...
    @property
    def statistics(self) -> dict[str, int]:
        """Counts since the engine was made; `links` between blocks of two pages were made, and may be gone."""
        ...

def reserve(nr: int) -> int:
    """Have memory for the translated code of `nr` engines yet to be made; for how many there is some."""
    ...

def self_test() -> str:
    """Make an engine, which checks that Unicorn is laid out as expected; what it is.  HypervisorBug if it is not."""
    ...
