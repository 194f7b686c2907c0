"""Frames of a memory file seen side by side, wherever in it they are."""

from collections.abc import Iterable

class Window:
    """A mapping of frames, as one buffer, with nothing mapped on the pages before and behind it.

    fd          the memory file
    frames      numbers of the frames, in the order in which they are to lie side by side
    writable    whether the buffer may be written
    """
    def __init__(self, fd: int, frames: Iterable[int], writable: bool = True) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def close(self) -> None:
        """Unmap the frames.  Closing again does nothing; BufferError while views of it are in use."""
        ...
