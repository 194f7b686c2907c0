"""Chains of requests of a transmit ring (public/io/netif.h): one frame each.

A request is copied out of the ring once, and only the copy is looked at.  What no frontend does by mistake (an entry
that is not there, a frame past a page's end, an extra info of no type) is a fault, after which nothing of the ring is
believed; what a large frame of an old one may do is refused, and answered.  Which is which is as in Linux's backend.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memset

from xenia.abi.netif cimport (
    NETTXF_extra_info, NETTXF_more_data, XEN_NETIF_EXTRA_FLAG_MORE, XEN_NETIF_EXTRA_TYPE_MAX, netif_extra_info_t,
    netif_tx_request_t,
)
from xenia.machine.paging cimport PAGE_SIZE
from xenia.rings.request cimport BackRing, back_take


cdef void take_chain(BackRing *ring, int waiting, const netif_tx_request_t *first, Chain *chain) noexcept nogil:
    chain.first = first[0]
    chain.nr_rest = 0
    chain.refused = False
    chain.fault = NULL
    memset(chain.has_extra, 0, sizeof(chain.has_extra))
    chain.ids[0] = first.id
    chain.nr_slots = 1
    if first.flags & NETTXF_extra_info and not take_extras(ring, waiting, chain):
        return
    if first.flags & NETTXF_more_data and not take_rest(ring, waiting, chain):
        return
    check_sizes(chain)


cdef bint take_extras(BackRing *ring, int waiting, Chain *chain) noexcept nogil:
    cdef netif_extra_info_t extra
    while True:
        if <int>chain.nr_slots >= waiting:
            chain.fault = "an extra info is missing"
            return False
        back_take(ring, &extra, sizeof(extra))
        chain.ids[chain.nr_slots] = NO_ID
        chain.nr_slots += 1
        if extra.type == 0 or extra.type >= XEN_NETIF_EXTRA_TYPE_MAX:
            chain.fault = "an extra info is of no type that there is"
            return False
        chain.extras[extra.type] = extra
        chain.has_extra[extra.type] = True
        if not extra.flags & XEN_NETIF_EXTRA_FLAG_MORE:
            return True


cdef bint take_rest(BackRing *ring, int waiting, Chain *chain) noexcept nogil:
    cdef netif_tx_request_t request
    cdef uint32_t taken = 0
    while True:
        if <int>chain.nr_slots >= waiting:
            chain.fault = "a chain of requests ends before its last one"
            return False
        if taken == FATAL_REST:
            chain.fault = "a chain of requests is too long"
            return False
        back_take(ring, &request, sizeof(request))
        chain.ids[chain.nr_slots] = request.id
        chain.nr_slots += 1
        if <uint32_t>request.offset + request.size > PAGE_SIZE:
            chain.fault = "a request goes past the end of its page"
            return False
        if taken < MOST_REST:
            chain.rest[taken] = request
            chain.nr_rest = taken + 1
        else:
            chain.refused = True
        taken += 1
        if not request.flags & NETTXF_more_data:
            return True


cdef void check_sizes(Chain *chain) noexcept nogil:
    # The first request's size is the frame's: what is in its own page is what the others leave.
    cdef uint32_t index, others = 0
    for index in range(chain.nr_rest):
        others += chain.rest[index].size
    if chain.refused or others > chain.first.size:
        chain.refused = True
    elif <uint32_t>chain.first.offset + chain.first.size - others > PAGE_SIZE:
        chain.fault = "a request goes past the end of its page"
