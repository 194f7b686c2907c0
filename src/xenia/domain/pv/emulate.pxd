# Privileged instructions of the guest kernel, done in software.
from xenia.domain.domain cimport Vcpu
from xenia.domain.pv.instruction cimport Fault

cdef int emulate_privileged(Vcpu *vcpu, Fault *fault) noexcept nogil    # the one at rip, after a #GP(0): an EMULATE_*
