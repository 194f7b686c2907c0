# What a guest gives a vcpu to start with: struct vcpu_guest_context of public/arch-x86/xen.h.
from xenia.abi.xen cimport vcpu_guest_context_t
from xenia.domain.domain cimport Vcpu

# Take it for a vcpu that was not initialised: 0, or -XEN_EINVAL and nothing has changed.  By who has the turn and
# memory.lock; `given` is a copy of Xenia's own.
cdef int guest_context_take(Vcpu *vcpu, vcpu_guest_context_t *given) noexcept nogil
