# The timers that libslirp asks for.  See timers.pyx.
from libc.stdint cimport int64_t
from xenia.net.nat.slirp cimport TimerCallback

cdef enum:
    TIMERS = 8


cdef struct Timer:
    TimerCallback callback
    void *opaque
    int64_t when                    # CLOCK_MONOTONIC in ms; INT64_MAX: it does not run
    bint taken


cdef void *timer_new(Timer *timers, TimerCallback callback, void *opaque) noexcept nogil    # NULL: there are too many
cdef void timer_free(void *timer, void *opaque) noexcept nogil
cdef void timer_mod(void *timer, int64_t when, void *opaque) noexcept nogil
cdef int64_t timers_next(const Timer *timers) noexcept nogil       # when the next one is due, in ns
cdef void timers_fire(Timer *timers) noexcept nogil
