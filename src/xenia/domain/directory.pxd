# Which domains there are, and how long their state lives.
from libc.stdint cimport uint16_t
from xenia.domain.domain cimport Directory, Domain

cdef Directory *directory_create() noexcept nogil           # NULL: there is no memory for it; `free` gives it back
# The next number from `first` on that nobody has, round the end; it is the caller's.  -1: none is left.
cdef int directory_reserve(Directory *directory, int first) noexcept nogil
cdef void directory_release(Directory *directory, int domid) noexcept nogil     # nobody came of it
cdef bint directory_add(Directory *directory, Domain *domain) noexcept nogil    # False: no such number, or taken
cdef void directory_remove(Domain *domain) noexcept nogil
# The domain of that number, which stays until `domain_leave`; NULL where there is none.
cdef Domain *domain_enter(Directory *directory, uint16_t domid) noexcept nogil
cdef void domain_use(Domain *domain) noexcept nogil         # one more use, by who has one
cdef void domain_leave(Domain *domain) noexcept nogil       # the last one frees it
