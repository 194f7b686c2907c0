# struct vcpu_guest_context of public/arch-x86/xen.h: what a guest gives a vcpu to start with, and what is seen of one.
from xenia.abi.xen cimport vcpu_guest_context_t
from xenia.domain.domain cimport Vcpu

# Take it for a vcpu that was not initialised: 0, or -XEN_EINVAL and nothing has changed.  By who has the turn and
# memory.lock; `given` is a copy of Xenia's own.
cdef int guest_context_take(Vcpu *vcpu, vcpu_guest_context_t *given) noexcept nogil

# What there is of a vcpu that stands still, in the same form (XEN_DOMCTL_getvcpucontext).
cdef void guest_context_give(Vcpu *vcpu, vcpu_guest_context_t *given) noexcept nogil
