"""What of a shared folder's backend outlives it.  The files that the guest holds are the server's to keep."""

from __future__ import annotations

from dataclasses import dataclass

from xenia.persist import State


@dataclass(frozen=True)
class RingState(State):
    """A ring at rest: indices in it, and how much of an answer stands behind them already."""

    out_cons: int
    in_prod: int
    begun: int = 0


@dataclass(frozen=True)
class P9State(State):
    """A shared folder at rest; `rings` is empty where none was connected."""

    rings: tuple[RingState, ...] = ()
