"""Which card of a network has which IPv6 address.

Guests make their addresses themselves: one of the MAC (RFC 4862, and RFC 4291, appendix A), others by chance, which
change every day (RFC 8981), or by a secret (RFC 7217).  Nobody gives them out, so who comes first has one: a card's are
those two of its own MAC, link-local and of the network's prefix, and those that it is given, which are nobody else's;
and those that it claims by
neighbour discovery (RFC 4861, 4862) and nobody else has.  A card has a bounded number of these; where there are more,
the oldest goes, if it is an hour old.  All end with the card.
"""

from ipaddress import IPv6Address, IPv6Network

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset
from xenia.machine.lock cimport RANK_LAYER, lock, lock_init, unlock

cdef enum:
    PLACES = MOST_CLAIMS + 2 + MOST_GIVEN       # of a card

cdef int64_t HOUR = 3600000000000   # ns

cdef class Claims:
    """Of a network with that prefix, of 64 bits."""

    def __cinit__(self):
        lock_init(&self.lock, RANK_LAYER)

    def __init__(self, prefix: str) -> None:
        self.prefix = IPv6Network(prefix).network_address.packed[:8]
        memcpy(self.prefix_bytes, <const char *>self.prefix, 8)

    def __dealloc__(self):
        free(self.claims)

    cdef bint covers(self, const uint8_t *address) noexcept nogil:
        return address[0] == 0xFE and address[1] & 0xC0 == 0x80 or memcmp(address, self.prefix_bytes, 8) == 0

    def address_of(self, mac: bytes) -> str:
        """The address of the network that a card gives itself of its MAC (RFC 4862, and RFC 2464, 4)."""
        cdef uint8_t address[16]
        address_of_mac(self.prefix_bytes, int.from_bytes(mac, "big"), address)
        return str(IPv6Address(address[:16]))

    cdef int enter(self, const void *owner, uint64_t mac, bytes given) except -1:
        """A card is there from now on, with the two addresses of its MAC, and those that it was given."""
        cdef const char *data = given
        cdef uint64_t index, count = len(given) // 16
        cdef uint8_t address[16]
        cdef Claim *more
        with nogil:
            lock(&self.lock)
            more = <Claim *>realloc(self.claims, (self.room + PLACES) * sizeof(Claim))
            if more != NULL:
                self.claims, self.room = more, self.room + PLACES
                address_of_mac(NULL, mac, address)
                self.put_for_good(owner, address)
                address_of_mac(self.prefix_bytes, mac, address)
                self.put_for_good(owner, address)
                for index in range(count):
                    self.put_for_good(owner, <const uint8_t *>data + 16 * index)
            unlock(&self.lock)
        if more == NULL:
            raise MemoryError
        return 0

    cdef void put_for_good(self, const void *owner, const uint8_t *address) noexcept nogil:
        cdef uint64_t index = 0
        while index < self.count and memcmp(self.claims[index].address, address, 16) != 0:
            index += 1
        if index == self.count:
            self.count += 1
        memcpy(self.claims[index].address, address, 16)
        self.claims[index].owner, self.claims[index].since = owner, INT64_MAX

    cdef void leave(self, const void *owner) noexcept nogil:
        cdef uint64_t index = 0
        cdef bint was = False
        lock(&self.lock)
        while index < self.count:
            if self.claims[index].owner == owner:
                self.count -= 1
                self.claims[index] = self.claims[self.count]
                was = True
            else:
                index += 1
        if was:
            self.room -= PLACES
        unlock(&self.lock)

    cdef bint take(self, const void *owner, const uint8_t *address, int64_t now, uint8_t *gone) noexcept nogil:
        cdef Claim *claim
        cdef Claim *oldest = NULL
        cdef uint64_t index
        cdef int own = 0
        cdef bint taken = False
        memset(gone, 0, 16)
        lock(&self.lock)
        for index in range(self.count):
            claim = &self.claims[index]
            if memcmp(claim.address, address, 16) == 0:
                taken = claim.owner == owner
                unlock(&self.lock)
                return taken
            if claim.owner == owner and claim.since != INT64_MAX:
                own += 1
                if oldest == NULL or claim.since < oldest.since:
                    oldest = claim
        if own < MOST_CLAIMS:
            oldest = &self.claims[self.count]
            self.count += 1
            taken = True
        elif oldest.since + HOUR < now:
            memcpy(gone, oldest.address, 16)
            taken = True
        if taken:
            memcpy(oldest.address, address, 16)
            oldest.owner, oldest.since = owner, now
        unlock(&self.lock)
        return taken


cdef void address_of_mac(const uint8_t *prefix, uint64_t mac, uint8_t *address) noexcept nogil:
    cdef int index
    memset(address, 0, 8)
    address[0], address[1] = 0xFE, 0x80
    if prefix != NULL:
        memcpy(address, prefix, 8)
    for index in range(3):
        address[8 + index] = mac >> (40 - 8 * index)
        address[13 + index] = mac >> (16 - 8 * index)
    address[8] ^= 2
    address[11], address[12] = 0xFF, 0xFE
