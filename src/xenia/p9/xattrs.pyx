"""Extended attributes: those that a user may have on his files (user.*).

A value is read, and written, through a fid of its own.  All others are the host's: capabilities and labels of security
modules would mean something there, and a file system laid over another (overlayfs) keeps its own notes in some.
"""

from libc.errno cimport EBADF, EINVAL, ENOMEM, EOPNOTSUPP, ERANGE, EROFS
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, malloc
from libc.string cimport memcpy, memmove, strlen, strncmp

from xenia.p9.fids cimport Fid, Node, Xattr, free_xattr
from xenia.p9.linux cimport XATTR_CREATE, XATTR_REPLACE, failure, getxattr, listxattr, path_descriptor, removexattr, \
    setxattr
from xenia.p9.message cimport NAME_SIZE
from xenia.p9.request cimport Request, get32, get64, get_text, put64
from xenia.p9.session cimport Session

cdef enum:
    MOST_VALUE = 65536          # XATTR_SIZE_MAX, XATTR_LIST_MAX of linux/limits.h


cdef inline bint is_users(const char *name) noexcept nogil:
    return strncmp(name, b"user.", 5) == 0


cdef int do_xattrwalk(Session session, Request *request) noexcept nogil:
    cdef char name[NAME_SIZE]
    cdef uint32_t number = get32(request), new = get32(request)
    cdef Xattr *xattr = NULL
    cdef Fid *fid
    cdef int refused
    get_text(request, name, NAME_SIZE)
    if request.malformed:
        return EINVAL
    if name[0] and not is_users(name):
        return EOPNOTSUPP
    fid = session.take(request, number)
    if fid == NULL:
        return EBADF
    refused = read_xattr(fid.node, name, &xattr)
    if refused == 0:
        put64(request, xattr.size)
        refused = session.fids.add(new, fid.node, xattr)
        if refused:
            free_xattr(xattr)
    session.fids.give(fid)
    return refused


cdef int read_xattr(Node *node, const char *name, Xattr **read) noexcept nogil:
    cdef char path[32]
    cdef char value[MOST_VALUE]
    cdef ssize_t size
    cdef Xattr *xattr
    path_descriptor(path, node.fd)
    size = getxattr(path, name, value, MOST_VALUE) if name[0] else listxattr(path, value, MOST_VALUE)
    if size < 0:
        return failure()
    if not name[0]:
        size = keep_users(value, size)
    xattr = <Xattr *>calloc(1, sizeof(Xattr))
    if xattr == NULL:
        return ENOMEM
    xattr.value = <char *>malloc(size + 1)
    if xattr.value == NULL:
        free_xattr(xattr)
        return ENOMEM
    memcpy(xattr.value, value, size)
    xattr.size = size
    read[0] = xattr
    return 0


cdef ssize_t keep_users(char *names, ssize_t size) noexcept nogil:
    # Names that the client may ask for, each with its NUL.
    cdef ssize_t at = 0, kept = 0, length
    while at < size:
        length = strlen(names + at) + 1
        if is_users(names + at):
            memmove(names + kept, names + at, length)
            kept += length
        at += length
    return kept


cdef int do_xattrcreate(Session session, Request *request) noexcept nogil:
    # The fid stands for the attribute from now on, and that is set when the fid is given up.
    cdef char name[NAME_SIZE]
    cdef uint32_t number = get32(request)
    cdef uint32_t length = get_text(request, name, NAME_SIZE)
    cdef uint64_t size = get64(request)
    cdef uint32_t flags = get32(request)
    cdef Fid *fid
    cdef Node *node
    cdef int refused
    if request.malformed or length == 0 or flags & ~<uint32_t>(XATTR_CREATE | XATTR_REPLACE):
        return EINVAL
    if session.read_only:
        return EROFS
    if not is_users(name):
        return EOPNOTSUPP
    if size > MOST_VALUE:
        return ERANGE
    fid = session.take(request, number)
    if fid == NULL:
        return EBADF
    if fid.fd >= 0 or fid.xattr != NULL:
        session.fids.give(fid)
        return EINVAL
    node = session.fids.hold(fid.node)
    session.fids.give(fid)
    refused = begin_xattr(session, number, node, name, size, flags)
    session.fids.drop(node)
    return refused


cdef int begin_xattr(Session session, uint32_t number, Node *node, const char *name, uint64_t size,
                     uint32_t flags) noexcept nogil:
    cdef Xattr *xattr = <Xattr *>calloc(1, sizeof(Xattr))
    cdef int refused
    if xattr == NULL:
        return ENOMEM
    xattr.value = <char *>calloc(1, size + 1)
    if xattr.value == NULL:
        free_xattr(xattr)
        return ENOMEM
    xattr.size, xattr.flags, xattr.sets = size, flags, True
    memcpy(xattr.name, name, strlen(name) + 1)
    refused = session.fids.remove(number)
    if refused == 0:
        refused = session.fids.add(number, node, xattr)
    if refused:
        free_xattr(xattr)
    return refused


cdef int set_xattr(Session session, Fid *fid) noexcept nogil:
    cdef Xattr *xattr = fid.xattr
    cdef char path[32]
    path_descriptor(path, fid.node.fd)
    if xattr.written != xattr.size:
        return EINVAL
    if xattr.size == 0 and xattr.flags == XATTR_REPLACE:        # how the protocol says that it is to go
        return failure() if removexattr(path, xattr.name) < 0 else 0
    return failure() if setxattr(path, xattr.name, xattr.value, xattr.size, xattr.flags) < 0 else 0
