"""How fast a card may send: so many bytes in a period, whichever of its queues they come from.

What was sent moves a time ahead, as much as it takes at the rate; while that is further ahead of the clock than a
period, nothing more is sent.  One word, so any thread may.
"""

from libc.stdint cimport int64_t, uint32_t

from xenia.machine.loop cimport monotonic

cdef extern from *:
    """
    #include <stdint.h>
    static inline int64_t due_load(volatile int64_t *due) { return __atomic_load_n(due, __ATOMIC_ACQUIRE); }
    static inline int due_swap(volatile int64_t *due, int64_t old, int64_t now)
    { return __atomic_compare_exchange_n(due, &old, now, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE); }
    """
    int64_t due_load(volatile int64_t *due) noexcept nogil
    bint due_swap(volatile int64_t *due, int64_t old, int64_t now) noexcept nogil


cdef class Rate:
    """`credit` bytes in each `period` of so many microseconds; 0: as many as it likes."""

    def __init__(self, credit: int = 0, period: int = 50_000) -> None:
        self.per_byte = period * 1000 / credit if credit else 0
        self.ahead = period * 1000

    cdef int64_t take(self, uint32_t count) noexcept nogil:
        cdef int64_t before, now
        if self.per_byte == 0:
            return 0
        while True:
            now = monotonic()
            before = due_load(&self.due)
            if before - now > self.ahead:
                return before - self.ahead
            if due_swap(&self.due, before, max(before, now) + <int64_t>(count * self.per_byte)):
                return 0
