# The host's clock.
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifndef XENIA_CLOCK
    #define XENIA_CLOCK
    #include <stdint.h>
    #include <time.h>
    static inline int64_t monotonic(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }
    #endif
    """
    int64_t monotonic() noexcept nogil          # CLOCK_MONOTONIC, ns
