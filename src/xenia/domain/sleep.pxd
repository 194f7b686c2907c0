# A domain that sleeps for good.
from libc.stdint cimport uint64_t
from xenia.domain.domain cimport Vcpu

# Look at a vcpu that blocks, at system time `now`, with its next timer at `deadline` (0 none): whether nothing that
# comes from outside can ever bring it back.  By the domain's own thread.
cdef bint sleeps_for_good(Vcpu *vcpu, uint64_t now, uint64_t deadline) noexcept nogil
