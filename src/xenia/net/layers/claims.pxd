# Which card of a network has which IPv6 address.  See claims.pyx.
from libc.stdint cimport int64_t, uint8_t, uint64_t
from xenia.machine.lock cimport Lock

cdef enum:
    MOST_CLAIMS = 16                # of one card, besides the two of its MAC
    MOST_GIVEN = 16                 # and those that it is given

cdef struct Claim:
    uint8_t address[16]
    const void *owner
    int64_t since                   # ns; of those of a MAC, or given: for good


cdef class Claims:
    cdef Lock lock                  # "layer": none other is taken with it
    cdef Claim *claims
    cdef uint64_t room, count
    cdef readonly bytes prefix
    cdef uint8_t prefix_bytes[8]
    # Whether that card has the address from now on.  `gone`: one that it has no more for it, where that is not zero.
    cdef bint take(self, const void *owner, const uint8_t *address, int64_t now, uint8_t *gone) noexcept nogil
    # Whether an address is of those that are claimed: of the prefix, or link-local.
    cdef bint covers(self, const uint8_t *address) noexcept nogil
    # `given`: addresses of 16 bytes each, MOST_GIVEN at the most; nobody else has them from now on.
    cdef int enter(self, const void *owner, uint64_t mac, bytes given) except -1
    cdef void put_for_good(self, const void *owner, const uint8_t *address) noexcept nogil
    cdef void leave(self, const void *owner) noexcept nogil

# NULL: link-local.
cdef void address_of_mac(const uint8_t *prefix, uint64_t mac, uint8_t *address) noexcept nogil
