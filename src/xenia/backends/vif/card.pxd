# A network card as its network sees it.
from libc.stdint cimport uint32_t
from xenia.backends.vif.rate cimport Rate
from xenia.backends.vif.steering cimport Hash, Steering
from xenia.net.frame cimport Frame
from xenia.net.port cimport Port


cdef class Card:
    cdef readonly Port port
    cdef readonly Steering steering
    cdef readonly Rate rate
    cdef list queues
    cdef void **entries         # the same
    cdef int nr_queues
    cdef dict past              # counts of queues that are gone
    cdef void deliver(self, Frame *frames, int count) noexcept nogil
    cdef void give(self, uint32_t queue, Frame *frames, Hash *hashes, int first, int end, int filtered) noexcept nogil
    cdef void ready(self) noexcept nogil
