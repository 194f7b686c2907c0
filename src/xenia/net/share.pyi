"""Each guest's share of the time of a loop that serves several.

A guest that nobody competes with is served for as long as it likes, but for a look at the others now and then.  Where
others are busy, too, each earns time as it passes, divided by how many they are, and spends it when it is served; what
it spends beyond that it waits for, and with it whatever it sends: nothing is read from its socket meanwhile, so that it
is its own card that waits.  A turn is a quantum at the most, so nobody waits for more than that of each of the others
(and what a packet takes, which is never broken off); and what was not spent is saved up for a millisecond only.

A frame that goes nowhere (a guard's or a filter's, one for which there is no room, a connection too many) is soon done
with, so that who sends nothing else would have his network's process, and a processor, busy all the time of his share.
So it counts for more than it takes: its sender waits, and the processor is others'.

What is others' to bear than the loop, such as a server that several guests ask, is held against a guest whoever is busy
(`hold`): it may have so much of it each second.  So are frames that another guest does not answer (policer.pyx).

Busy is who spent a hundredth of the last window.  Whoever only says something now and then takes no time from others,
and needs none kept for it.

All is a matter of the times that are handed in; there are no clocks here.  It is guarded by its loop's lock.
"""

from xenia.machine.loop import Loop

class Share:
    """A guest's; `Shares.enter` makes it."""
    @property
    def shares(self) -> Shares: ...
    @property
    def nr_waits(self) -> int: ...
    @property
    def total(self) -> int: ...
    def allow(self, now: int) -> int:
        """How long it may be served at that time, in ns; 0: it waits until `wait_until`."""
        ...
    def spend(self, spent: int, wasted: int = 0) -> None:
        """It was served for so many ns, in which so many of its frames went nowhere."""
        ...
    @property
    def wait_until(self) -> int:
        """When it may be served again."""
        ...

class Shares:
    """Those of one loop; None: of whoever hands in the times."""
    def __init__(self, loop: Loop | None = None) -> None: ...
    def enter(self) -> Share:
        """One more.  Not on the loop's thread, nor is `leave`."""
        ...
    def leave(self, share: Share) -> None:
        """One less: it is never busy to others any more, and what it still does is bounded as long as they are."""
        ...
