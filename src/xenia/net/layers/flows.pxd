# Which conversations were allowed.  See flows.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from xenia.net.parse cimport Headers

cdef enum:
    NR_SETS = 1024
    WAYS = 8

cdef struct Flow:
    uint8_t local[16]               # the guest's address; an IPv4 one in the first four, then zeroes
    uint8_t remote[16]
    uint16_t local_port             # for an echo, both are its identifier
    uint16_t remote_port
    uint8_t protocol                # 0: no flow
    uint8_t version
    uint8_t seen_from               # bit for each direction
    uint8_t ended_from              # FIN or RST
    uint32_t seen_at                # s

cdef struct Flows:
    Flow *entries                   # NULL: none is remembered
    uint64_t secret

# What a packet that goes `direction` belongs to; False: to none that could be remembered.
cdef bint flow_of(const Headers *headers, int direction, Flow *flow) noexcept nogil
# What the packet was of that an ICMP error tells of; False: it is no error, or does not tell.
cdef bint flow_of_error(const Headers *headers, int direction, Flow *flow) noexcept nogil
# Whether the packet begins something, so that it is not enough that its flow is known.
cdef bint begins(const Headers *headers) noexcept nogil
cdef Flow *flows_find(Flows *flows, const Flow *flow, uint32_t now) noexcept nogil      # NULL: not there
cdef void flows_remember(Flows *flows, const Flow *flow, uint32_t now) noexcept nogil
cdef void flow_saw(Flow *flow, const Headers *headers, int direction, uint32_t now) noexcept nogil
cdef int flows_count(Flows *flows, uint32_t now) noexcept nogil
