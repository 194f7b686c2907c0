# How much data each connection's guest takes in one segment.  See segments.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from xenia.net.frame cimport Frame
from xenia.net.parse cimport Headers

cdef enum:
    SETS = 512
    WAYS = 4


cdef struct Known:
    uint64_t flow
    uint32_t used                   # when it was last asked for
    uint16_t most


cdef class SegmentSizes:
    cdef Known known[SETS][WAYS]
    cdef uint32_t clock
    cdef uint32_t seed
    # A guest's SYN, in one piece: remember what it says it takes, and say `offer` in its place.  Its checksum is to be
    # made again.
    cdef void widen(self, uint8_t *frame, const Headers *headers, uint16_t offer) noexcept nogil
    # A frame of TCP for a guest, in one piece: have it cut on its way where its guest does not take so much.
    cdef void mark(self, Frame *frame, uint8_t *bytes, const Headers *headers) noexcept nogil
    cdef Known *find(self, uint64_t flow) noexcept nogil
    cdef uint64_t flow_of(self, const Headers *headers) noexcept nogil
