from libc.stdint cimport int64_t, uint64_t
from xenia.domain.domain cimport Vcpu

cdef int64_t do_event_channel_op(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_event_channel_op_compat(Vcpu *vcpu, uint64_t *args) noexcept nogil
