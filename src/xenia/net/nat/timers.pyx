"""The timers that libslirp asks for: one, so far, for its router's advertisements."""

from libc.stdint cimport INT64_MAX, int64_t
from xenia.machine.loop cimport monotonic
from xenia.net.nat.slirp cimport TimerCallback

cdef int64_t MS = 1000000           # in ns


cdef void *timer_new(Timer *timers, TimerCallback callback, void *opaque) noexcept nogil:
    cdef int index
    for index in range(TIMERS):
        if not timers[index].taken:
            timers[index] = Timer(callback, opaque, INT64_MAX, True)
            return &timers[index]
    return NULL


cdef void timer_free(void *timer, void *opaque) noexcept nogil:
    (<Timer *>timer).taken = False


cdef void timer_mod(void *timer, int64_t when, void *opaque) noexcept nogil:
    (<Timer *>timer).when = when


cdef int64_t timers_next(const Timer *timers) noexcept nogil:
    cdef int index
    cdef int64_t when = INT64_MAX // MS
    for index in range(TIMERS):
        if timers[index].taken:
            when = min(when, timers[index].when)
    return when * MS


cdef void timers_fire(Timer *timers) noexcept nogil:
    cdef int index
    cdef int64_t now = monotonic() // MS
    for index in range(TIMERS):
        if timers[index].taken and timers[index].when <= now:
            timers[index].when = INT64_MAX
            timers[index].callback(timers[index].opaque)
