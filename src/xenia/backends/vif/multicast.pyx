"""Which multicast frames a card wants: the list that its frontend sends in its frames (netif.h, "multicast control").

The list is kept whether it is used or not: a frontend may ask for the filter later, where the card offers that
(feature-dynamic-multicast-control).  Its places are words that are exchanged whole, so that a look takes no lock; an
address that two queues add at once may be there twice, and goes from both places.
"""

from collections.abc import Iterable

from libc.stdint cimport uint8_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    static inline uint64_t place_load(volatile uint64_t *place) { return __atomic_load_n(place, __ATOMIC_RELAXED); }
    static inline int place_swap(volatile uint64_t *place, uint64_t expected, uint64_t value)
    {
        return __atomic_compare_exchange_n(place, &expected, value, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
    """
    uint64_t place_load(volatile uint64_t *place) noexcept nogil
    bint place_swap(volatile uint64_t *place, uint64_t expected, uint64_t value) noexcept nogil

cdef enum:
    GROUP = 1                       # of an address's first byte: it is more than one station's
    USED = 1                        # above an address in its place, so that none of them is 0
    BYTES = 6


cdef inline uint64_t word_of(const uint8_t *address) noexcept nogil:
    cdef uint64_t word = USED
    cdef int i
    for i in range(BYTES):
        word = word << 8 | address[i]
    return word


cdef class Multicast:
    """The list of one card."""

    def filter(self, on: bool) -> None:
        """Let nothing else in, or everything, from now on."""
        self.filters = on

    def clear(self) -> None:
        """The list is empty, and nothing is filtered."""
        cdef int i
        self.filters = False
        for i in range(MOST_ADDRESSES):
            self.addresses[i] = 0

    def fill(self, addresses: Iterable[bytes]) -> None:
        """Add addresses of 6 bytes, as the frontend does."""
        cdef const uint8_t *bytes_of
        for address in addresses:
            if len(address) != BYTES:
                raise ValueError(address)
            bytes_of = <bytes>address
            self.add(bytes_of)

    @property
    def listed(self) -> list[bytes]:
        """The addresses, in their order."""
        words = {place_load(&self.addresses[i]) for i in range(MOST_ADDRESSES)} - {0}
        return [word.to_bytes(7, "big")[1:] for word in sorted(words)]

    cdef bint wants(self, const uint8_t *destination) noexcept nogil:
        cdef uint64_t word
        cdef int i
        if not self.filters or not destination[0] & GROUP:
            return True
        word = word_of(destination)
        if ~word << 16 == 0:            # broadcast
            return True
        for i in range(MOST_ADDRESSES):
            if place_load(&self.addresses[i]) == word:
                return True
        return False

    cdef bint add(self, const uint8_t *address) noexcept nogil:
        cdef uint64_t word = word_of(address)
        cdef int i
        for i in range(MOST_ADDRESSES):
            if place_load(&self.addresses[i]) == word:
                return True
        for i in range(MOST_ADDRESSES):
            if place_swap(&self.addresses[i], 0, word):
                return True
        return False

    cdef void remove(self, const uint8_t *address) noexcept nogil:
        cdef uint64_t word = word_of(address)
        cdef int i
        for i in range(MOST_ADDRESSES):
            place_swap(&self.addresses[i], word, 0)
