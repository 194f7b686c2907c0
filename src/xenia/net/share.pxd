# Each guest's share of a loop's time.  See share.pyx.
from libc.stdint cimport int64_t, uint64_t
from xenia.machine.loop cimport Loop

cdef class Shares


# Count frames that this thread was handed and that went nowhere; how many those ever were.
cdef uint64_t waste(uint64_t count) noexcept nogil


cdef class Share:
    cdef readonly Shares shares
    cdef int64_t balance            # ns that it may spend before it waits; below zero: it waits
    cdef int64_t earned             # when that was last reckoned
    cdef int64_t spent              # ns in this window
    cdef bint busy                  # in the last one
    cdef bint waits                 # it had nothing left when that was last reckoned
    cdef int64_t held               # until when, whoever else is busy; a little sooner it may be served
    cdef readonly uint64_t nr_waits  # how often that began
    cdef readonly uint64_t total    # ns that were ever spent
    cdef bint earn(self, int64_t now) noexcept nogil            # whether it may be served now
    # How long it may be served now, in ns; 0: not at all before `due`.
    cdef int64_t begin(self, int64_t now) noexcept nogil
    cdef void charge(self, int64_t spent, uint64_t wasted) noexcept nogil
    cdef int64_t due(self) noexcept nogil
    cdef void hold(self, int64_t now, int64_t cost) noexcept nogil
    cdef void hold_until(self, int64_t when) noexcept nogil
    cdef bint is_held(self, int64_t now) noexcept nogil
    cdef int others(self) noexcept nogil


cdef class Shares:
    cdef Loop loop                  # whose lock guards all of this; None: nothing does
    cdef list members
    cdef void **entries             # the same
    cdef int count
    cdef int nr_busy
    cdef int64_t began              # the window
    cdef become(self, list members)
    cdef void look(self, int64_t now) noexcept nogil
