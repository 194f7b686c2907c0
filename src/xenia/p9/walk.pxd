# Which file a fid stands for.
from xenia.p9.request cimport Request
from xenia.p9.session cimport Session

# Each of these answers one message: 0 with the answer written, or an errno.
cdef int do_version(Session session, Request *request) noexcept nogil
cdef int do_attach(Session session, Request *request) noexcept nogil
cdef int do_walk(Session session, Request *request) noexcept nogil
cdef int do_clunk(Session session, Request *request) noexcept nogil
cdef int do_remove(Session session, Request *request) noexcept nogil
