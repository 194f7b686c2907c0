# How often something may be done: once in each interval in the long run, and `burst` times at once after a rest.
from libc.stdint cimport int64_t


cdef struct Pace:                   # zeroed: it rested
    int64_t next                    # when it may be done again, on the clock of who asks


# Whether it may be done now; then it was.
cdef inline bint pace_allows(Pace *pace, int64_t now, int64_t interval, int64_t burst) noexcept nogil:
    if pace.next > now:
        return False
    pace.next = max(pace.next, now - burst * interval) + interval
    return True
