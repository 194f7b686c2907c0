# Bounce frames of a 64-bit guest kernel.
from libc.stdint cimport uint32_t, uint64_t
from xenia.domain.domain cimport Vcpu

cdef enum:                  # how a bounce goes (Xen's TBF_*)
    BOUNCE_ERROR_CODE = 1
    BOUNCE_MASK_EVENTS = 2

cdef enum:
    IRET_CRASHED = -1

# Enter the guest kernel at `handler`.  A Verdict: LEAVE where it crashed.
cdef int bounce64(Vcpu *vcpu, uint64_t handler, int how, uint32_t error) noexcept nogil
# Go where the frame on the kernel's stack says.  0, IRET_CRASHED, or the vector of what the guest did wrong, with
# `error`.
cdef int iret64(Vcpu *vcpu, uint32_t *error) noexcept nogil
