"""Locks for tests to contend for."""

from collections.abc import Callable

class ContendedLock:
    """A lock, and a count of the steps that its holders carried out."""
    @property
    def steps(self) -> int: ...
    def take(self) -> None:
        """Wait for it, and take it."""
        ...
    def take_with_the_interpreter(self) -> None:
        """As nobody should."""
        ...
    def drop(self) -> None:
        """Let go of it."""
        ...
    def long_work(self, steps: int) -> None:
        """So many steps by whoever holds it, who asks before each whether somebody waits."""
        ...
    def short_works(self, steps: int) -> None:
        """Take it and let go of it again at once, for each step."""
        ...
    @property
    def waiting(self) -> int:
        """How many threads wait for it."""
        ...

def take_both(outer: str, inner: str) -> None:
    """Take a lock of one name, and then one of another under it."""
    ...

def try_both(outer: str, inner: str) -> bool:
    """Take a lock of one name, and one of another under it if that is free: whether it was."""
    ...

class Asker:
    """Somebody who wants a lock, again and again, while something else goes on that needs it too."""
    def during(self, operation: Callable[[], object], under: bool = False) -> int:
        """The longest, in ns, that it waits during `operation`, which takes the lock itself, or is carried out `under`
        it."""
        ...
    def lends(self, operation: Callable[[], object], under: bool = False) -> tuple[int, int]:
        """How often somebody would be lent the lock during `operation` if somebody always waited, and the longest, in
        ns of the thread's own time, that it keeps it."""
        ...
