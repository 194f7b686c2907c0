"""Two guests that send to each other as fast as their cards go: frontends without Python, for measurements."""

from typing import NamedTuple

from xenia.backends.vif.queue import Queue
from xenia.net.port import Port
from xenia.testing.netfront import NetfrontQueue

class Crossed(Port):
    """One of two ports that are each other's networks."""
    def join(self, other: Crossed) -> None:
        """Be the other end of that one.  Once, before anybody is at either."""
        ...
    def part(self) -> None:
        """The two know each other no more."""
        ...

class Flooded(NamedTuple):
    """What went through."""

    ...
    frames: int
    bytes: int
    seconds: float
    sender: float

class Flood:
    """One queue's frontend, on rings of its own making.

    queue       that serves it
    front       whose pages it uses
    """
    def __init__(self, queue: Queue, front: NetfrontQueue, head: bytes) -> None: ...
    def close(self) -> None:
        """Let go of the pages."""
        ...
    def run(self, receiver: Flood, frames: int, length: int, segment: int = 0, batch: int = 32) -> Flooded:
        """Send so many frames of so many bytes, `batch` for each event, on this thread; `segment`: of so many bytes of
        payload each."""
        ...
