# A domain's event channels as storage.
from libc.stdint cimport uint32_t
from xenia.domain.domain cimport Domain
from xenia.domain.event_state cimport ECS_RESERVED, EventChannel


cdef inline bint event_port_valid(Domain *domain, uint32_t port) noexcept nogil:
    return port < domain.events.valid_ports


# Precondition: the port is valid.
cdef inline EventChannel *event_channel(Domain *domain, uint32_t port) noexcept nogil:
    return &domain.events.buckets[port >> 6].channels[port & 63]


cdef inline bint event_port_in_use(Domain *domain, uint32_t port) noexcept nogil:
    return event_port_valid(domain, port) and event_channel(domain, port).state > ECS_RESERVED


cdef bint channels_grow(Domain *domain) noexcept nogil      # 64 more; False: there is no memory for them
cdef void channels_free(Domain *domain) noexcept nogil
