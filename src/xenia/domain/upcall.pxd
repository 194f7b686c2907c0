# How a vcpu is told that events wait for it: vcpu_info's upcall flag (public/xen.h), the same for both ABIs of event
# channels.
from xenia.domain.domain cimport Vcpu
from xenia.machine.atomic cimport flag_read, flag_set, flag_store, flag_swap


# Upcall pending and not masked.
cdef inline bint events_pending(Vcpu *vcpu) noexcept nogil:
    return vcpu.info.evtchn_upcall_pending and not vcpu.info.evtchn_upcall_mask


# From any thread: look round soon, if it runs.
cdef inline void vcpu_nudge(Vcpu *vcpu) noexcept nogil:
    flag_set(&vcpu.preempt)
    if vcpu.processor != NULL:
        vcpu.processor.ops.kick(vcpu.processor)


# From any thread: have its pcpu look at it soon, though it has nothing to run.
cdef inline void vcpu_wake(Vcpu *vcpu) noexcept nogil:
    if vcpu.wake != NULL:
        vcpu.wake(vcpu.wake_argument)


# From any thread: look round soon, whether it runs or sleeps.
cdef inline void vcpu_rouse(Vcpu *vcpu) noexcept nogil:
    if flag_read(&vcpu.blocked) or not flag_read(&vcpu.is_up):
        vcpu_wake(vcpu)
    else:
        vcpu_nudge(vcpu)


# Somebody else than the vcpu itself is at work on it.
cdef inline bint is_another(Vcpu *vcpu) noexcept nogil:
    return vcpu.domain.turn.holder != NULL and vcpu.domain.turn.holder != vcpu


# Ends SCHEDOP_block and SCHEDOP_poll.  By who has the turn.
cdef inline void vcpu_unblock(Vcpu *vcpu) noexcept nogil:
    vcpu.events.poll_nr = 0
    vcpu.timers.poll_expires = 0
    if vcpu.blocked:
        flag_store(&vcpu.blocked, 0)
        if is_another(vcpu):
            vcpu_wake(vcpu)


# By who has the turn.  A vcpu that has its upcall masked looks by itself when it unmasks.
cdef inline void mark_events_pending(Vcpu *vcpu) noexcept nogil:
    if not flag_swap(&vcpu.info.evtchn_upcall_pending, 0, 1):
        return
    if vcpu.blocked:
        vcpu_unblock(vcpu)
    elif is_another(vcpu) and not flag_read(&vcpu.info.evtchn_upcall_mask):
        vcpu_nudge(vcpu)
