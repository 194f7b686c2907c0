"""Idle processors and errands for them, for tests."""

import os

from libc.stdint cimport int64_t
from posix.unistd cimport read, write
from xenia.machine.errand cimport (
    POLLIN, Errand, ErrandSlot, Errands, Sleeper, errands_add, errands_begin, errands_end, errands_remove, pollfd,
    sleeper_init,
)
from xenia.machine.waiting cimport Waiting, wait_for, waiting_init

cdef extern from *:
    """
    #include <sys/syscall.h>
    #include <unistd.h>
    static inline long native_id(void) { return syscall(SYS_gettid); }
    """
    long native_id() noexcept nogil


cdef class Idler:
    """A processor that has nothing to do whenever it is told so."""

    cdef Errands errands
    cdef Waiting waiting
    cdef readonly int descriptor    # what wakes it

    def __init__(self, looks: bool = False) -> None:
        """looks   before it sleeps, where it may (machine/waiting)"""
        if looks:
            waiting_init(&self.waiting)
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def lend(self, Errand errand not None) -> bool:
        """See Frames.lend; False where it has no room for more."""
        return errands_add(&self.errands, errand)

    def take_back(self, Errand errand not None) -> bool:
        """See Frames.take_back.  Not while it sleeps.  Whether it had it."""
        cdef ErrandSlot *slot = errands_remove(&self.errands, errand)
        return slot != NULL

    def sleep(self, double seconds) -> int:
        """Sleep until something comes or the time is over, for the errands that there are to do now; how many."""
        cdef Sleeper sleeper
        cdef int count
        with nogil:
            sleeper_init(&sleeper, self.descriptor)
            errands_begin(&self.errands, &sleeper)
            count = sleeper.nr_begun
            if count:
                wait_for(&self.waiting, sleeper.polls, sleeper.nr_polls, <int64_t>(seconds * 1e9))
            errands_end(&sleeper)
        return count

    @property
    def waits(self) -> tuple[int, int, int]:
        """How many a look ended and how many a sleep, and for how many of the next it does not look whatever comes."""
        return self.waiting.nr_found, self.waiting.nr_slept, self.waiting.skips

    def close(self) -> None:
        """Give its descriptor back."""
        os.close(self.descriptor)


cdef class Chore(Errand):
    """An errand that is ready whenever `descriptor`, an eventfd, was written to."""

    cdef readonly int descriptor
    cdef readonly int done          # an eventfd: how often it was done
    cdef readonly long thread       # of whom it was, last

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.done = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def close(self) -> None:
        """Give its descriptors back."""
        os.close(self.descriptor)
        os.close(self.done)

    cdef int begin_idle(self, pollfd *polls, int room) noexcept nogil:
        polls.fd, polls.events, polls.revents = self.descriptor, POLLIN, 0
        return 1 if room else -1

    cdef void end_idle(self, pollfd *polls) noexcept nogil:
        cdef long one = 1
        if polls.revents:
            read(self.descriptor, &one, 8)
            self.thread = native_id()
            one = 1
            write(self.done, &one, 8)
