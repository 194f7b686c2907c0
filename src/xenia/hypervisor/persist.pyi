"""A suspended PV domain as a value, and a domain made from it: in other frames, under another number.

What is saved with the domain's own nouns (domain/persist, mm/pv/persist) holds frame numbers in the places where Xen
knows of them: base pointers, GDT frames, rdx.  Here they become page numbers on the way out, and frames again on the
way back.
"""

from xenia.hypervisor.domain import DomainHandle
from xenia.hypervisor.machine import MachineHandle
from xenia.hypervisor.saved import SavedGuest

def save(handle: DomainHandle) -> SavedGuest:
    """All that a guest is which has suspended itself.  The domain is not changed.

    ConfigError, in one line, where it has not, or has done it in a way that nobody can undo: page tables that map what
    is not its own, no p2m list, a wrong start_info.
    """
    ...

def rebuild(machine: MachineHandle, saved: SavedGuest) -> DomainHandle:
    """A domain that goes on where the saved one was, ready to run: the next number, other frames.

    ConfigError where there is no number or not enough memory, or the state is damaged; nothing is left of it then.
    """
    ...

def resume(handle: DomainHandle) -> None:
    """Let a guest that suspended itself go on where it is: its suspend was cancelled."""
    ...
