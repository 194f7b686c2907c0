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

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from xenia.machine.lock cimport lock, unlock
from xenia.machine.loop cimport Loop

cdef enum:
    QUANTUM = 50000                 # ns of one turn
    SAVED = 1000000                 # ns that one has at the most: another's turn may be as long as one packet needs
    ALONE = 200000                  # ns that one is served at once with whom nobody competes
    WINDOW = 10000000               # ns
    BUSY = 100                      # which part of it
    DEBT = 20000000                 # ns that one owes at the most: it waits for that times how many are busy
    AHEAD = 500000                  # ns of what is held against one that it may have at once
    WASTE = 5000                    # ns that a frame counts for which goes nowhere

cdef extern from *:
    """
    static __thread unsigned long wasted_here;
    static inline unsigned long waste_here(unsigned long count) { return wasted_here += count; }
    """
    uint64_t waste_here(uint64_t count) noexcept nogil


cdef uint64_t waste(uint64_t count) noexcept nogil:
    return waste_here(count)


cdef class Share:
    """A guest's; `Shares.enter` makes it."""

    def allow(self, now: int) -> int:
        """How long it may be served at that time, in ns; 0: it waits until `wait_until`."""
        return self.begin(now)

    def spend(self, spent: int, wasted: int = 0) -> None:
        """It was served for so many ns, in which so many of its frames went nowhere."""
        self.charge(spent, wasted)

    @property
    def wait_until(self) -> int:
        """When it may be served again."""
        return self.due()

    cdef int others(self) noexcept nogil:
        return max(self.shares.nr_busy - self.busy, 0)

    cdef bint earn(self, int64_t now) noexcept nogil:
        cdef int64_t earned
        self.shares.look(now)
        if self.is_held(now):
            self.nr_waits += not self.waits
            self.waits = True
            return False
        if self.others() == 0:
            self.balance, self.earned, self.waits = QUANTUM, now, False
            return True
        earned = (now - self.earned) // (self.others() + 1)
        self.earned += earned * (self.others() + 1)
        self.balance = min(self.balance + earned, <int64_t>SAVED)
        self.nr_waits += self.balance <= 0 and not self.waits
        self.waits = self.balance <= 0
        return not self.waits

    cdef int64_t begin(self, int64_t now) noexcept nogil:
        if not self.earn(now):
            return 0
        return ALONE if self.others() == 0 else min(self.balance, <int64_t>QUANTUM)

    cdef void charge(self, int64_t spent, uint64_t wasted) noexcept nogil:
        self.balance = max(self.balance - spent - <int64_t>(wasted * WASTE), -<int64_t>DEBT)
        self.spent += spent
        self.total += spent

    cdef int64_t due(self) noexcept nogil:
        return max(self.earned + (1 - self.balance) * (self.others() + 1), self.held - AHEAD)

    cdef void hold(self, int64_t now, int64_t cost) noexcept nogil:
        self.held = max(self.held, now) + cost

    cdef void hold_until(self, int64_t when) noexcept nogil:
        self.held = max(self.held, when + AHEAD)

    cdef bint is_held(self, int64_t now) noexcept nogil:
        return self.held > now + AHEAD


cdef class Shares:
    """Those of one loop; None: of whoever hands in the times."""

    def __init__(self, Loop loop = None) -> None:
        self.loop = loop
        self.members = []

    def __dealloc__(self):
        free(self.entries)

    def enter(self) -> Share:
        """One more.  Not on the loop's thread, nor is `leave`."""
        cdef Share share = Share.__new__(Share)
        share.shares = self
        self.become([*self.members, share])
        return share

    def leave(self, Share share not None) -> None:
        """One less: it is never busy to others any more, and what it still does is bounded as long as they are."""
        self.become([other for other in self.members if other is not share])

    cdef become(self, list members):
        cdef int index, count = len(members)
        cdef void **entries = <void **>malloc(max(count, 1) * sizeof(void *))
        cdef void **before
        if entries == NULL:
            raise MemoryError
        for index in range(count):
            entries[index] = <void *>members[index]
        if self.loop is not None:
            self.loop.wake()
        with nogil:
            if self.loop is not None:
                lock(&self.loop.lock)
            before, self.entries, self.count, self.nr_busy = self.entries, entries, count, 0
            for index in range(count):
                self.nr_busy += (<Share>entries[index]).busy
            if self.loop is not None:
                unlock(&self.loop.lock)
            free(before)
        self.members = members

    cdef void look(self, int64_t now) noexcept nogil:
        cdef int index
        cdef int64_t elapsed = now - self.began
        if elapsed < WINDOW:
            return
        self.began, self.nr_busy = now, 0
        for index in range(self.count):
            (<Share>self.entries[index]).busy = (<Share>self.entries[index]).spent * BUSY >= min(elapsed, 2 * WINDOW)
            (<Share>self.entries[index]).spent = 0
            self.nr_busy += (<Share>self.entries[index]).busy
