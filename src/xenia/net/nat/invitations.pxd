# Whom the host itself spoke to over UDP.  See invitations.pyx.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from xenia.net.parse cimport Headers

cdef enum:
    INVITATIONS = 1024


cdef class Invitations:
    cdef uint64_t flows[INVITATIONS]
    cdef int64_t until[INVITATIONS]     # CLOCK_MONOTONIC in ns
    cdef uint32_t seed
    cdef void note(self, const Headers *headers, int64_t now) noexcept nogil        # this is sent to a guest
    cdef bint has(self, const Headers *headers, int64_t now) noexcept nogil         # a guest sends this
    cdef uint64_t flow_of(self, const Headers *headers) noexcept nogil
