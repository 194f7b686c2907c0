# Model-specific registers as a PV guest sees them.  False: there is none of that number, or it does not take the value.
from libc.stdint cimport uint32_t, uint64_t
from xenia.domain.domain cimport Vcpu

cdef bint msr_read(Vcpu *vcpu, uint32_t index, uint64_t *value) noexcept nogil
cdef bint msr_write(Vcpu *vcpu, uint32_t index, uint64_t value) noexcept nogil
