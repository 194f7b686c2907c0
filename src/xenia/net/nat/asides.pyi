"""Packets for our own servers, on their way to Python: few at a time, fewer of one guest; too many are dropped."""

class Asides:
    """What waits, oldest first."""
    @property
    def descriptor(self) -> int: ...
    def __init__(self) -> None: ...
    def take(self) -> list[bytes]:
        """All of them, each a frame."""
        ...
