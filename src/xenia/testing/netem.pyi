"""A slow network under a clock that stands still."""

from xenia.net.layers.netem import Netem
from xenia.net.layers.words import NetemSpec
from xenia.net.port import Port

class StillNetem(Netem):
    """Its time passes only when it is told to; nothing wakes it else."""
    def __init__(self, lower: Port, spec: NetemSpec) -> None: ...
    def advance(self, nanoseconds: int) -> None:
        """Let so much time pass, and stop wherever there is something to do on the way."""
        ...
