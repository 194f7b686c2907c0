# Which frames of the network a card is given, and on which of its queues.  See steering.pyx.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.backends.vif.multicast cimport Multicast
from xenia.net.frame cimport Frame

cdef enum:
    MOST_KEY_BYTES = 40             # as Linux's netback
    MOST_MAPPED = 128
    ALL_HASH_TYPES = 0xF            # XEN_NETIF_CTRL_HASH_TYPE_*

# What the guest is told of a frame's hash: netif_extra_hash_t.
cdef struct Hash:
    uint8_t type
    uint8_t algorithm               # XEN_NETIF_CTRL_HASH_ALGORITHM_NONE: it is told nothing
    uint32_t value


# Called on any thread, several at once; what the control ring sets is set by one thread.
cdef class Steering:
    cdef readonly Multicast multicast
    cdef volatile uint32_t algorithm
    cdef volatile uint32_t types    # XEN_NETIF_CTRL_HASH_TYPE_* that are computed
    cdef volatile uint8_t key[MOST_KEY_BYTES]
    cdef volatile uint32_t nr_mapped
    cdef volatile uint32_t mapping[MOST_MAPPED]
    cdef volatile uint8_t down      # no carrier
    cdef volatile uint64_t swallowed_frames
    # Whether so many frames go nowhere, either way, for there is no carrier; they are counted then.
    cdef bint swallows(self, int count) noexcept nogil
    # Whether the card takes frames to this multicast address.
    cdef bint wants(self, const uint8_t *address) noexcept nogil
    # The guest asks for them, or no more.  False: it cannot be had.
    cdef bint join(self, const uint8_t *address) noexcept nogil
    cdef void leave(self, const uint8_t *address) noexcept nogil
    # The number of the queue that the frame goes to; the same for all frames of a flow, as long as the frontend sets
    # nothing.
    cdef uint32_t queue_of(self, const Frame *frame, uint32_t nr_queues, Hash *hash) noexcept nogil
    cdef void reset(self) noexcept nogil
