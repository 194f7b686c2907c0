"""Idle processors and errands for them, for tests."""

from xenia.machine.errand import Errand

class Idler:
    """A processor that has nothing to do whenever it is told so."""
    @property
    def descriptor(self) -> int: ...
    def __init__(self, looks: bool = False) -> None:
        """looks   before it sleeps, where it may (machine/waiting)"""
        ...
    def lend(self, errand: Errand) -> bool:
        """See Frames.lend; False where it has no room for more."""
        ...
    def take_back(self, errand: Errand) -> bool:
        """See Frames.take_back.  Not while it sleeps.  Whether it had it."""
        ...
    def sleep(self, seconds: float) -> int:
        """Sleep until something comes or the time is over, for the errands that there are to do now; how many."""
        ...
    @property
    def waits(self) -> tuple[int, int, int]:
        """How many a look ended and how many a sleep, and for how many of the next it does not look whatever comes."""
        ...
    def close(self) -> None:
        """Give its descriptor back."""
        ...

class Chore(Errand):
    """An errand that is ready whenever `descriptor`, an eventfd, was written to."""
    @property
    def descriptor(self) -> int: ...
    @property
    def done(self) -> int: ...
    @property
    def thread(self) -> int: ...
    def __init__(self) -> None: ...
    def close(self) -> None:
        """Give its descriptors back."""
        ...
