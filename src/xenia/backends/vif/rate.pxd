# How fast a card may send.
from libc.stdint cimport int64_t, uint32_t


cdef class Rate:
    cdef double per_byte            # ns; 0: there is no limit
    cdef int64_t ahead              # ns that what was sent may be ahead of the clock
    cdef volatile int64_t due       # CLOCK_MONOTONIC in ns at which what was sent would have been sent at the rate
    # 0, and so many bytes are counted as sent; or when to ask again, in ns of CLOCK_MONOTONIC.  From any thread.
    cdef int64_t take(self, uint32_t count) noexcept nogil
