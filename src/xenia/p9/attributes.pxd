# What files are like.
from libc.stdint cimport uint32_t
from xenia.p9.request cimport Request
from xenia.p9.session cimport Session

cdef int do_getattr(Session session, Request *request) noexcept nogil
cdef int do_setattr(Session session, Request *request) noexcept nogil
cdef int do_statfs(Session session, Request *request) noexcept nogil
cdef int do_readlink(Session session, Request *request) noexcept nogil
cdef uint32_t safe_mode(uint32_t mode, uint32_t kind) noexcept nogil
