# A port that keeps what the one below does not take yet.  See backlog.pyx.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from xenia.machine.lock cimport Lock
from xenia.net.frame cimport Frame
from xenia.net.nat.outbox cimport Parcel
from xenia.net.port cimport Port

cdef enum:
    SENDERS = 64                    # ports of the bridge that are told apart, by their numbers


cdef struct Kept:                   # of one sender, oldest first
    Parcel *first
    Parcel *last                    # where there is a first one
    size_t waiting                  # what it takes, in bytes


cdef class Backlog(Port):
    cdef readonly Port lower
    cdef Lock lock                  # "layer": guards what follows
    cdef Kept kept[SENDERS]
    cdef uint64_t nonempty          # which of them have something, a bit each
    cdef size_t waiting             # all together, in bytes
    cdef uint64_t nr_dropped
    cdef int turn                   # whose it is
    cdef int64_t left               # of it
    cdef bint leaving               # somebody sends what is kept
    cdef bint again                 # and is to look once more
    cdef void keep(self, const Frame *frame) noexcept nogil
    cdef Parcel *take(self) noexcept nogil                      # the next one that is to leave; NULL: there is none
    cdef void put_back(self, Parcel *parcel) noexcept nogil
    cdef void leave(self) noexcept nogil
