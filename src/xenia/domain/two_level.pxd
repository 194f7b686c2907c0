# Event bits in shared_info: the two-level ABI.  By who has the turn, for ports below NR_EVENT_CHANNELS_2L.
from libc.stdint cimport uint32_t
from xenia.domain.domain cimport Domain

cdef bint two_level_set_pending(Domain *domain, uint32_t port) noexcept nogil     # True: it was not pending before
cdef void two_level_clear_pending(Domain *domain, uint32_t port) noexcept nogil
cdef void two_level_unmask(Domain *domain, uint32_t port) noexcept nogil
cdef bint two_level_is_pending(Domain *domain, uint32_t port) noexcept nogil
cdef bint two_level_is_masked(Domain *domain, uint32_t port) noexcept nogil
