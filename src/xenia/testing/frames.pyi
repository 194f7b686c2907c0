"""What a guest in memory granted, for compiled backends: see xenia.testing.foreign."""

from xenia.foreign.frames import Frames

class MemoryFrames(Frames):
    """References and ports below 4096 and 64.

    fd          the guest's memory, `nr_pages` pages
    listens     whether events are answered on the thread that sends them
    """
    @property
    def listens(self) -> bool: ...
    @property
    def charged(self) -> int: ...
    def __init__(self, fd: int, nr_pages: int, listens: bool = False) -> None: ...
    def grant(self, ref: int, frame: int, writable: bool) -> None:
        """The guest grants a frame of its memory."""
        ...
    def end_grant(self, ref: int) -> None:
        """The guest takes it back.  Whoever holds it goes on holding it."""
        ...
    def open_port(self, port: int, fd: int) -> None:
        """Notifications of a port are written to an eventfd."""
        ...
    def send(self, port: int) -> bool:
        """The guest sends an event; False where nobody listens."""
        ...
    @property
    def held(self) -> int:
        """How many holds there are."""
        ...
    @property
    def written_frames(self) -> set[int]:
        """References of frames that the guest's processor was told of."""
        ...
    def close(self) -> None:
        """Let go of the memory."""
        ...
