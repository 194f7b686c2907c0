"""sched_op, its older form, and set_timer_op (public/sched.h)."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from xenia.abi.errno cimport XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM, XEN_ESRCH
from xenia.abi.sched cimport (
    SCHEDOP_block,
    SCHEDOP_pin_override,
    SCHEDOP_poll,
    SCHEDOP_remote_shutdown,
    SCHEDOP_shutdown,
    SCHEDOP_shutdown_code,
    SCHEDOP_watchdog,
    SCHEDOP_yield,
    sched_poll_t,
    sched_remote_shutdown_t,
    sched_shutdown_t,
    sched_watchdog_t,
)
from xenia.domain.domain cimport SHUTDOWN_NONE, Vcpu
from xenia.domain.events cimport event_port_pending
from xenia.domain.channels cimport event_port_valid
from xenia.domain.lifecycle cimport domain_shutdown
from xenia.domain.time cimport system_time, timer_set_singleshot, watchdog_set
from xenia.domain.upcall cimport events_pending
from xenia.hypercalls.guest cimport from_guest

cdef enum:
    MAX_POLL_PORTS = 128
    FAR_FUTURE_SHIFT = 50               # timeouts this far off (13 days) are taken for a guest's overflow...
    FAR_FUTURE_NS = 100_000_000         # ... and fire after 100 ms


# SCHEDOP_block: deliver events, then sleep until one comes.
cdef void block(Vcpu *vcpu) noexcept nogil:
    vcpu.info.evtchn_upcall_mask = 0
    if not vcpu.info.evtchn_upcall_pending:
        vcpu.blocked = 1


cdef int64_t poll(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef sched_poll_t op
    cdef uint32_t ports[MAX_POLL_PORTS]
    cdef uint32_t i
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    if op.nr_ports > MAX_POLL_PORTS:
        return -XEN_EINVAL
    if from_guest(vcpu, ports, op.ports, op.nr_ports * sizeof(uint32_t)):
        return -XEN_EFAULT
    if events_pending(vcpu):
        return 0
    for i in range(op.nr_ports):
        if not event_port_valid(vcpu.domain, ports[i]):
            return -XEN_EINVAL
        if event_port_pending(vcpu.domain, ports[i]):
            return 0
        vcpu.events.poll_ports[i] = ports[i]
    if op.timeout and op.timeout <= system_time(vcpu.domain):
        return 0
    vcpu.timers.poll_expires = op.timeout
    vcpu.events.poll_nr = op.nr_ports
    vcpu.blocked = 1
    return 0


cdef int64_t shutdown(Vcpu *vcpu, uint64_t va, bint code_only) noexcept nogil:
    cdef sched_shutdown_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    if not code_only:
        domain_shutdown(vcpu.domain, <uint8_t>op.reason)
    elif vcpu.domain.life.shutdown_code == SHUTDOWN_NONE:
        vcpu.domain.life.shutdown_code = <uint8_t>op.reason
    return 0


cdef int64_t remote_shutdown(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef sched_remote_shutdown_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    # For device models and the control domain; DOMID_SELF is no domain here.
    return -XEN_EPERM if op.domain_id == 0 or op.domain_id == vcpu.domain.domid else -XEN_ESRCH


cdef int64_t watchdog(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef sched_watchdog_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    return watchdog_set(vcpu, op.id, op.timeout)


cdef int64_t do_sched_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint32_t cmd = <uint32_t>args[0]
    if cmd == SCHEDOP_block:
        block(vcpu)
        return 0
    if cmd == SCHEDOP_yield:
        vcpu.yielded = 1
        return 0
    if cmd == SCHEDOP_poll:
        return poll(vcpu, args[1])
    if cmd == SCHEDOP_shutdown or cmd == SCHEDOP_shutdown_code:
        return shutdown(vcpu, args[1], cmd == SCHEDOP_shutdown_code)
    if cmd == SCHEDOP_remote_shutdown:
        return remote_shutdown(vcpu, args[1])
    if cmd == SCHEDOP_watchdog:
        return watchdog(vcpu, args[1])
    return -XEN_EPERM if cmd == SCHEDOP_pin_override else -XEN_ENOSYS


cdef int64_t do_sched_op_compat(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint32_t cmd = <uint32_t>args[0]
    if cmd == SCHEDOP_shutdown:         # here the reason is the argument itself
        domain_shutdown(vcpu.domain, <uint8_t>args[1])
        return 0
    return do_sched_op(vcpu, args) if cmd == SCHEDOP_yield or cmd == SCHEDOP_block else -XEN_ENOSYS


cdef int64_t do_set_timer_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef int64_t timeout = <int64_t>args[0]
    cdef uint64_t now
    if timeout == 0:
        vcpu.timers.singleshot_expires = 0
        return 0
    now = system_time(vcpu.domain)
    if timeout < 0 or (timeout > <int64_t>now and (<uint64_t>timeout - now) >> FAR_FUTURE_SHIFT):
        timeout = <int64_t>now + FAR_FUTURE_NS
    timer_set_singleshot(vcpu, <uint64_t>timeout, now)
    return 0
