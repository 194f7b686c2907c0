"""What of a block device outlives it.

It is saved when its queues rest: whatever was taken from a ring is answered, so nothing is in flight.  Frames that it
kept (feature-persistent) are let go, and held again when they are next used.  The rings themselves are the guest's
memory, where they are and by which port they are reached is said in the store, and the disk's bytes are its layer's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xenia.backends.vbd.config import VbdConfig
from xenia.persist import State


@dataclass(frozen=True)
class QueueState(State):
    """A queue at rest."""

    answered: int  # index in the ring: all before it is answered, nothing from there on was taken
    faulty: bool = False  # the guest's index was impossible: the ring is not served any more


@dataclass(frozen=True)
class VbdState(State):
    """A block device at rest; `queues` is empty where none was connected."""

    device: int  # virtual-device
    read_only: bool
    cdrom: bool
    sector_size: int
    persistent: bool
    discard: bool
    size: int  # bytes, as the guest was told last
    failed: int = 0  # errno of the first flush that failed: nothing is written or flushed any more
    counts: dict[str, int] = field(default_factory=dict)  # VbdStats
    queues: tuple[QueueState, ...] = ()

    @property
    def config(self) -> VbdConfig:
        """What the device was like."""
        return VbdConfig(
            read_only=self.read_only,
            cdrom=self.cdrom,
            sector_size=self.sector_size,
            persistent=self.persistent,
            discard=self.discard,
        )
