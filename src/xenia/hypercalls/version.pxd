from libc.stdint cimport int64_t, uint64_t
from xenia.domain.domain cimport Vcpu

cdef int64_t do_xen_version(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_vm_assist(Vcpu *vcpu, uint64_t *args) noexcept nogil
