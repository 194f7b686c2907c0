# Event queues in the guest's own pages: the FIFO ABI.  By who has the turn.
from libc.stdint cimport uint32_t, uint64_t
from xenia.domain.domain cimport Domain, Vcpu

# EVTCHNOP_init_control: 0 or -XEN_EINVAL.  The first one takes the domain from the two-level ABI to this.
cdef int fifo_init_control(Vcpu *vcpu, uint64_t mfn, uint32_t offset) noexcept nogil
# EVTCHNOP_expand_array: 0, -XEN_EINVAL (frame), -XEN_ENOSPC (2^17 words are there), -XEN_EOPNOTSUPP (no control block
# yet).
cdef int fifo_expand_array(Domain *domain, uint64_t mfn) noexcept nogil
# Back to the two-level ABI; the frames are let go.  Precondition: no port is in use.
cdef void fifo_end(Domain *domain) noexcept nogil

# Precondition of all: the port is valid.
cdef bint fifo_set_pending(Domain *domain, uint32_t port) noexcept nogil          # True: it was not pending before
cdef void fifo_clear_pending(Domain *domain, uint32_t port) noexcept nogil
cdef void fifo_unmask(Domain *domain, uint32_t port) noexcept nogil
cdef bint fifo_is_pending(Domain *domain, uint32_t port) noexcept nogil
cdef bint fifo_is_masked(Domain *domain, uint32_t port) noexcept nogil            # it has no word yet, or a masked one
# on a queue still, though perhaps closed
cdef bint fifo_is_linked(Domain *domain, uint32_t port) noexcept nogil
