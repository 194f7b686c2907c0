"""Two networks tied together, for tests: what comes out of one port is sent into the other."""

from xenia.net.port import Port

class Tie:
    """Between two ports, at each of which it is; what the far one does not take is lost."""
    def __init__(self, one: Port, other: Port) -> None: ...
    def close(self) -> None:
        """Leave both."""
        ...
    @property
    def lost(self) -> int:
        """Frames that were not taken."""
        ...
