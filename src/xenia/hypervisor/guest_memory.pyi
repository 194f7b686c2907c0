"""A domain's memory, as whoever looks into it from outside reads and writes it: an operator's program, a debugger.

Nothing that the guest could see is changed by looking: no accessed or dirty bits, no reference.  A write goes where the
guest's kernel could write if it mapped the page so: also to pages that it has mapped read-only, as its own text; but
not to what Xen holds it to (page tables, descriptors), nor to others' frames that it may only read.  Each page is
found, checked and copied under the memory's lock, by which page tables change and frames change hands.
"""

from typing_extensions import Buffer

from xenia.hypervisor.domain import DomainHandle

DONE: int
UNMAPPED: int
TABLE: int
FOREIGN: int

def read_virtual(handle: DomainHandle, number: int, address: int, buffer: Buffer) -> int:
    """Read from what a vcpu has mapped at a virtual address; how many bytes are there before something is not mapped.

    Precondition: the vcpu does not run.
    """
    ...

def write_virtual(handle: DomainHandle, number: int, address: int, data: Buffer) -> tuple[int, int]:
    """Write to what a vcpu has mapped at a virtual address: how many bytes, and why no more (DONE: all).

    Precondition: the vcpu does not run.
    """
    ...

def translate(handle: DomainHandle, number: int, address: int) -> tuple[int, int | None] | None:
    """The machine frame that a vcpu has mapped at a virtual address, and by what number the domain knows it, None where
    it is not its own; None where nothing is mapped.

    Precondition: the vcpu does not run.
    """
    ...

def walk(handle: DomainHandle, number: int, address: int) -> list[tuple[int, int, int, int]]:
    """How a vcpu's page tables lead to a virtual address: of each the level, the machine frame, which entry is looked
    at, and what that says.  The last one does not lead on, or maps the page.

    Precondition: the vcpu does not run.
    """
    ...

def read_frame(handle: DomainHandle, pfn: int, mfn: int, offset: int, buffer: Buffer) -> bool:
    """Read from a frame of the domain's, from `offset` on.  False where that frame is not its own by that number."""
    ...

def write_frame(handle: DomainHandle, pfn: int, mfn: int, offset: int, data: Buffer) -> int:
    """Write to a frame of the domain's, from `offset` on: DONE, UNMAPPED where it is not its own by that number, or
    TABLE."""
    ...
