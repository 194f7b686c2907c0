# What the host gave a thread.
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifndef XENIA_THREAD_CLOCK
    #define XENIA_THREAD_CLOCK
    #include <stdint.h>
    #include <time.h>
    static inline int64_t thread_time(void)
    {
        struct timespec ran;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ran);
        return (int64_t)ran.tv_sec * 1000000000 + ran.tv_nsec;
    }
    #endif
    """
    int64_t thread_time() noexcept nogil        # CLOCK_THREAD_CPUTIME_ID: ns that the calling thread has run
