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

import os

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy
from posix.unistd cimport close, read, write
from xenia.machine.atomic cimport flag_read, flag_set, flag_store, flag_take
from xenia.machine.errand cimport Errand
from xenia.machine.lock cimport RANK_LOOP, lock, lock_init, try_lock, unlock
from xenia.machine.waiting cimport sleep_for

cdef extern from *:
    """
    #include <stdint.h>
    static inline void fence(void)
    {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    """
    void fence() noexcept nogil

cdef enum:
    REST = 500000                   # ns


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
        flag_set(&self.told)
        if self.loop is not None:
            flag_set(&self.loop.told)
            self.loop.wake()

    cdef void notice(self) noexcept:
        pass


cdef class Loop(Errand):
    """Serves sources on the thread that calls `run`."""

    def __cinit__(self):
        self.wake_fd = self.recall_fd = -1
        lock_init(&self.lock, RANK_LOOP)

    def __init__(self) -> None:
        self.sources = []
        self.polls = PollSet()
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.recall_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __dealloc__(self):
        free(self.entries)
        self.close()

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
        """Give its descriptors back.  Again does nothing.  Preconditions: `run` has returned or was never called,
        nobody wakes it any more, and it is not lent."""
        if self.wake_fd >= 0:
            close(self.wake_fd)
        if self.recall_fd >= 0:
            close(self.recall_fd)
        self.wake_fd = self.recall_fd = -1

    def run(self) -> None:
        """Serve until `stop`."""
        with nogil:
            self.serve_all()

    def stop(self) -> None:
        """Have `run` return soon; on any thread."""
        self.stopping = True
        ring(self.wake_fd)

    cdef become(self, list sources):
        cdef int index, count = len(sources)
        cdef void **entries = <void **>realloc(NULL, max(count, 1) * sizeof(void *))
        cdef void **before
        cdef bint lendable = count > 0
        if entries == NULL:
            raise MemoryError
        for index in range(count):
            entries[index] = <void *>sources[index]
            lendable = lendable and (<Source>sources[index]).lendable
        self.wake()
        with nogil:
            lock(&self.lock)
            before = self.entries
            self.entries = entries
            self.count = count
            self.lendable = lendable
            self.changes += 1
            unlock(&self.lock)
            free(before)
        self.sources = sources
        self.wake()

    cdef notice_all(self):
        cdef Source source
        for source in list(self.sources):
            if flag_take(&source.told):
                source.notice()

    cdef void wake(self) noexcept nogil:
        # Who waits for the sources.  Who begins to do so says it first and asks them afterwards; so whoever has changed
        # what one would say has to look afterwards too.
        fence()
        ring(self.recall_fd if flag_read(&self.lent) else self.wake_fd)

    cdef void serve_all(self) noexcept nogil:
        cdef uint32_t changes
        cdef int64_t left
        cdef int index, happened
        while not self.stopping:
            if self.rest():
                continue
            lock(&self.lock)
            changes = self.changes
            self.polls.count = 0
            self.polls.until = INT64_MAX
            self.polls.add(self.wake_fd, POLLIN)
            for index in range(self.count):
                (<Source>self.entries[index]).fill(self.polls)
            unlock(&self.lock)
            left = -1 if self.polls.until == INT64_MAX else max(0, self.polls.until - monotonic())
            happened = sleep_for(self.polls.polls, self.polls.count, left)
            if self.polls.happened(0):
                drain(self.wake_fd)
                happened -= 1
            lock(&self.lock)
            if changes == self.changes:
                self.serve_sources()
                if happened > 0 and self.lendable and flag_take(&self.missed):
                    self.rests = True
                    self.left_at = monotonic()
            unlock(&self.lock)
            self.listen()

    cdef void serve_sources(self) noexcept nogil:
        cdef int index
        for index in range(self.count):
            (<Source>self.entries[index]).serve(self.polls)

    cdef void listen(self) noexcept nogil:
        if flag_take(&self.told):
            with gil:
                self.notice_all()

    cdef bint rest(self) noexcept nogil:
        # False: it is over, or never began.
        cdef pollfd waiting
        cdef int64_t rested = 0
        lock(&self.lock)
        self.rests_long = self.rests and self.lent
        if self.rests and not self.lent:
            rested = monotonic() - self.left_at
            self.rests = rested < REST and self.lendable
        if not self.rests:
            unlock(&self.lock)
            return False
        unlock(&self.lock)
        waiting.fd, waiting.events, waiting.revents = self.wake_fd, POLLIN, 0
        if sleep_for(&waiting, 1, -1 if self.rests_long else max(0, REST - rested)) > 0:
            drain(self.wake_fd)
            if not flag_take(&self.left):
                lock(&self.lock)
                self.rests = self.lent
                unlock(&self.lock)
        self.listen()
        return True

    # --- as an errand

    cdef int begin_idle(self, pollfd *polls, int room) noexcept nogil:
        cdef int index, count
        if not self.rests or not try_lock(&self.lock):
            flag_set(&self.missed)
            return -1
        if not self.rests or self.lent or self.stopping:
            unlock(&self.lock)
            return -1
        flag_store(&self.lent, True)
        self.lent_changes = self.changes
        self.polls.count = 0
        self.polls.until = INT64_MAX
        self.polls.add(self.recall_fd, POLLIN)
        for index in range(self.count):
            (<Source>self.entries[index]).fill(self.polls)
        count = self.polls.count
        if count > room or self.polls.until != INT64_MAX:
            flag_store(&self.lent, False)
            self.rests = False
            count = -1
        else:
            memcpy(polls, self.polls.polls, count * sizeof(pollfd))
        unlock(&self.lock)
        if count < 0:
            ring(self.wake_fd)      # its own thread waits for them
        return count

    cdef void end_idle(self, pollfd *polls) noexcept nogil:
        cdef bint slept_long
        lock(&self.lock)
        if polls.revents:
            drain(self.recall_fd)
        if self.lent_changes == self.changes:
            memcpy(self.polls.polls, polls, self.polls.count * sizeof(pollfd))
            self.serve_sources()
        flag_store(&self.lent, False)
        self.left_at = monotonic()
        slept_long = self.rests_long
        self.rests_long = False
        if slept_long:
            flag_set(&self.left)
        unlock(&self.lock)
        if slept_long or self.told:
            ring(self.wake_fd)


cdef void ring(int descriptor) noexcept nogil:
    cdef uint64_t one = 1
    write(descriptor, &one, 8)


cdef void drain(int descriptor) noexcept nogil:
    cdef uint64_t drained
    read(descriptor, &drained, 8)
