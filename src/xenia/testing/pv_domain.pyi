"""A domain that is nothing but memory: frames, page tables and descriptor tables, with a recording processor.

It starts as a PV kernel does.  Every one of its frames is mapped at BASE + 4096 * pfn: the first four, which are the
L4, L3, L2 and L1 of that mapping, read-only, the others writable.  Frames REQUESTS to REQUESTS + 3 hold the arguments
of its hypercalls.

There is no Domain around it, and so neither domain_create nor domain_destroy: the rules of mm/ are tried with nothing
but mm/, which knows no domain.  What is tried with one stands still (still.pyx).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from xenia.machine.machine import MachineMemory
from xenia.testing.lock import Asker
from xenia.testing.recorder import RecordingProcessor

BASE: int
REQUESTS: int
L4: int
L3: int
L2: int
L1: int
FIRST_FREE: int
DOMID_SELF: int

class FrameState(NamedTuple):
    """One row of the frame table.  The type is 0 where no reference needs it."""

    ...
    owner: int
    refs: int
    type: int
    type_refs: int
    pinned: bool
    validated: bool
    allocated: bool
    linear: int

class PvDomain:
    """`pages` frames (at most 512) of `machine`, or of machine memory of its own."""
    @property
    def machine(self) -> MachineMemory: ...
    @property
    def processor(self) -> RecordingProcessor: ...
    @property
    def processors(self) -> list[RecordingProcessor]: ...
    @property
    def frames(self) -> list[int]: ...
    @property
    def domid(self) -> int: ...
    @property
    def nr_written(self) -> int: ...
    def __init__(
        self, pages: int = 64, *, machine: MachineMemory | None = None, domid: int = 1, scatter: int | None = None
    ) -> None: ...
    def add_processor(self) -> RecordingProcessor:
        """One more vcpu's, on the same page tables; its number is its place in `processors`."""
        ...
    def run_on(self, number: int) -> None:
        """The hypercalls from here on are made by that processor's vcpu, and it is the one that touches."""
        ...
    def allocate(self, count: int) -> list[int]:
        """More frames; their mfns."""
        ...
    def release(self, mfn: int) -> bool:
        """Give a frame back as XENMEM_decrease_reservation does; whether it was the domain's to give."""
        ...
    def hold(self, mfn: int) -> int:
        """Xen holds a frame that it writes to, like the store's page: 0 or a negative errno."""
        ...
    def let_go(self, mfn: int) -> None:
        """It does so no longer."""
        ...
    def set_counts(self, mfn: int, refs: int, type_refs: int, linear: int = 0) -> None:
        """Have a frame be referenced that often, by whomever."""
        ...
    def frame(self, mfn: int) -> FrameState:
        """The frame table's row."""
        ...
    def word(self, mfn: int, index: int) -> int:
        """A 64-bit word of a frame."""
        ...
    def poke(self, mfn: int, index: int, value: int) -> None:
        """Set a 64-bit word of a frame, past all rules."""
        ...
    def snapshot(self) -> bytes:
        """All of machine memory but the request frames, and the frame table: for asking whether anything changed."""
        ...
    def audit(self) -> list[str]:
        """Every disagreement between the frame table and what holds frames, and every translation that is still cached
        and should not be."""
        ...
    def log_dirty(self) -> None:
        """Begin the log of frames that are written to or may be."""
        ...
    def logged(self) -> set[int]:
        """The frames of the log; it begins anew."""
        ...
    def touch(self, va: int, write: bool = False) -> int | None:
        """Read or write at `va` as guest code: the machine address, None on a page fault."""
        ...
    def store(self, va: int, value: int, size: int = 8) -> int | None:
        """A store by the guest's kernel: None when it simply happens; else it faults, and ptwr's answer: 1 not a page
        table of ours, 0 done, or -XEN_E*."""
        ...
    def writable_pagetables(self, on: bool) -> None:
        """The vm_assist."""
        ...
    def read(self, va: int, length: int) -> bytes | None:
        """copy_from_guest; None for -XEN_EFAULT."""
        ...
    def write(self, va: int, data: bytes) -> int:
        """copy_to_guest."""
        ...
    def mmu_update(self, requests: Sequence[tuple[int, int]], foreigndom: int = ...) -> tuple[int, int]:
        """mmu_update with (ptr, val) requests: the result (1: preempted) and how many were carried out."""
        ...
    def mmuext(self, operations: Sequence[tuple[int, int, int]], foreigndom: int = ...) -> tuple[int, int]:
        """mmuext_op with (cmd, arg1, arg2) operations: the result (1: preempted) and how many were carried out."""
        ...
    def raw_mmu_update(self, va: int, count: int, foreigndom: int = ...) -> tuple[int, int]:
        """mmu_update with any request address and count."""
        ...
    def update(self, mfn: int, index: int, value: int, command: int = 0) -> int:
        """One mmu_update of entry `index` of frame `mfn`."""
        ...
    def op(self, command: int, arg1: int = 0, arg2: int = 0) -> int:
        """One mmuext_op."""
        ...
    def update_va_mapping(self, va: int, pte: int, flags: int = 0) -> int:
        """update_va_mapping."""
        ...
    def map(self, pfn: int, pte: int) -> int:
        """update_va_mapping of the direct map's page `pfn`, with the flush that a kernel would ask for."""
        ...
    def protect(self, pfn: int) -> int:
        """Make the direct map's page `pfn` read-only."""
        ...
    def unprotect(self, pfn: int) -> int:
        """Make the direct map's page `pfn` writable."""
        ...
    def base_pointer(self, mfn: int) -> int:
        """MMUEXT_NEW_BASEPTR, whatever the guest has mapped."""
        ...
    def set_gdt(self, mfns: Sequence[int], entries: int) -> int:
        """set_gdt."""
        ...
    def update_descriptor(self, maddr: int, descriptor: int) -> int:
        """update_descriptor."""
        ...
    def map_ldt_page(self, va: int) -> bool:
        """What a page fault in the LDT area asks for."""
        ...
    def find_descriptor(self, selector: int) -> tuple[int, int, int] | int:
        """Base, limit and attributes of what a selector names, or -XEN_E*."""
        ...
    @property
    def asker(self) -> Asker:
        """Somebody else who wants its lock."""
        ...
    def while_others_write(self, mfns: Sequence[int], operation: Callable[[], object]) -> int:
        """Carry `operation` out while somebody who was granted the frames takes each for writing, writes rubbish, puts
        back what was there, and lets go of it, again and again.  How often."""
        ...
    @property
    def tot_pages(self) -> int:
        """Frames it has."""
        ...
    @property
    def nr_ptwr(self) -> int:
        """Page-table writes carried out."""
        ...
    @property
    def root_kernel(self) -> int:
        """The kernel's base pointer."""
        ...
    @property
    def root_user(self) -> int:
        """The user's base pointer, 0 none."""
        ...
    @property
    def perdomain_l1(self) -> int:
        """The first L1 of the GDT and LDT area."""
        ...
    def relinquish(self) -> int:
        """End the domain and give all its frames back; how many stay."""
        ...
