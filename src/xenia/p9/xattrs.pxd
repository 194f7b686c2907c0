# Extended attributes of files.
from xenia.p9.fids cimport Fid
from xenia.p9.request cimport Request
from xenia.p9.session cimport Session

cdef int do_xattrwalk(Session session, Request *request) noexcept nogil
cdef int do_xattrcreate(Session session, Request *request) noexcept nogil
cdef int set_xattr(Session session, Fid *fid) noexcept nogil     # what was written is whole: 0 or an errno
