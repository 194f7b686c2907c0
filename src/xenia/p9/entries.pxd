# What is in folders.
from xenia.p9.request cimport Request
from xenia.p9.session cimport Session

cdef int do_readdir(Session session, Request *request) noexcept nogil
cdef int do_lcreate(Session session, Request *request) noexcept nogil
cdef int do_mkdir(Session session, Request *request) noexcept nogil
cdef int do_mknod(Session session, Request *request) noexcept nogil
cdef int do_symlink(Session session, Request *request) noexcept nogil
cdef int do_link(Session session, Request *request) noexcept nogil
cdef int do_renameat(Session session, Request *request) noexcept nogil
cdef int do_unlinkat(Session session, Request *request) noexcept nogil
