from libc.stdint cimport int64_t, uint64_t
from xenia.domain.domain cimport Vcpu

cdef int64_t do_mmu_update(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_update_va_mapping(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_update_va_mapping_otherdomain(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_mmuext_op(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_set_gdt(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_update_descriptor(Vcpu *vcpu, uint64_t *args) noexcept nogil
