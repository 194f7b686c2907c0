# CPUID as a PV guest sees it.
from xenia.domain.domain cimport Vcpu

cdef void cpuid(Vcpu *vcpu) noexcept nogil              # of rax and rcx, into rax, rbx, rcx, rdx
cdef int emulate_forced(Vcpu *vcpu) noexcept nogil      # ud2; .ascii "xen"; cpuid: an EMULATE_*
