# One row per hypercall: number, name, handler, argument layout, lock, guests, support level, note.
from libc.stdint cimport int64_t, uint64_t
from xenia.domain.domain cimport GuestAbi, Vcpu

# A handler takes the (up to six) arguments and returns the guest's result: a value, or -XEN_E*.
# HYPERCALL_CONTINUE says: not finished, call again with the arguments as the handler now left them (Xen's
# continuation).
# HYPERCALL_DONE says: the context is already as it shall be (iret); write no result.
# No result looks like these: they are no errno, no count, and no address that a guest may put into a debug register.
cdef enum:
    NR_HYPERCALLS = 64
    HYPERCALL_CONTINUE = 0x4000000000000001
    HYPERCALL_DONE = 0x4000000000000002

ctypedef int64_t (*hypercall_fn)(Vcpu *vcpu, uint64_t *args) noexcept nogil

# What a 64-bit PV guest has.
cdef const GuestAbi *guest_pv64() noexcept nogil
# Its hypercall: the one in vcpu.context (rax, rdi, rsi, rdx, r10, r8, r9; rip past the two-byte `syscall`).  A Verdict:
# LEAVE when the vcpu blocked, yielded, set a timer, or is to stop or be preempted, or the domain shut down.
cdef int hypercall64(Vcpu *vcpu) noexcept nogil
# One hypercall by number, without a context: HYPERCALL_* or the result.
cdef int64_t hypercall_call(Vcpu *vcpu, uint64_t number, uint64_t *args) noexcept nogil
