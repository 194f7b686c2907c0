# Frames of a domain that somebody else wrote to.
from libc.stdint cimport uint64_t
from xenia.domain.domain cimport Domain

# The domain's processor must forget code it translated from the frame.  From any thread, holding the domain's lock,
# before the domain can learn of what was written.
cdef void frame_written(Domain *domain, uint64_t mfn) noexcept nogil
# By who has the turn, before it enters the guest.
cdef void written_apply(Domain *domain) noexcept nogil
