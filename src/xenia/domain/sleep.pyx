"""A domain that sleeps for good: its vcpus block or are down, and every channel that could bring it an event from
outside is masked.

Without a timer there is no more to say.  With one, Linux is known to sleep so: when it is told to suspend to memory
(`echo mem >/sys/power/state`), it turns its interrupts off and idles until a device that is marked for it wakes it, and
no Xen device is; its timers go on, for nothing.  A Linux that has listened once and is deaf for some seconds does just
that: otherwise its interrupts are off for moments.  On real Xen such a domain stays as it is until somebody destroys
it.
"""
from libc.stdint cimport uint32_t
from xenia.domain.channels cimport event_channel
from xenia.domain.domain cimport Vcpu
from xenia.domain.event_state cimport ECS_INTERDOMAIN, ECS_UNBOUND, ECS_XENIA
from xenia.domain.fifo cimport fifo_is_masked
from xenia.domain.two_level cimport two_level_is_masked

cdef enum:
    DEAF_NS = 3_000_000_000


cdef bint domain_idle(Domain *domain) noexcept nogil:
    cdef Vcpu *vcpu
    cdef uint32_t id
    if domain.links.mailbox_any:
        return False
    for id in range(domain.nr_vcpus):
        vcpu = domain.vcpus[id]
        if vcpu.is_up and not vcpu.blocked:
            return False
    return True


cdef bint expects(Domain *domain) noexcept nogil:
    # One of them polls, which looks at masked ports too, or has an NMI to come.
    cdef Vcpu *vcpu
    cdef uint32_t id
    for id in range(domain.nr_vcpus):
        vcpu = domain.vcpus[id]
        if vcpu.is_up and (vcpu.events.poll_nr or vcpu.traps.nmi_pending):
            return True
    return False


cdef bint sleeps_for_good(Domain *domain, uint64_t now, uint64_t deadline) noexcept nogil:
    if expects(domain) or listens(domain):
        domain.life.has_listened = 1
        domain.life.deaf_since = 0
    elif deadline == 0:
        return True
    elif domain.life.deaf_since == 0:
        domain.life.deaf_since = now
    elif now > domain.life.deaf_since + DEAF_NS:
        return domain.is_linux and domain.life.has_listened
    return False


cdef bint listens(Domain *domain) noexcept nogil:
    cdef uint32_t port
    for port in range(1, domain.events.valid_ports):
        if event_channel(domain, port).state in (ECS_UNBOUND, ECS_INTERDOMAIN, ECS_XENIA):
            if not (fifo_is_masked(domain, port) if domain.events.fifo else two_level_is_masked(domain, port)):
                return True
    return False
