"""What all links to elsewhere have in common: a descriptor, a carrier, counters, and a place in a loop.

Frames are sent on the sender's thread, under the link's lock, and come on the loop's thread.  Where the kernel takes no
more, `send` takes fewer, and who sent is told by the loop's thread as soon as it takes again.  A link without a carrier
takes all, and drops it, as a cable that nobody plugged in.
"""

from collections.abc import Callable

from xenia.machine.loop import Source
from xenia.net.port import Port

class LinkSource(Source):
    """A link as what a loop serves."""

    ...

class Link(Port):
    """A link to elsewhere.  Its `source` is for a loop, on whose thread frames come."""
    @property
    def source(self) -> LinkSource: ...
    def __init__(self, descriptor: int = -1) -> None: ...
    def close(self) -> None:
        """Leave the loop, and close.  Again does nothing.  Not on the loop's thread.  Precondition: nobody is at it."""
        ...
    def on_carrier(self, call: Callable[[bool], object]) -> None:
        """Have that called, too, with what `carrier` is, soon after it changed.

        It is called on the loop's thread, which it must neither keep nor wait for, and which may ask the host for no
        more than its kind may.
        """
        ...
    @property
    def carrier(self) -> bool:
        """Whether somebody is at the other end."""
        ...
    @property
    def reason(self) -> str | None:
        """Why the carrier was lost; None where it is there, or never was."""
        ...
    @property
    def statistics(self) -> dict[str, int]:
        """Frames and bytes sent and received; frames dropped for want of a carrier, and refused as nonsense."""
        ...
