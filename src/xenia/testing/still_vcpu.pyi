"""One vcpu of a small domain on a processor that runs nothing: for tests of what the core does at an exit.

Guest memory, by address:

    USER        16 pages, for user mode too, in the lower half
    KERNEL      16 pages of the kernel's
    TABLES      read-only: the kernel's L4, L3, L2 and L1 of KERNEL, then the L1 itself is at TABLES + 3 pages
    READ_ONLY   one page of the kernel's that is not writable
"""

from collections.abc import Sequence
from typing import Any

from xenia.testing.recorder import RecordingProcessor

USER: int
KERNEL: int
TABLES: int
READ_ONLY: int
DOMID: int
_REGISTERS: int

class StillVcpu:
    """The vcpu, in kernel mode at KERNEL with its stack at the end of KERNEL, events masked, nothing registered.

    It is number `id` of its domain, which has no others but those before it.
    """
    def __init__(self, id: int = 0) -> None: ...
    def read(self, va: int, length: int) -> bytes:
        """Guest memory at `va`, whatever its rights."""
        ...
    def write(self, va: int, data: bytes) -> None:
        """Put `data` at `va`, whatever its rights."""
        ...
    def map_page(self, va: int, flags: int, mfn: int | None = None) -> int:
        """Map a frame (a fresh one of the domain's) at `va`; its number."""
        ...
    def unmap(self, va: int) -> None:
        """Take the page at `va` away."""
        ...
    def entry_address(self, va: int) -> int:
        """Where in TABLES the L1 entry of a KERNEL address is."""
        ...
    def set_gdt(self, descriptors: Sequence[int]) -> None:
        """These descriptors (entry 0 first) become the guest's GDT, unchecked."""
        ...
    def set_ldt(self, va: int, entries: int) -> None:
        """MMUEXT_SET_LDT."""
        ...
    def split_roots(self) -> None:
        """Make the user L4 differ from the kernel's in its lower half."""
        ...
    def share_with_user(self, va: int) -> None:
        """The user L4's slot of `va` becomes the kernel's."""
        ...
    def __getitem__(self, name: str) -> int: ...
    def __setitem__(self, name: str, value: int) -> None: ...
    def registers(self) -> dict[str, int]:
        """All general registers, rip, rflags, cs and ss."""
        ...
    @property
    def kernel(self) -> bool:
        """Whether the vcpu is in kernel mode."""
        ...
    @property
    def dirty(self) -> set[str]:
        """What the core says it changed: any of "flags", "segments"; reading clears it."""
        ...
    def go_user(self) -> None:
        """Into user mode, at USER with the stack at the end of USER."""
        ...
    @property
    def upcall_mask(self) -> int:
        """vcpu_info.evtchn_upcall_mask."""
        ...
    @upcall_mask.setter
    def upcall_mask(self, value: int) -> None: ...
    @property
    def upcall_pending(self) -> int:
        """vcpu_info.evtchn_upcall_pending."""
        ...
    @upcall_pending.setter
    def upcall_pending(self, value: int) -> None: ...
    @property
    def cr2(self) -> int:
        """vcpu_info.arch.cr2."""
        ...
    @property
    def iopl(self) -> int:
        """The virtual IOPL."""
        ...
    @iopl.setter
    def iopl(self, value: int) -> None: ...
    def set_vm_assist(self, bits: int) -> None:
        """The domain's vm_assist bits."""
        ...
    def allow_table_writes(self) -> None:
        """The domain's writable_pagetables assist."""
        ...
    def set_port_bitmap(self, va: int, ports: int) -> None:
        """As PHYSDEVOP_set_iobitmap."""
        ...
    def set_roots(self, user: int) -> None:
        """mfn of the user L4."""
        ...
    def raise_nmi(self) -> None:
        """Make an NMI pending."""
        ...
    @property
    def nmi_masked(self) -> bool:
        """Whether an NMI is being handled."""
        ...
    @property
    def crash(self) -> str | None:
        """Why the domain crashed, None if it has not."""
        ...
    def crash_report(self) -> list[str]:
        """crash_report: what the log gets, line by line."""
        ...
    def add_vcpu(self) -> RecordingProcessor:
        """One vcpu more, down; its processor."""
        ...
    @property
    def processor(self) -> dict[str, Any]:
        """What the processor was told."""
        ...
    def set_segment(self, sreg: int, selector: int, base: int) -> None:
        """The guest loaded a segment register by itself."""
        ...
    def set_tsc(self, value: int) -> None:
        """The processor's time-stamp counter."""
        ...
    @property
    def root_kernel(self) -> int:
        """mfn of the kernel's L4."""
        ...
    @property
    def gs_bases(self) -> tuple[int, int]:
        """(kernel, user), as kept in the vcpu."""
        ...
    def inject(self, vector: int, error: int = 0, address: int = 0) -> bool:
        """inject_exception."""
        ...
    def page_fault(self, error: int, va: int) -> bool:
        """page_fault."""
        ...
    def general_protection(self, error: int = 0) -> bool:
        """general_protection."""
        ...
    def invalid_opcode(self) -> bool:
        """invalid_opcode."""
        ...
    def soft_interrupt(self, vector: int) -> bool:
        """soft_interrupt."""
        ...
    def syscall(self) -> bool:
        """syscall_from_user."""
        ...
    def sysenter(self) -> bool:
        """syscall_from_user, by sysenter."""
        ...
    def iret(self) -> bool:
        """hypercall_iret."""
        ...
    def deliver_pending(self) -> bool:
        """deliver_pending."""
        ...
    def hypercall(self, name: str, *arguments: int) -> int:
        """A hypercall of hypercalls/traps by name; its result."""
        ...
