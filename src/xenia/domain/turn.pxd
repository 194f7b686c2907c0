# Domain.turn: the lock by which the vcpus of a domain exclude one another in Xenia.
#
# Guest code of several vcpus runs at once, on a host thread each.  What an exit, a hypercall or the run loop changes of
# the domain belongs to whoever has the domain's turn: event channels, grants, timers, states of vcpus, page tables
# (those with memory.lock as well, because backends and other domains come to them too).  A few exits work without it,
# because they touch only what is the vcpu's own, and the guest's memory: bounces, iret, the hypercalls that
# RowLock.VCPU names, instructions that are emulated.
#
# It is passed on wherever a vcpu waits: for events, and while a listener answers what it sent (events.pyx), which may
# take long.  Who has it takes further locks, in the order of machine/lock.pxd; who has one of those does not take it.
#
# `holder` says who has it, so that what concerns another vcpu wakes or kicks that one (upcall.pxd).
from xenia.cpu.processor cimport processor_enter, processor_leave
from xenia.domain.domain cimport Domain, Vcpu
from xenia.machine.lock cimport lock, try_lock, unlock


# By a vcpu's thread that is not in the guest, nor in an exit.
cdef inline void turn_hold(Vcpu *vcpu) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    lock(&domain.turn.lock)
    domain.turn.holder = vcpu
    domain.memory.preempt = &vcpu.preempt


# False where somebody has it.
cdef inline bint turn_try(Vcpu *vcpu) noexcept nogil:
    if not try_lock(&vcpu.domain.turn.lock):
        return False
    vcpu.domain.turn.holder = vcpu
    vcpu.domain.memory.preempt = &vcpu.preempt
    return True


cdef inline void turn_drop(Vcpu *vcpu) noexcept nogil:
    vcpu.domain.turn.holder = NULL
    unlock(&vcpu.domain.turn.lock)


# The same from inside an exit of the vcpu's, and back into it.  Its processor is outside meanwhile (cpu/processor).
cdef inline void turn_take(Vcpu *vcpu) noexcept nogil:
    processor_leave(vcpu.processor)
    turn_hold(vcpu)


cdef inline void turn_pass(Vcpu *vcpu) noexcept nogil:
    turn_drop(vcpu)
    processor_enter(vcpu.processor)


# Let others have it meanwhile, if anybody has it: whatever it guards may be different afterwards.
cdef inline Vcpu *turn_lend(Domain *domain) noexcept nogil:
    cdef Vcpu *holder = domain.turn.holder
    if holder != NULL:
        turn_drop(holder)
    return holder


cdef inline void turn_back(Vcpu *holder) noexcept nogil:
    if holder != NULL:
        turn_hold(holder)
