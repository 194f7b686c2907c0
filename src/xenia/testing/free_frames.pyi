"""A machine's free frames, without a machine."""

class FreeFrames:
    """Frames from `start` to `end`, the first `low` of them handed out last."""
    def __init__(self, start: int, end: int, low: int = 0) -> None: ...
    @property
    def count(self) -> int:
        """How many there are."""
        ...
    def take(self) -> int:
        """One, or 0."""
        ...
    def take_extent(self, order: int) -> int:
        """The first of 2^order in a row, or 0."""
        ...
    def put(self, mfn: int) -> None:
        """It is free again."""
        ...
    def fragment(self) -> None:
        """Take all, and give every second back."""
        ...
