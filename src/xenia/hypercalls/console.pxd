from libc.stdint cimport int64_t, uint64_t
from xenia.domain.domain cimport Vcpu

cdef int64_t do_console_io(Vcpu *vcpu, uint64_t *args) noexcept nogil
