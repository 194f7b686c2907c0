# The host's clocks, in ns.
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifndef XENIA_CLOCK
    #define XENIA_CLOCK
    #include <stdint.h>
    #include <time.h>
    static inline int64_t clock_ns(clockid_t clock)
    {
        struct timespec now;
        clock_gettime(clock, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }
    static inline int64_t monotonic(void) { return clock_ns(CLOCK_MONOTONIC); }
    static inline int64_t thread_time(void) { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }
    #endif
    """
    int64_t monotonic() noexcept nogil          # CLOCK_MONOTONIC
    int64_t thread_time() noexcept nogil        # CLOCK_THREAD_CPUTIME_ID: what the calling thread has run
