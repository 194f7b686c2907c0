"""Event bits in shared_info: the two-level ABI of public/event_channel.h.

A port's pending and mask bits live in shared_info, one selector bit per 64 ports and the upcall flag in the vcpu's
vcpu_info.  Raising a port sets its pending bit; if it was clear and the port is not masked, the selector bit; if that
was clear, the upcall flag, which is what the guest is interrupted for.  The guest clears them from the other end.
"""
from libc.stdint cimport uint32_t, uint64_t
from xenia.domain.channels cimport event_channel
from xenia.domain.domain cimport Vcpu
from xenia.domain.upcall cimport mark_events_pending


cdef inline uint64_t bit_of(uint32_t port) noexcept nogil:
    return <uint64_t>1 << (port & 63)


cdef void select_word(Domain *domain, uint32_t port) noexcept nogil:
    cdef Vcpu *vcpu = domain.vcpus[event_channel(domain, port).notify_vcpu]
    cdef uint64_t bit = <uint64_t>1 << (port >> 6)
    if not vcpu.info.evtchn_pending_sel & bit:
        vcpu.info.evtchn_pending_sel |= bit
        mark_events_pending(vcpu)


cdef bint two_level_set_pending(Domain *domain, uint32_t port) noexcept nogil:
    cdef uint64_t bit = bit_of(port)
    if domain.shared_info.evtchn_pending[port >> 6] & bit:
        return False
    domain.shared_info.evtchn_pending[port >> 6] |= bit
    if not domain.shared_info.evtchn_mask[port >> 6] & bit:
        select_word(domain, port)
    return True


cdef void two_level_clear_pending(Domain *domain, uint32_t port) noexcept nogil:
    domain.shared_info.evtchn_pending[port >> 6] &= ~bit_of(port)


cdef void two_level_unmask(Domain *domain, uint32_t port) noexcept nogil:
    cdef uint64_t bit = bit_of(port)
    if domain.shared_info.evtchn_mask[port >> 6] & bit:
        domain.shared_info.evtchn_mask[port >> 6] &= ~bit
        if domain.shared_info.evtchn_pending[port >> 6] & bit:
            select_word(domain, port)


cdef bint two_level_is_pending(Domain *domain, uint32_t port) noexcept nogil:
    return domain.shared_info.evtchn_pending[port >> 6] & bit_of(port) != 0


cdef bint two_level_is_masked(Domain *domain, uint32_t port) noexcept nogil:
    return domain.shared_info.evtchn_mask[port >> 6] & bit_of(port) != 0
