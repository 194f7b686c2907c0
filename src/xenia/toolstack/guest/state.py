"""Where a guest is in its life."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """A state, by the word that tells it to an operator."""

    DEFINED = "defined"  # a configuration, nothing else
    BUILT = "built"  # memory taken, kernel loaded, not yet run
    RUNNING = "running"
    SHUTDOWN = "shut down"  # by itself, or crashed; memory still held
    DESTROYED = "destroyed"
