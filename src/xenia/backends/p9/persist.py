"""What of a shared folder's backend outlives it.  The files that the guest holds are the server's to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xenia.persist import State


@dataclass(frozen=True)
class RingState(State):
    """A ring at rest: indices in it, and how much of an answer stands behind them already.

    left      how much of the message that was begun is still to be sent
    asked     tags of requests whose answers are still to come by it
    flushes   requests that wait to be sent: each one's tag, and that of the request that it calls off
    """

    VERSION: ClassVar[int] = 2

    out_cons: int
    in_prod: int
    begun: int = 0
    left: int = 0
    asked: tuple[int, ...] = ()
    flushes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class P9State(State):
    """A shared folder at rest; `rings` is empty where none was connected."""

    rings: tuple[RingState, ...] = ()
