"""Event bits in shared_info: the two-level ABI of public/event_channel.h.

A port's pending and mask bits live in shared_info, one selector bit per 64 ports and the upcall flag in the vcpu's
vcpu_info.  Raising a port sets its pending bit; if it was clear and the port is not masked, the selector bit; if that
was clear, the upcall flag, which is what the guest is interrupted for.  The guest clears them from the other end,
on all its vcpus at once, so every change is an atomic operation.
"""
from libc.stdint cimport uint32_t, uint64_t
from xenia.domain.channels cimport event_channel
from xenia.domain.domain cimport Vcpu
from xenia.domain.upcall cimport mark_events_pending
from xenia.machine.atomic cimport word_read, word_test_clear, word_test_set


cdef inline uint64_t bit_of(uint32_t port) noexcept nogil:
    return <uint64_t>1 << (port & 63)


cdef void select_word(Domain *domain, uint32_t port) noexcept nogil:
    cdef Vcpu *vcpu = domain.vcpus[event_channel(domain, port).notify_vcpu]
    cdef uint64_t bit = <uint64_t>1 << (port >> 6)
    if not word_test_set(&vcpu.info.evtchn_pending_sel, bit):
        mark_events_pending(vcpu)


cdef bint two_level_set_pending(Domain *domain, uint32_t port) noexcept nogil:
    cdef uint64_t bit = bit_of(port)
    if word_test_set(&domain.shared_info.evtchn_pending[port >> 6], bit):
        return False
    if not word_read(&domain.shared_info.evtchn_mask[port >> 6]) & bit:
        select_word(domain, port)
    return True


cdef void two_level_clear_pending(Domain *domain, uint32_t port) noexcept nogil:
    word_test_clear(&domain.shared_info.evtchn_pending[port >> 6], bit_of(port))


cdef void two_level_unmask(Domain *domain, uint32_t port) noexcept nogil:
    cdef uint64_t bit = bit_of(port)
    if word_test_clear(&domain.shared_info.evtchn_mask[port >> 6], bit):
        if word_read(&domain.shared_info.evtchn_pending[port >> 6]) & bit:
            select_word(domain, port)


cdef bint two_level_is_pending(Domain *domain, uint32_t port) noexcept nogil:
    return domain.shared_info.evtchn_pending[port >> 6] & bit_of(port) != 0


cdef bint two_level_is_masked(Domain *domain, uint32_t port) noexcept nogil:
    return domain.shared_info.evtchn_mask[port >> 6] & bit_of(port) != 0
