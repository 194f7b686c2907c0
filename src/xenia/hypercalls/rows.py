"""A row of the hypercall table as the documentation shows it."""

from dataclasses import dataclass
from enum import StrEnum


class Support(StrEnum):
    """How much of a hypercall is there."""

    SUPPORTED = "supported"
    PARTIAL = "partial"
    REFUSED = "refused"


@dataclass(frozen=True)
class Row:
    """One hypercall: its number (__HYPERVISOR_* of public/xen.h), name, argument layout, support level and a note."""

    number: int
    name: str
    arguments: str
    support: Support
    note: str = ""
