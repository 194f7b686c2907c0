# What a guest kernel meets instead of an IDT.  Every function works on vcpu.context and answers a Verdict (RESUME or
# LEAVE).
from libc.stdint cimport uint32_t, uint64_t
from xenia.domain.domain cimport Vcpu

cdef int inject_exception(Vcpu *vcpu, int vector, uint32_t error, uint64_t address) noexcept nogil
cdef int page_fault(Vcpu *vcpu, uint32_t error, uint64_t va) noexcept nogil       # ptwr, LDT and GDT area, else inject
cdef int general_protection(Vcpu *vcpu, uint32_t error) noexcept nogil            # privileged emulation, else inject
cdef int invalid_opcode(Vcpu *vcpu) noexcept nogil              # forced emulation (ud2 "xen"), else inject
cdef int soft_interrupt(Vcpu *vcpu, int vector) noexcept nogil                    # int n, with the guest's DPL rule
# To the guest's syscall/syscall32/sysenter callback.
cdef int syscall_from_user(Vcpu *vcpu, bint is_sysenter) noexcept nogil
cdef int hypercall_iret(Vcpu *vcpu) noexcept nogil
cdef int deliver_pending(Vcpu *vcpu) noexcept nogil     # NMI, then event upcall, if the guest takes them now
