"""What of a network card outlives it.

It is saved when its queues rest: whatever was taken from a ring is answered.  Frames that waited for the guest's pages
are lost, as frames are.  The rings themselves are the guest's memory; where they are is said in the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xenia.backends.vif.config import VifConfig
from xenia.persist import State


@dataclass(frozen=True)
class QueueState(State):
    """A queue at rest: indices in its rings up to which all is answered, and nothing behind them was taken."""

    tx_answered: int
    rx_answered: int
    fault: str = ""  # why its rings are not served any more


@dataclass(frozen=True)
class ControlState(State):
    """The control ring at rest."""

    answered: int
    faulty: bool = False


@dataclass(frozen=True)
class SteeringState(State):
    """What the frontend asked for over its rings."""

    algorithm: int = 0  # XEN_NETIF_CTRL_HASH_ALGORITHM_*
    types: int = 0  # XEN_NETIF_CTRL_HASH_TYPE_*
    key: bytes = b""
    mapping: tuple[int, ...] = ()
    multicast: tuple[bytes, ...] = ()  # addresses that it listed; whether it wants no others is said in the store


@dataclass(frozen=True)
class VifState(State):
    """A network card at rest; `queues` is empty where none was connected."""

    device: int  # handle
    mac: str
    mtu: int
    max_queues: int
    credit: int
    period: int
    carrier: bool = True
    counts: dict[str, int] = field(default_factory=dict)  # VifStats
    queues: tuple[QueueState, ...] = ()
    control: ControlState | None = None
    steering: SteeringState = field(default_factory=SteeringState)

    @property
    def config(self) -> VifConfig:
        """What the card was like."""
        return VifConfig(mac=self.mac, mtu=self.mtu, queues=self.max_queues, credit=self.credit, period=self.period)
