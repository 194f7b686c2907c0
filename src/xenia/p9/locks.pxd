# Locks on files.
from xenia.p9.request cimport Request
from xenia.p9.session cimport Session

cdef int do_lock(Session session, Request *request) noexcept nogil
cdef int do_getlock(Session session, Request *request) noexcept nogil
