# Which multicast frames a card wants.  See multicast.pyx.
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    MOST_ADDRESSES = 64             # as Linux's netback


# From any thread, several at once.
cdef class Multicast:
    cdef volatile uint64_t addresses[MOST_ADDRESSES]    # 0: a place that is free
    cdef volatile bint filters      # the frontend asked for the filter (request-multicast-control)
    # Whether a frame to that address (6 bytes) is for the card, as far as its filter says.
    cdef bint wants(self, const uint8_t *destination) noexcept nogil
    # XEN_NETIF_EXTRA_TYPE_MCAST_ADD: whether it is in the list now.
    cdef bint add(self, const uint8_t *address) noexcept nogil
    # XEN_NETIF_EXTRA_TYPE_MCAST_DEL
    cdef void remove(self, const uint8_t *address) noexcept nogil
