# Chains of requests of a transmit ring as plain data: one frame each.
from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t
from xenia.abi.netif cimport XEN_NETIF_EXTRA_TYPE_MAX, XEN_NETIF_NR_SLOTS_MIN, netif_extra_info_t, netif_tx_request_t
from xenia.net.frame cimport VnetHeader
from xenia.rings.request cimport BackRing

cdef enum:
    NR_TX = 256                 # entries of a ring of one page
    NR_RX = 256
    MOST_REST = XEN_NETIF_NR_SLOTS_MIN  # requests after a chain's first one, as Linux's backend takes them
    FATAL_REST = 20             # so many are no mistake
    NO_ID = 0x10000             # of an entry that held an extra info

cdef struct Chain:
    netif_tx_request_t first    # its size is the frame's
    netif_tx_request_t rest[MOST_REST]
    uint32_t nr_rest
    netif_extra_info_t extras[XEN_NETIF_EXTRA_TYPE_MAX]     # by type; the last of each
    uint8_t has_extra[XEN_NETIF_EXTRA_TYPE_MAX]
    uint32_t nr_slots           # entries of the ring, extra infos among them
    uint32_t ids[NR_TX]         # of the request in each, or NO_ID
    bint refused                # it is answered with an error, and nothing else
    const char *fault           # nothing of the ring is believed any more; NULL: all is well

# Take the chain whose first request was taken from the ring already; `waiting`: requests that were there with it.
cdef void take_chain(BackRing *ring, int waiting, const netif_tx_request_t *first, Chain *chain) noexcept nogil
