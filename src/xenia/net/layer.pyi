"""Layers: ports over other ports, after the manner of storage's.

A layer stands between who is at it and a port below.  What is sent into it it passes on, drops or keeps for later, and
so it does with what comes from below.  The base class passes on all that `judge` lets go, whole batches where it can,
and tells whoever sends how much of a batch is done with: what was dropped, and what the port below took.  A layer that
has more to do than to judge one frame at a time takes `send` and `came` over itself.

A layer is attached to the port below as long as somebody is at it.  It calls on with no lock of its own held, so that
layers may be stacked in any order, and a frame may meet as many of them as there are.
"""

from typing import Any

from xenia.net.port import Port

class Layer(Port):
    """Over a port, which is the layer's own to close from now on."""
    @property
    def lower(self) -> Port: ...
    def __init__(self, lower: Port) -> None: ...
    def close(self) -> None:
        """See Port.close: of the layer, and of all that is below it."""
        ...
    @property
    def kind(self) -> str:
        """What it is, in a word."""
        ...
    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it may drop a frame."""
        ...
    @property
    def asleep(self) -> bool:
        """Whether it does nothing for now: frames pass as if it were not there."""
        ...
    def counts(self) -> dict[str, Any]:
        """What it has done, as plain data: how many frames it dropped of each direction, by reason.

        `in` is towards who is at the port, `out` towards the network; what never happened is left out.
        """
        ...
