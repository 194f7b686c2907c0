"""A domain that stands still, as a value: all of its nouns, under the frame numbers that it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xenia.domain.saved import SavedClock, SavedDomain, SavedEvents, SavedGrants, SavedVcpu
from xenia.mm.pv.saved import SavedMemory
from xenia.persist import State


@dataclass(frozen=True)
class SavedStill(State):
    """Of a StillDomain that has the frames that it was made with, and no others."""

    VERSION: ClassVar[int] = 1

    domain: SavedDomain
    clock: SavedClock
    vcpus: tuple[SavedVcpu, ...]
    events: SavedEvents
    grants: SavedGrants
    memory: SavedMemory
    host_ns: int
