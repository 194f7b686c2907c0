# What is in files.
from libc.stdint cimport uint32_t
from xenia.p9.request cimport Request
from xenia.p9.session cimport Session

cdef int do_lopen(Session session, Request *request) noexcept nogil
cdef int do_read(Session session, Request *request) noexcept nogil
cdef int do_write(Session session, Request *request) noexcept nogil
cdef int do_fsync(Session session, Request *request) noexcept nogil
cdef int host_flags(uint32_t flags) noexcept nogil
