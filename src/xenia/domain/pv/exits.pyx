"""What each exit of a PV guest's vcpu means: a hypercall, a system call, a trap.

The processor calls `on_exit` at every exit, on the vcpu's thread.  Nearly always it answers RESUME, and the guest goes
on without anybody else having been asked; LEAVE gives the processor back to the run loop: the guest blocks, it has
ended, or somebody kicked it.
"""

from xenia.cpu.processor cimport (
    EXIT_DEBUG, EXIT_EXCEPTION, EXIT_SOFT_INTERRUPT, EXIT_SYSCALL, EXIT_SYSENTER, LEAVE, TRAP_GP, TRAP_PF, TRAP_UD,
    Exit,
)
from xenia.domain.domain cimport SHUTDOWN_NONE, Domain, Vcpu
from xenia.domain.pv.traps cimport (
    deliver_pending, general_protection, inject_exception, invalid_opcode, page_fault, soft_interrupt,
    syscall_from_user,
)


cdef int on_exit(void *opaque, Exit *exit) noexcept nogil:
    cdef Vcpu *vcpu = <Vcpu *>opaque
    cdef Domain *domain = vcpu.domain
    cdef int verdict
    if exit.kind == EXIT_SYSCALL:
        verdict = vcpu.domain.abi.hypercall(vcpu) if vcpu.context.kernel else syscall_from_user(vcpu, False)
    elif exit.kind == EXIT_EXCEPTION:
        vcpu.counts.exceptions[exit.vector & 31] += 1
        if exit.vector == TRAP_PF:
            verdict = page_fault(vcpu, exit.error, exit.address)
        elif exit.vector == TRAP_GP:
            verdict = general_protection(vcpu, exit.error)
        elif exit.vector == TRAP_UD:
            verdict = invalid_opcode(vcpu)
        else:
            verdict = inject_exception(vcpu, exit.vector, exit.error, exit.address)
    elif exit.kind == EXIT_SOFT_INTERRUPT:
        verdict = soft_interrupt(vcpu, exit.vector)
    elif exit.kind == EXIT_SYSENTER:
        verdict = syscall_from_user(vcpu, True)
    else:
        if exit.kind == EXIT_DEBUG and domain.links.debugger != NULL:
            domain.links.stopped(vcpu, exit)
        return LEAVE
    if verdict == LEAVE or vcpu.preempt or domain.life.shutdown != SHUTDOWN_NONE or vcpu.blocked:
        return LEAVE
    return deliver_pending(vcpu)
