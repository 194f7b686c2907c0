# A port that keeps what the one below does not take yet.  See backlog.pyx.
from libc.stdint cimport uint64_t
from xenia.machine.lock cimport Lock
from xenia.net.frame cimport Frame
from xenia.net.nat.outbox cimport Outbox, Parcel
from xenia.net.port cimport Port


cdef class Backlog(Port):
    cdef readonly Port lower
    cdef Lock lock                  # "layer": guards what follows
    cdef Outbox kept
    cdef Parcel *first              # taken out of `kept` and refused below
    cdef bint leaving               # somebody sends what is kept
    cdef bint again                 # and is to look once more
    cdef bint keep(self, const Frame *frame) noexcept nogil
    cdef void leave(self) noexcept nogil
