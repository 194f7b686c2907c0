"""A network frontend that writes anything into its rings, and a network that sends any frame, by the million."""

from typing import NamedTuple

from xenia.backends.vif.queue import Queue
from xenia.net.port import Port
from xenia.testing.netfront import NetfrontQueue

class Chance:
    """Numbers from a seed (xorshift64*)."""

    ...

class Judge(Port):
    """A network that reads every byte, says what is wrong with a frame, and takes as many as it likes."""
    def __init__(self) -> None: ...

class Fuzzed(NamedTuple):
    """What came of it."""

    ...
    requests: int
    sent: int
    came: int
    faults: int

class Fuzz:
    """One queue, which nobody else serves.

    queue       at a Judge
    front       whose pages it uses
    headers     beginnings of frames that are worth a look
    """
    def __init__(
        self, queue: Queue, network: Judge, front: NetfrontQueue, refs: list[int], headers: list[bytes]
    ) -> None:
        """`refs`: that requests name, NR_REFS of them."""
        ...
    def close(self) -> None:
        """Let go of the pages."""
        ...
    def scribble(self) -> None:
        """Change words of both rings, on a thread of its own, until `run` ends, which is called once then."""
        ...
    def run(self, seed: int, rounds: int, calm: int = 30) -> Fuzzed:
        """So many rounds, each with some requests and some frames.  One of `calm` decisions is a wild one.

        HypervisorBug says what went wrong.
        """
        ...
