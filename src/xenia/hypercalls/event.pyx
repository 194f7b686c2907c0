"""event_channel_op: the argument structures of public/event_channel.h around the rules of domain/events."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from xenia.abi.errno cimport XEN_EFAULT, XEN_EINVAL, XEN_ENOENT, XEN_ENOSYS, XEN_EPERM
from xenia.abi.event_channel cimport (
    EVTCHN_FIFO_LINK_BITS,
    EVTCHNOP_alloc_unbound,
    EVTCHNOP_bind_interdomain,
    EVTCHNOP_bind_ipi,
    EVTCHNOP_bind_pirq,
    EVTCHNOP_bind_vcpu,
    EVTCHNOP_bind_virq,
    EVTCHNOP_close,
    EVTCHNOP_expand_array,
    EVTCHNOP_init_control,
    EVTCHNOP_reset,
    EVTCHNOP_send,
    EVTCHNOP_set_priority,
    EVTCHNOP_status,
    EVTCHNOP_unmask,
    EVTCHNSTAT_closed,
    EVTCHNSTAT_interdomain,
    EVTCHNSTAT_ipi,
    EVTCHNSTAT_unbound,
    EVTCHNSTAT_virq,
    evtchn_alloc_unbound_t,
    evtchn_bind_interdomain_t,
    evtchn_bind_ipi_t,
    evtchn_bind_pirq_t,
    evtchn_bind_vcpu_t,
    evtchn_bind_virq_t,
    evtchn_expand_array_t,
    evtchn_init_control_t,
    evtchn_reset_t,
    evtchn_set_priority_t,
    evtchn_status_t,
)
from xenia.domain.channels cimport event_channel, event_port_valid
from xenia.domain.domain cimport Vcpu, domain_vcpu
from xenia.domain.event_state cimport ECS_INTERDOMAIN, ECS_IPI, ECS_UNBOUND, ECS_VIRQ, ECS_XENIA, EventChannel
from xenia.domain.events cimport (
    event_alloc_unbound,
    event_bind_interdomain,
    event_bind_ipi,
    event_bind_vcpu,
    event_bind_virq,
    event_close,
    event_reset,
    event_send,
    event_set_priority,
    event_unmask,
)
from xenia.domain.fifo cimport fifo_expand_array, fifo_init_control
from xenia.hypercalls.guest cimport from_guest, own_domain, to_guest
from xenia.hypercalls.physdev cimport NR_PIRQS


# Hands `port` back through `*out`, copies the structure to the guest; a guest that cannot take it loses the port again.
cdef int64_t answer(Vcpu *vcpu, int64_t port, uint32_t *out, uint64_t va, const void *op, uint64_t size) noexcept nogil:
    if port < 0:
        return port
    out[0] = <uint32_t>port
    if to_guest(vcpu, va, op, size):
        event_close(vcpu.domain, <uint32_t>port)
        return -XEN_EFAULT
    return 0


cdef int64_t alloc_unbound(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef evtchn_alloc_unbound_t op
    cdef int64_t result
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    result = own_domain(vcpu.domain, op.dom)
    if result == 0:
        result = event_alloc_unbound(vcpu.domain, op.remote_dom)
    return answer(vcpu, result, &op.port, va, &op, sizeof(op))


cdef int64_t bind_interdomain(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef evtchn_bind_interdomain_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    return answer(
        vcpu, event_bind_interdomain(vcpu.domain, op.remote_dom, op.remote_port), &op.local_port, va, &op, sizeof(op))


cdef int64_t bind_virq(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef evtchn_bind_virq_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    return answer(vcpu, event_bind_virq(vcpu.domain, op.virq, op.vcpu), &op.port, va, &op, sizeof(op))


cdef int64_t bind_ipi(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef evtchn_bind_ipi_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    return answer(vcpu, event_bind_ipi(vcpu.domain, op.vcpu), &op.port, va, &op, sizeof(op))


cdef int64_t bind_pirq(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef evtchn_bind_pirq_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    return -XEN_EPERM if op.pirq < NR_PIRQS else -XEN_EINVAL


cdef int64_t status(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef evtchn_status_t op
    cdef EventChannel *channel
    cdef int result
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    result = own_domain(vcpu.domain, op.dom)
    if result:
        return result
    if not event_port_valid(vcpu.domain, op.port):
        return -XEN_EINVAL
    channel = event_channel(vcpu.domain, op.port)
    op.status = EVTCHNSTAT_closed
    if channel.state == ECS_UNBOUND:
        op.status = EVTCHNSTAT_unbound
        op.u.unbound_dom = channel.remote_domid
    elif channel.state == ECS_INTERDOMAIN or channel.state == ECS_XENIA:
        op.status = EVTCHNSTAT_interdomain
        op.u.interdomain.dom = channel.remote_domid
        op.u.interdomain.port = channel.remote_port
    elif channel.state == ECS_VIRQ:
        op.status = EVTCHNSTAT_virq
        op.u.virq = channel.virq
    elif channel.state == ECS_IPI:
        op.status = EVTCHNSTAT_ipi
    op.vcpu = channel.notify_vcpu
    return to_guest(vcpu, va, &op, sizeof(op))


cdef int64_t bind_vcpu(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef evtchn_bind_vcpu_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    return event_bind_vcpu(vcpu.domain, op.port, op.vcpu)


cdef int64_t reset(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef evtchn_reset_t op
    cdef int result
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    result = own_domain(vcpu.domain, op.dom)
    return result if result else event_reset(vcpu.domain)


cdef int64_t set_priority(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef evtchn_set_priority_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    return event_set_priority(vcpu.domain, op.port, op.priority)


cdef int64_t init_control(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef evtchn_init_control_t op
    cdef Vcpu *target
    cdef int result
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    target = domain_vcpu(vcpu.domain, op.vcpu)
    if target == NULL:
        return -XEN_ENOENT
    result = fifo_init_control(target, op.control_gfn, op.offset)
    if result:
        return result
    op.link_bits = EVTCHN_FIFO_LINK_BITS
    return to_guest(vcpu, va, &op, sizeof(op))


cdef int64_t expand_array(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef evtchn_expand_array_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    return fifo_expand_array(vcpu.domain, op.array_gfn)


cdef int64_t event_channel_op(Vcpu *vcpu, uint32_t cmd, uint64_t va) noexcept nogil:
    cdef uint32_t port
    if cmd == EVTCHNOP_send or cmd == EVTCHNOP_unmask or cmd == EVTCHNOP_close:
        if from_guest(vcpu, &port, va, sizeof(port)):
            return -XEN_EFAULT
        if cmd == EVTCHNOP_send:
            return event_send(vcpu.domain, port)
        return event_unmask(vcpu.domain, port) if cmd == EVTCHNOP_unmask else event_close(vcpu.domain, port)
    if cmd == EVTCHNOP_alloc_unbound:
        return alloc_unbound(vcpu, va)
    if cmd == EVTCHNOP_bind_interdomain:
        return bind_interdomain(vcpu, va)
    if cmd == EVTCHNOP_bind_virq:
        return bind_virq(vcpu, va)
    if cmd == EVTCHNOP_bind_ipi:
        return bind_ipi(vcpu, va)
    if cmd == EVTCHNOP_bind_pirq:
        return bind_pirq(vcpu, va)
    if cmd == EVTCHNOP_status:
        return status(vcpu, va)
    if cmd == EVTCHNOP_bind_vcpu:
        return bind_vcpu(vcpu, va)
    if cmd == EVTCHNOP_reset:
        return reset(vcpu, va)
    if cmd == EVTCHNOP_set_priority:
        return set_priority(vcpu, va)
    if cmd == EVTCHNOP_init_control:
        return init_control(vcpu, va)
    if cmd == EVTCHNOP_expand_array:
        return expand_array(vcpu, va)
    return -XEN_ENOSYS


cdef int64_t do_event_channel_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    return event_channel_op(vcpu, <uint32_t>args[0], args[1])


cdef int64_t do_event_channel_op_compat(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint32_t cmd
    cdef unsigned char whole[24]        # struct evtchn_op
    if from_guest(vcpu, whole, args[0], sizeof(whole)):
        return -XEN_EFAULT
    cmd = (<uint32_t *>whole)[0]
    if cmd > EVTCHNOP_unmask:
        return -XEN_ENOSYS
    return event_channel_op(vcpu, cmd, args[0] + 4)
