"""A lock that nobody waits long for, whoever else wants it.

Theory of operation.  Where nobody waits, a lock is one atomic operation to take and one to drop, and whoever drops it
may take it again at once: handing it over each time would put a switch of threads between any two.  But a holder that
takes it again and again, or for long, would keep it from one that sleeps, for seconds.  So who has waited for PATIENCE
reserves it, and then nobody who came later gets it before one of those who waited.  A holder with much to do asks now
and then whether anybody waits (`give_way`, one load), and lends the lock then: it is reserved for whoever waits, and
the holder waits behind them (LOAN at most: they may get no processor).  So one waits for what a holder does between two
such questions, and for PATIENCE where holders are many.

A thread that holds the interpreter's lock must not wait for one of these: nothing that is Python would run meanwhile.
It is a mistake to call `lock` there where it may be held for long (the tests look for it, in the source and in
`waits_with_the_interpreter`); if it happens all the same, the interpreter runs on.

The order of locks (lock.pxd) is checked where locks are watched: the rank of one that is made then stands in the upper
bits of its word.  So it is never what the quick way expects, and each of its holders comes by here, where a thread
notes the ranks that it holds.  A lock that is not watched costs what it did.
"""

from typing import Any

NAMES: dict[Any, Any]

def waits_with_the_interpreter(reset: bool = False) -> int:
    """How often a thread waited for a lock while it held the interpreter's: each is a mistake.  `reset`: count from
    here on."""
    ...

def longest_wait(reset: bool = False) -> int:
    """The longest that a thread waited for a lock, in ns.  `reset`: look from here on."""
    ...

def measure() -> None:
    """Measure what this thread does under locks that others wait for, until `measured`."""
    ...

def measured() -> tuple[int, int]:
    """How often this thread lent such a lock, and the longest, in ns of its own time, that it kept one."""
    ...

def watch_locks(on: bool) -> None:
    """Have the order of the locks that are made from here on checked, or not."""
    ...

def check_lock_order() -> None:
    """HypervisorBug, once, where a thread has taken a watched lock under one that stands further down."""
    ...

class HostLock:
    """One such lock for Python, taken with `with`; not twice by one thread.  `name` is its place in the order."""
    def __init__(self, name: str = "") -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    def give_way(self) -> None:
        """By who holds it, in the middle of something long: whoever waits has it first."""
        ...
