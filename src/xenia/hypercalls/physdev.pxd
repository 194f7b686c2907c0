from libc.stdint cimport int64_t, uint64_t
from xenia.domain.domain cimport Vcpu

cdef enum:
    NR_PIRQS = 256          # interrupt lines that exist on the host; none is a guest's

cdef int64_t do_physdev_op(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_physdev_op_compat(Vcpu *vcpu, uint64_t *args) noexcept nogil
