# Control and debug registers as a PV guest sees them.
from libc.stdint cimport uint64_t
from xenia.domain.domain cimport Vcpu

cdef enum:
    CR4_DE = 1 << 3

cdef void taskswitch(Vcpu *vcpu, bint set) noexcept nogil               # the guest's CR0.TS
# False: there is none of that number, or it does not take the value.
cdef bint control_read(Vcpu *vcpu, int n, uint64_t *value) noexcept nogil
cdef bint control_write(Vcpu *vcpu, int n, uint64_t value) noexcept nogil
# 0, or -XEN_E*.
cdef int debugreg_write(Vcpu *vcpu, int n, uint64_t value) noexcept nogil
cdef int debugreg_read(Vcpu *vcpu, int n, uint64_t *value) noexcept nogil
