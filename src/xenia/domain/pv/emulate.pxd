# Privileged instructions of the guest kernel, done in software.  EMULATE_*.
from libc.stdint cimport uint32_t, uint64_t
from xenia.domain.domain cimport Vcpu
from xenia.domain.pv.instruction cimport Fault

cdef int emulate_privileged(Vcpu *vcpu, Fault *fault) noexcept nogil    # the instruction at rip, after a #GP(0)
cdef int emulate_forced(Vcpu *vcpu) noexcept nogil                      # ud2; .ascii "xen"; cpuid
# Debug registers: 0, or -XEN_E*.
cdef int debugreg_write(Vcpu *vcpu, int n, uint64_t value) noexcept nogil
cdef int debugreg_read(Vcpu *vcpu, int n, uint64_t *value) noexcept nogil
cdef void taskswitch(Vcpu *vcpu, bint set) noexcept nogil               # the guest's CR0.TS
