"""A vcpu's registers, as whoever looks into a domain from outside reads and writes them: all that its guest sees.

What is written is put right as an iret or a hypercall of the guest's would have it: flags that are not the guest's own
stay as they are, addresses are canonical, selectors can be loaded.
"""

from typing import Any

from xenia.hypervisor.domain import DomainHandle

GENERAL: tuple[str, ...]
SELECTORS: tuple[str, ...]
_DATA: dict[Any, Any]
_FXSAVE_BYTES: int
_MXCSR_AT: int
_MXCSR_BITS: int

def read(handle: DomainHandle, number: int) -> dict[str, int]:
    """All but the FPU's, by name: GENERAL, rip, rflags, SELECTORS, fs_base, gs_base, k_gs_base (the one that swapgs
    would bring), cr0 to cr4, dr0 to dr7, and kernel (1 in kernel mode).  Precondition: the vcpu does not run.

    cr3 is the kernel's root, as the guest reads it; IOPL is the guest's.
    """
    ...

def read_fpu(handle: DomainHandle, number: int) -> bytes:
    """FPU and SSE registers, as fxsave64 stores them: 512 bytes.  Precondition: the vcpu does not run."""
    ...

def write(handle: DomainHandle, number: int, values: dict[str, int]) -> None:
    """Write registers by name: GENERAL, rip, rflags, es, ds, fs, gs and the bases.  All of them, or none.
    Precondition: the vcpu does not run.

    ConfigError where there is no such register, or it does not take the value.
    """
    ...

_WRITERS: int

def write_fpu(handle: DomainHandle, number: int, area: bytes) -> None:
    """The same, from what fxrstor64 would load.  Precondition: the vcpu does not run.

    ConfigError where a processor would refuse it: bits of MXCSR that there are not.
    """
    ...
