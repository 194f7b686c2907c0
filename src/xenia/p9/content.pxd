# What is in files.
from libc.stdint cimport uint32_t, uint64_t
from xenia.p9.fids cimport Fid
from xenia.p9.request cimport Request
from xenia.p9.session cimport Session

cdef int do_lopen(Session session, Request *request) noexcept nogil
cdef int do_read(Session session, Request *request) noexcept nogil
cdef int do_write(Session session, Request *request) noexcept nogil
cdef int do_fsync(Session session, Request *request) noexcept nogil
cdef int host_flags(uint32_t flags) noexcept nogil
# NULL: refused, with that errno.
cdef Fid *take_range(Session session, Request *request, uint64_t *offset, uint32_t *count, int *refused) noexcept nogil
# So many bytes, or as many as the answer may still have.
cdef uint32_t room(Request *request, uint32_t count) noexcept nogil
