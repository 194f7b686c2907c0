# Packets for our own servers, on their way to Python.  See asides.pyx.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    SLOTS = 256
    SLOT_BYTES = 1600
    SHARE = SLOTS // 4              # of one guest


cdef class Asides:
    cdef uint8_t (*slots)[SLOT_BYTES]
    cdef uint32_t lengths[SLOTS]
    cdef uint32_t first, count
    cdef readonly int descriptor    # readable where there are any
    cdef uint64_t nr_dropped
    # With a lock held that `take` is called with too.  False: there is no room, which is counted.
    cdef bint put(self, const uint8_t *frame, uint32_t length) noexcept nogil
    cdef uint32_t waiting_of(self, const uint8_t *mac) noexcept nogil
