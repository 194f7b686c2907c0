# A link to passt, by which no guest reaches the host.  See passt_link.pyx.
from libc.stdint cimport uint8_t, uint64_t
from xenia.net.frame cimport Frame
from xenia.net.stream cimport StreamLink


cdef class PasstLink(StreamLink):
    cdef uint8_t (*own)[16]         # the host's, those of IPv4 as IPv6 has them
    cdef int nr_own
    cdef uint64_t nr_closed         # frames that were for the host
    cdef bint is_closed_to(self, const Frame *frame) noexcept nogil
    cdef bint is_closed_to4(self, const uint8_t *ip, size_t size) noexcept nogil
    cdef bint is_closed_to6(self, const uint8_t *ip, size_t size) noexcept nogil
    cdef bint is_own(self, const uint8_t *address) noexcept nogil
