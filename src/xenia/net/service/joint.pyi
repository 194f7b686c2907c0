"""Two ports, face to face: what comes out of one goes into the other.  What that does not take is dropped."""

from xenia.net.port import Port

class Joint:
    """Between two ports, at which it is until it is closed."""
    def __init__(self, one: Port, other: Port) -> None: ...
    @property
    def dropped(self) -> int:
        """Frames that the other port did not take."""
        ...
    def close(self) -> None:
        """Leave both."""
        ...
