"""A whole domain as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xenia.domain.build.persisted import SavedStart
from xenia.domain.saved import SavedClock, SavedDomain, SavedVcpu
from xenia.mm.pv.saved import SavedMemory
from xenia.persist import State


@dataclass(frozen=True)
class SavedGuest(State):
    """A PV guest that suspended itself, as it can be put into any frames of any machine.

    Its channels and its grant table are not part of it: the guest has let go of them, and sets them up anew.  In
    `vcpu`, page numbers stand for frames.

    arch_shared_info    the last part of its shared_info, which is the guest's
    """

    VERSION: ClassVar[int] = 1

    domain: SavedDomain
    clock: SavedClock
    vcpu: SavedVcpu
    memory: SavedMemory
    start: SavedStart
    arch_shared_info: bytes
