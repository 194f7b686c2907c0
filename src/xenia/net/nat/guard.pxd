# Which addresses no guest reaches through the host.  See guard.pyx.
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum:
    REMEMBERED = 512                # answers of the kernel


cdef struct Answer:
    uint8_t address[16]
    int64_t until                   # CLOCK_MONOTONIC in ns
    bint forbidden


cdef class HostGuard:
    cdef bint binds_anything[2]     # for IPv4, IPv6: the kernel lets any address be bound to, so that says nothing
    cdef Answer answers[REMEMBERED]
    # Whether a guest may not send there: 4 bytes of address, or 16.
    cdef bint forbids(self, const uint8_t *address, int size, int64_t now) noexcept nogil
    cdef bint ask(self, const uint8_t *address, int size) noexcept nogil
