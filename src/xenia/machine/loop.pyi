"""A thread's wait for descriptors and times, compiled: what guests' links to the host's world stand on.

In each round the loop asks its sources what they wait for, sleeps, and has each look at what came.  A source is added
and removed from any other thread: the loop's lock is held but while it sleeps, so one that was removed is not being
served, and a round that was asked for before a change is asked for again instead of served.

What a source has to say to Python waits until nothing is held (`tell`, `notice`).

A loop can be lent to the processor for which things come, as an errand (machine/errand): when its thread is idle, it
waits for the sources' descriptors beside its own, and serves them, so that a frame wakes one thread and not two; but
not while one of them waits for a time, or where there is no room for so many descriptors.  The loop's thread begins to
rest when it has served something that an idle processor could have, and then sleeps without the sources.  A processor
that was woken is soon idle again, as a rule; so the loop's thread is not woken when it is, but looks now and then, and
waits for the sources itself once no processor has for REST.
"""

from xenia.machine.errand import Errand

class PollSet:
    """What is waited for in one round."""

class Source:
    """Something that waits."""

    ...

class Loop(Errand):
    """Serves sources on the thread that calls `run`."""
    def __init__(self) -> None: ...
    def add(self, source: Source) -> None:
        """Serve it too, from the next round on."""
        ...
    def remove(self, source: Source) -> None:
        """Serve it no more; it is not being served when this returns.  Not on the loop's thread."""
        ...
    def close(self) -> None:
        """Give its descriptors back.  Again does nothing.  Preconditions: `run` has returned or was never called,
        nobody wakes it any more, and it is not lent."""
        ...
    def run(self) -> None:
        """Serve until `stop`."""
        ...
    def stop(self) -> None:
        """Have `run` return soon; on any thread."""
        ...
