"""A thread's wait for descriptors and times, compiled: what links to the host's world stand on.

In each round the loop asks its sources what they wait for, sleeps, and has each look at what came.  A source is added
and removed from any other thread: the loop's lock is held but while it sleeps, so one that was removed is not being
served, and a round that was asked for before a change is asked for again instead of served.

What a source has to say to Python waits until nothing is held (`tell`, `notice`).
"""

import os

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close, read, write
from xenia.machine.lock cimport RANK_LOOP, lock, lock_init, unlock

cdef extern from *:
    """
    #define _GNU_SOURCE
    #include <poll.h>
    """
    int ppoll(pollfd *fds, unsigned long count, const timespec *timeout, const void *mask) nogil

cdef extern from *:
    """
    #include <stdint.h>
    static inline uint32_t told_take(volatile uint32_t *told)
    {
        return __atomic_exchange_n(told, 0, __ATOMIC_ACQ_REL);
    }
    static inline void told_set(volatile uint32_t *told)
    {
        __atomic_store_n(told, 1, __ATOMIC_RELEASE);
    }
    """
    uint32_t told_take(volatile uint32_t *told) noexcept nogil
    void told_set(volatile uint32_t *told) noexcept nogil

cdef enum:
    NS = 1000000000


cdef int64_t monotonic() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * NS + now.tv_nsec


cdef class PollSet:
    """What is waited for in one round."""

    def __dealloc__(self):
        free(self.polls)

    cdef int add(self, int fd, short events) noexcept nogil:
        cdef pollfd *larger
        if self.count == self.room:
            larger = <pollfd *>realloc(self.polls, (2 * self.room + 16) * sizeof(pollfd))
            if larger == NULL:
                return -1
            self.polls, self.room = larger, 2 * self.room + 16
        self.polls[self.count].fd = fd
        self.polls[self.count].events = events
        self.polls[self.count].revents = 0
        self.count += 1
        return self.count - 1

    cdef short happened(self, int index) noexcept nogil:
        return self.polls[index].revents if 0 <= index < self.count else 0

    cdef void wake_at(self, int64_t when) noexcept nogil:
        self.until = min(self.until, when)


cdef class Source:
    """Something that waits."""

    cdef void fill(self, PollSet polls) noexcept nogil:
        pass

    cdef void serve(self, PollSet polls) noexcept nogil:
        pass

    cdef void wake(self) noexcept nogil:
        if self.loop is not None:
            self.loop.wake()

    cdef void tell(self) noexcept nogil:
        told_set(&self.told)
        if self.loop is not None:
            told_set(&self.loop.told)
            self.loop.wake()

    cdef void notice(self) noexcept:
        pass


cdef class Loop:
    """Serves sources on the thread that calls `run`."""

    def __cinit__(self):
        self.wake_fd = -1
        lock_init(&self.lock, RANK_LOOP)

    def __init__(self) -> None:
        self.sources = []
        self.polls = PollSet()
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __dealloc__(self):
        free(self.entries)
        if self.wake_fd >= 0:
            close(self.wake_fd)

    def add(self, Source source not None) -> None:
        """Serve it too, from the next round on."""
        source.loop = self
        self.become([*self.sources, source])
        if source.told:
            source.tell()

    def remove(self, Source source not None) -> None:
        """Serve it no more; it is not being served when this returns.  Not on the loop's thread."""
        self.become([other for other in self.sources if other is not source])

    def close(self) -> None:
        """Give its descriptor back.  Again does nothing.  Preconditions: `run` has returned or was never called, and
        nobody wakes it any more."""
        if self.wake_fd >= 0:
            close(self.wake_fd)
            self.wake_fd = -1

    def run(self) -> None:
        """Serve until `stop`."""
        with nogil:
            self.serve_all()

    def stop(self) -> None:
        """Have `run` return soon; on any thread."""
        self.stopping = True
        self.wake()

    cdef become(self, list sources):
        cdef int index, count = len(sources)
        cdef void **entries = <void **>realloc(NULL, max(count, 1) * sizeof(void *))
        cdef void **before
        if entries == NULL:
            raise MemoryError
        for index in range(count):
            entries[index] = <void *>sources[index]
        self.wake()
        with nogil:
            lock(&self.lock)
            before = self.entries
            self.entries = entries
            self.count = count
            self.changes += 1
            unlock(&self.lock)
            free(before)
        self.sources = sources
        self.wake()

    cdef notice_all(self):
        cdef Source source
        for source in list(self.sources):
            if told_take(&source.told):
                source.notice()

    cdef void wake(self) noexcept nogil:
        cdef uint64_t one = 1
        write(self.wake_fd, &one, 8)

    cdef void serve_all(self) noexcept nogil:
        cdef uint64_t drained
        cdef uint32_t changes
        cdef timespec timeout
        cdef int64_t left
        cdef int index
        while not self.stopping:
            lock(&self.lock)
            changes = self.changes
            self.polls.count = 0
            self.polls.until = INT64_MAX
            self.polls.add(self.wake_fd, POLLIN)
            for index in range(self.count):
                (<Source>self.entries[index]).fill(self.polls)
            unlock(&self.lock)
            left = 0 if self.polls.until <= 0 else max(0, self.polls.until - monotonic())
            timeout.tv_sec = left // NS
            timeout.tv_nsec = left % NS
            ppoll(self.polls.polls, self.polls.count, NULL if self.polls.until == INT64_MAX else &timeout, NULL)
            if self.polls.happened(0):
                read(self.wake_fd, &drained, 8)
            lock(&self.lock)
            if changes == self.changes:
                for index in range(self.count):
                    (<Source>self.entries[index]).serve(self.polls)
            unlock(&self.lock)
            if told_take(&self.told):
                with gil:
                    self.notice_all()
