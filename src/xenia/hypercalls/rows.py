"""A row of the hypercall table as the documentation shows it."""

from dataclasses import dataclass
from enum import StrEnum


class Support(StrEnum):
    """How much of a hypercall is there."""

    SUPPORTED = "supported"
    PARTIAL = "partial"
    REFUSED = "refused"


class RowLock(StrEnum):
    """What is held while a hypercall is carried out."""

    NONE = "none"
    MMU = "mmu"  # PvMmu.lock: it is about the domain's frames and page tables


class GuestKind(StrEnum):
    """A kind of guest, which has an ABI of its own (GuestAbi of domain/domain.pxd)."""

    PV64 = "pv64"


@dataclass(frozen=True)
class Row:
    """One hypercall: number (__HYPERVISOR_* of public/xen.h), name, arguments, lock, guests, support level, note."""

    number: int
    name: str
    arguments: str
    lock: RowLock
    guests: tuple[GuestKind, ...]
    support: Support
    note: str = ""
