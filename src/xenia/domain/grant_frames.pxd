# The frames of a domain's grant table: Xenia's, and writable for the domain.
from libc.stdint cimport uint32_t
from xenia.domain.domain cimport Domain

cdef enum:
    MAX_GRANT_FRAMES = 64       # Xen's default: 64 frames of 512 version 1 entries

# The table has at least `nr_frames` frames afterwards, and in version 2 as many status frames as it needs; or False.
# Precondition: the domain's lock is held.
cdef bint grant_frames_grow(Domain *domain, uint32_t nr_frames) noexcept nogil
# 0 or -XEN_E*: -XEN_EBUSY while grants (but for the reserved ones) are held, -XEN_ENOMEM.  The entries are empty
# afterwards, but for the reserved ones.  Precondition: as above.
cdef int grant_version_set(Domain *domain, uint32_t version) noexcept nogil
# At the domain's end, when none of its page tables is left.
cdef void grant_frames_release(Domain *domain) noexcept nogil
