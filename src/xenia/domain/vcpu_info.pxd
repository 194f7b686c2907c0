# Where a vcpu's vcpu_info lives: in shared_info at first, in a frame of the guest's after VCPUOP_register_vcpu_info.
from libc.stdint cimport uint32_t, uint64_t
from xenia.domain.domain cimport Vcpu

# 0, -XEN_ENXIO (place), -XEN_EINVAL (frame)
cdef int vcpu_info_register(Vcpu *vcpu, uint64_t mfn, uint32_t offset) noexcept nogil
cdef void vcpu_info_release(Vcpu *vcpu) noexcept nogil   # back into shared_info; drops the frame (domain's end, reset)
