"""What a vcpu is doing, as a value."""

from __future__ import annotations

from typing import NamedTuple


class VcpuInfo(NamedTuple):
    """A vcpu of a domain, at one moment."""

    number: int
    pcpu: int | None
    """Where it runs, or ran last; None: nowhere yet, or it is offline."""
    online: bool
    """Whether the guest has brought it up."""
    state: str
    """xl's letters: running, blocked, paused or offline; a dash for each that it is not."""
    time: int
    """ns for which it has run."""
    hard: frozenset[int]
    """The pcpus on which it may run."""
    soft: frozenset[int]
    """Those on which it had better."""
