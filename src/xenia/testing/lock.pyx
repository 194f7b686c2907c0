"""Locks for tests to contend for."""

import threading
import time
from collections.abc import Callable

from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    static void count_waiter(volatile uint32_t *word) { __atomic_fetch_add(word, LOCK_WAITER, __ATOMIC_SEQ_CST); }
    static void forget_waiter(volatile uint32_t *word) { __atomic_fetch_sub(word, LOCK_WAITER, __ATOMIC_SEQ_CST); }
    """
    void count_waiter(volatile uint32_t *word)
    void forget_waiter(volatile uint32_t *word)

from xenia.machine.clock cimport monotonic
from xenia.machine.lock cimport Lock, give_way, lock, lock_init, lock_waiters, try_lock, unlock

from xenia.machine.lock import NAMES, measure, measured


cdef class ContendedLock:
    """A lock, and a count of the steps that its holders carried out."""

    cdef Lock lock
    cdef readonly int steps

    def take(self) -> None:
        """Wait for it, and take it."""
        with nogil:
            lock(&self.lock)

    def take_with_the_interpreter(self) -> None:
        """As nobody should."""
        lock(&self.lock)

    def drop(self) -> None:
        """Let go of it."""
        with nogil:
            unlock(&self.lock)

    def long_work(self, steps: int) -> None:
        """So many steps by whoever holds it, who asks before each whether somebody waits."""
        cdef int count = steps, _
        with nogil:
            for _ in range(count):
                give_way(&self.lock)
                self.steps += 1

    def short_works(self, steps: int) -> None:
        """Take it and let go of it again at once, for each step."""
        cdef int count = steps, _
        with nogil:
            for _ in range(count):
                lock(&self.lock)
                self.steps += 1
                unlock(&self.lock)

    @property
    def waiting(self) -> int:
        """How many threads wait for it."""
        return lock_waiters(&self.lock)


def take_both(outer: str, inner: str) -> None:
    """Take a lock of one name, and then one of another under it."""
    cdef Lock first, second
    lock_init(&first, NAMES[outer])
    lock_init(&second, NAMES[inner])
    with nogil:
        lock(&first)
        lock(&second)
        unlock(&second)
        unlock(&first)


def try_both(outer: str, inner: str) -> bool:
    """Take a lock of one name, and one of another under it if that is free: whether it was."""
    cdef Lock first, second
    cdef bint taken
    lock_init(&first, NAMES[outer])
    lock_init(&second, NAMES[inner])
    with nogil:
        lock(&first)
        taken = try_lock(&second)
        if taken:
            unlock(&second)
        unlock(&first)
    return taken


cdef class Asker:
    """Somebody who wants a lock, again and again, while something else goes on that needs it too."""

    def during(self, operation: Callable[[], object], under: bool = False) -> int:
        """The longest, in ns, that it waits during `operation`, which takes the lock itself, or is carried out `under`
        it."""
        thread = threading.Thread(target=self._ask)
        self.asking = True
        self.begun = False
        thread.start()
        while not self.begun:
            time.sleep(0)
        if under:
            with nogil:
                lock(self.lock)
            while not lock_waiters(self.lock):
                pass
        try:
            operation()
        finally:
            self.asking = False
            if under:
                with nogil:
                    unlock(self.lock)
            thread.join()
        return self.longest

    def lends(self, operation: Callable[[], object], under: bool = False) -> tuple[int, int]:
        """How often somebody would be lent the lock during `operation` if somebody always waited, and the longest, in
        ns of the thread's own time, that it keeps it."""
        if under:
            with nogil:
                lock(self.lock)
        count_waiter(&self.lock.word)
        measure()
        try:
            operation()
        finally:
            if under:
                with nogil:
                    unlock(self.lock)
            result = measured()
            forget_waiter(&self.lock.word)
        return result

    def _ask(self) -> None:
        cdef uint64_t since
        self.longest = 0
        with nogil:
            self.begun = True
            while self.asking:
                since = monotonic()
                lock(self.lock)
                self.longest = max(self.longest, monotonic() - since)
                unlock(self.lock)


cdef Asker asker(object owner, Lock *asked):
    it = Asker()
    it.owner = owner
    it.lock = asked
    return it
