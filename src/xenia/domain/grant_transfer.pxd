# Giving a frame away (GNTTABOP_transfer).
from libc.stdint cimport uint32_t, uint64_t
from xenia.domain.domain cimport Domain

# Frame `mfn` of `domain` becomes `target`'s (NULL: no such domain) if that asked for one as `ref`: GNTST_*.  Whatever
# the answer, unless it is GNTST_bad_page, the frame is not `domain`'s any more.  By who has the turn.
cdef int grant_transfer(Domain *domain, Domain *target, uint64_t mfn, uint32_t ref) noexcept nogil
