"""Numbered frames by the million through two ports, for tests and measurements: all come, in their order."""

from xenia.net.port import Port

class Flood:
    """From one port to another, with a card at each."""
    def __init__(self, source: Port, target: Port) -> None: ...
    def send(self, count: int, size: int) -> None:
        """So many frames of that size, and wait until they came."""
        ...
    @property
    def wrong(self) -> int:
        """How many came that were not the next."""
        ...
    def close(self) -> None:
        """Leave both ports."""
        ...
