"""What a core dump takes of a domain: its own frames, its vcpus' registers, its shared_info.

A frame is the domain's own as long as the frame table says so and the M2P has the number that the domain knows it by,
which is looked at again whenever it is copied, with the domain's memory locked.  So what it maps of others, and what it
has given away since, is in no dump; nor are frames that Xen shares with it.
"""

from array import array

from typing_extensions import Buffer

from xenia.hypervisor.domain import DomainHandle

BATCH: int
GONE: int
EMPTY: int
NOTE: int

def own_frames(handle: DomainHandle) -> tuple[array[int], array[int]]:
    """The domain's frames by their pseudo-physical numbers, ascending: those, and the machine frames.

    Where a domain says of two frames that they are the same one, it is one of them.
    """
    ...

def copy_frames(
    handle: DomainHandle, pfns: Buffer, mfns: Buffer, first: int, buffer: Buffer, translated: bool
) -> bytes:
    """Copy frames, from number `first` of `own_frames` on, BATCH at the most, to the buffer one behind the other; what
    became of each (GONE, EMPTY, NOTE, or another: something).

    translated   page tables name frames by their pseudo-physical numbers, and map nothing of Xen's or of others
    """
    ...

def vcpu_context(handle: DomainHandle, number: int) -> bytes:
    """What there is of a vcpu, as struct vcpu_guest_context.  Precondition: none of the domain's runs."""
    ...

def shared_info(handle: DomainHandle) -> bytes:
    """The page that Xen shares with the domain; nothing once it is destroyed."""
    ...
