"""A network that is slow, far away and loses frames, after the manner of Linux's netem and tbf.

Each direction is shaped on its own.  A frame is lost or not, waits until the rate has room for it, and then for the
delay; frames keep their order, but for those that `reorder` lets go without a delay.  What waits is copied.  Towards
the network nothing is lost by waiting: what has no room is not taken, and whoever sends is called when there is room.
Towards the guest, who cannot be told to wait, it is dropped and counted as `full`.

A frame counts as what it is on a wire, the headers of its segments included, but is delayed, lost and doubled whole,
however many segments it stands for.

All chances are drawn from one generator for each direction (SplitMix64), and only those that are asked for, so that the
same seed makes the same of the same frames.  One thread of the process wakes for all layers of this kind.
"""

from typing import Any

from xenia.machine.loop import Source
from xenia.net.layer import Layer
from xenia.net.layers.words import NetemSpec
from xenia.net.port import Port

class Alarm(Source):
    """Wakes a layer when something is due."""
    def __init__(self, netem: Netem) -> None: ...

class Netem(Layer):
    """Over a port, shaped as `spec` says; where that says nothing it is not there."""
    @property
    def spec(self) -> Any: ...
    def __init__(self, lower: Port, spec: NetemSpec, timed: bool = True) -> None:
        """timed   the timers wake it"""
        ...
    def close(self) -> None:
        """See Layer.close."""
        ...
    @property
    def kind(self) -> str:
        """See Layer.kind."""
        ...
    @property
    def reasons(self) -> tuple[str, ...]:
        """See Layer.reasons."""
        ...
    def configure(self, spec: NetemSpec) -> None:
        """From now on that one; what is held back already comes when it would have come, before all that comes later.

        OSError(EAGAIN): the host gives no thread to wake it.
        """
        ...
    def counts(self) -> dict[str, Any]:
        """See Layer.counts; of each direction also what waits (`held`, `bytes`), and what was `delayed`, `reordered`
        and `duplicated` so far."""
        ...
