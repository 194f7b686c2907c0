# How a vcpu is told that events wait for it: vcpu_info's upcall flag (public/xen.h), the same for both ABIs of event
# channels.
from xenia.domain.domain cimport Vcpu
from xenia.machine.atomic cimport flag_store


# Upcall pending and not masked.
cdef inline bint events_pending(Vcpu *vcpu) noexcept nogil:
    return vcpu.info.evtchn_upcall_pending and not vcpu.info.evtchn_upcall_mask


# Ends SCHEDOP_block and SCHEDOP_poll.
cdef inline void vcpu_unblock(Vcpu *vcpu) noexcept nogil:
    vcpu.events.poll_nr = 0
    vcpu.timers.poll_expires = 0
    if vcpu.blocked:
        flag_store(&vcpu.blocked, 0)


# By the domain's own thread.
cdef inline void mark_events_pending(Vcpu *vcpu) noexcept nogil:
    if not vcpu.info.evtchn_upcall_pending:
        vcpu.info.evtchn_upcall_pending = 1
        vcpu_unblock(vcpu)
