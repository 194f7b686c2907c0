from libc.stdint cimport int64_t, uint64_t
from xenia.domain.domain cimport Vcpu

cdef int64_t do_platform_op(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_sysctl(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_domctl(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_xsm_op(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_xenoprof_op(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_kexec_op(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_hypfs_op(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_xenpmu_op(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_hvm_op(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_dm_op(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_paging_domctl_cont(Vcpu *vcpu, uint64_t *args) noexcept nogil
cdef int64_t do_mca(Vcpu *vcpu, uint64_t *args) noexcept nogil
