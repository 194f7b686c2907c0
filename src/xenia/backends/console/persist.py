"""What of a console outlives it; the ring itself is the guest's memory and travels with that."""

from __future__ import annotations

from dataclasses import dataclass, field

from xenia.persist import State


@dataclass(frozen=True)
class ConsoleState(State):
    """A console between two services.  What its sink has taken is gone; `output` begins behind that."""

    input: bytes = b""  # that the guest's ring had no room for yet
    output: bytes = b""  # taken from the ring, that the sink had no room for yet
    emergency: bytes = b""  # of CONSOLEIO_write, to be shown behind that
    unshown: bytes = b""  # the newest of it that is kept for when the guest dies of it
    early: bytes = b""  # the newest of what was shown before the ring was used
    ring_used: bool = False
    ring_failed: bool = False  # its indices were impossible: it is not served any more
    counts: dict[str, int] = field(default_factory=dict)  # ConsoleStats
