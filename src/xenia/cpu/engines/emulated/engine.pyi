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

from xenia.cpu.capabilities import Capabilities
from xenia.cpu.engine import Engine
from xenia.machine.machine import MachineMemory

CAPABILITIES: Capabilities

class EmulatedEngine(Engine):
    """An engine for one vcpu over `memory`.  Raises HypervisorBug when Unicorn is not laid out as expected."""
    def __init__(self, memory: MachineMemory) -> None: ...
    def stale_translations(self) -> list[tuple[int, int, str, bool]]:
        """Compares each entry of the TLB with a walk of the current page tables; the first 64 that differ."""
        ...
    @property
    def statistics(self) -> dict[str, int]:
        """And `blocks` that were translated, and `links` between those of two pages; they may be gone by now."""
        ...

def new(memory: MachineMemory) -> Engine:
    """See registry.EngineModule; these three."""
    ...

def reserve(nr: int) -> int:
    """Memory for translated code."""
    ...

def self_test() -> str:
    """Make an engine, which checks that Unicorn is laid out as expected."""
    ...
