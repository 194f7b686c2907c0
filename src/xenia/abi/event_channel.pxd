# public/event_channel.h
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    EVTCHNOP_bind_interdomain = 0
    EVTCHNOP_bind_virq = 1
    EVTCHNOP_bind_pirq = 2
    EVTCHNOP_close = 3
    EVTCHNOP_send = 4
    EVTCHNOP_status = 5
    EVTCHNOP_alloc_unbound = 6
    EVTCHNOP_bind_ipi = 7
    EVTCHNOP_bind_vcpu = 8
    EVTCHNOP_unmask = 9
    EVTCHNOP_reset = 10
    EVTCHNOP_init_control = 11
    EVTCHNOP_expand_array = 12
    EVTCHNOP_set_priority = 13

    EVTCHNSTAT_closed = 0
    EVTCHNSTAT_unbound = 1
    EVTCHNSTAT_interdomain = 2
    EVTCHNSTAT_pirq = 3
    EVTCHNSTAT_virq = 4
    EVTCHNSTAT_ipi = 5

    EVTCHN_FIFO_PRIORITY_DEFAULT = 7
    EVTCHN_FIFO_PRIORITY_MIN = 15
    EVTCHN_FIFO_MAX_QUEUES = 16

    EVTCHN_FIFO_PENDING = 31            # bits of an event word; below them the link
    EVTCHN_FIFO_MASKED = 30
    EVTCHN_FIFO_LINKED = 29
    EVTCHN_FIFO_BUSY = 28
    EVTCHN_FIFO_LINK_BITS = 17
    EVTCHN_FIFO_LINK_MASK = 0x1ffff
    EVTCHN_FIFO_NR_CHANNELS = 1 << 17

cdef struct evtchn_alloc_unbound_t:
    uint16_t dom
    uint16_t remote_dom
    uint32_t port

cdef struct evtchn_bind_interdomain_t:
    uint16_t remote_dom
    uint32_t remote_port
    uint32_t local_port

cdef struct evtchn_bind_virq_t:
    uint32_t virq
    uint32_t vcpu
    uint32_t port

cdef struct evtchn_bind_pirq_t:
    uint32_t pirq
    uint32_t flags
    uint32_t port

cdef struct evtchn_bind_ipi_t:
    uint32_t vcpu
    uint32_t port

cdef struct evtchn_close_t:
    uint32_t port

cdef struct evtchn_send_t:
    uint32_t port

cdef struct evtchn_status_interdomain_t:
    uint16_t dom
    uint32_t port

cdef union evtchn_status_u:
    uint16_t unbound_dom
    evtchn_status_interdomain_t interdomain
    uint32_t pirq
    uint32_t virq

cdef struct evtchn_status_t:
    uint16_t dom
    uint32_t port
    uint32_t status
    uint32_t vcpu
    evtchn_status_u u

cdef struct evtchn_bind_vcpu_t:
    uint32_t port
    uint32_t vcpu

cdef struct evtchn_unmask_t:
    uint32_t port

cdef struct evtchn_reset_t:
    uint16_t dom

cdef struct evtchn_init_control_t:
    uint64_t control_gfn
    uint32_t offset
    uint32_t vcpu
    uint8_t link_bits
    uint8_t _pad[7]

cdef struct evtchn_expand_array_t:
    uint64_t array_gfn

cdef struct evtchn_set_priority_t:
    uint32_t port
    uint32_t priority

cdef struct evtchn_fifo_control_block_t:
    uint32_t ready
    uint32_t _rsvd
    uint32_t head[16]
