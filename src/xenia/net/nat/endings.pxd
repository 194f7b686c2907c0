# Connections that both ends have closed.  See endings.pyx.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.net.parse cimport Headers

cdef enum:
    ENDINGS = 1024
    RESET_BYTES = 14 + 40 + 20


cdef struct Ending:
    uint64_t flow
    uint32_t ours, theirs           # the sequence numbers behind each end's FIN
    bint both


cdef class Endings:
    cdef Ending endings[ENDINGS]
    cdef uint32_t seed
    # The stack sends a FIN.
    cdef void begin(self, const Headers *headers) noexcept nogil
    # A guest sent this, and the stack has seen it: the reset that is to follow, as if from the guest; its length, or 0.
    cdef uint32_t follow(self, const Headers *headers, uint8_t *reset) noexcept nogil
    cdef uint64_t flow_of(self, const Headers *headers) noexcept nogil
