"""Locks, by ranges of bytes (fcntl) and of whole files (flock), as the client asks for them and the host has them."""

from libc.errno cimport EAGAIN, EBADF, EINVAL
from libc.stdint cimport uint32_t, uint64_t

from xenia.p9.fids cimport Fid
from xenia.p9.linux cimport O_RDONLY, O_RDWR, Statx, close
from xenia.p9.lock_table cimport END_OF_FILE, Held, is_whole
from xenia.p9.message cimport LOCK_BLOCKED, LOCK_ERROR, LOCK_SUCCESS, LOCK_UNLOCK, LOCK_WAITS, NAME_SIZE
from xenia.p9.request cimport Request, get, get32, get64, get_text, put8, put32, put64, put_text
from xenia.p9.session cimport Session


cdef int do_lock(Session session, Request *request) noexcept nogil:
    cdef Held range_
    cdef char client[NAME_SIZE]
    cdef Fid *fid = session.take(request, get32(request))
    cdef int refused = EBADF
    cdef uint32_t flags
    get(request, &range_.kind, 1)
    flags = get32(request)      # that is, whether to wait: the client asks again
    read_range(request, &range_)
    # Linux says it of all that flock(2) gives up, and not where a process closes a file.
    range_.by_flock = range_.kind == LOCK_UNLOCK and flags & LOCK_WAITS and is_whole(&range_)
    range_.process, range_.fid = get32(request), fid
    get_text(request, client, NAME_SIZE)
    if fid != NULL:
        refused = EINVAL if request.malformed or range_.kind > LOCK_UNLOCK else locked(session, request, fid, &range_)
        session.fids.give(fid)
    if refused == 0:
        put8(request, LOCK_SUCCESS)
    elif refused == EAGAIN:
        put8(request, LOCK_BLOCKED)
    elif refused in (EBADF, EINVAL):
        return refused
    else:
        put8(request, LOCK_ERROR)
    return 0


cdef int locked(Session session, Request *request, Fid *fid, Held *range_) noexcept nogil:
    cdef Statx found
    cdef uint64_t device
    cdef int fd, refused
    session.promote(request)    # what is mounted below may be remote, if nothing else is
    refused = about(session, request, fid, &found, &device)
    if refused:
        return refused
    if range_.kind == LOCK_UNLOCK:
        return session.locks.release(device, found.stx_ino, range_)
    fd = session.reopen(fid.node, O_RDWR)
    if fd < 0:
        fd = session.reopen(fid.node, O_RDONLY)
    if fd < 0:
        return -fd
    if not session.fids.locking(fid, device, found.stx_ino):
        close(fd)
        return EINVAL
    return session.locks.take(device, found.stx_ino, fd, range_)


cdef int about(Session session, Request *request, Fid *fid, Statx *found, uint64_t *device) noexcept nogil:
    cdef int refused
    if session.is_remote:
        session.promote(request)
    refused = session.stat(fid.node.fd, found)
    if refused == 0:
        device[0] = <uint64_t>found.stx_dev_major << 32 | found.stx_dev_minor
    return refused


cdef void read_range(Request *request, Held *range_) noexcept nogil:
    cdef uint64_t start = get64(request), length = get64(request)
    range_.start = start
    range_.end = END_OF_FILE if length == 0 else start + length - 1
    if start > END_OF_FILE or length > END_OF_FILE or range_.end > END_OF_FILE:
        request.malformed = True


cdef int do_getlock(Session session, Request *request) noexcept nogil:
    # Of the host's: what its own processes have locked, the client knows.
    cdef Held range_
    cdef char client[NAME_SIZE]
    cdef uint32_t size
    cdef uint64_t device
    cdef Statx found
    cdef int fd = -1, refused = EBADF
    cdef Fid *fid = session.take(request, get32(request))
    get(request, &range_.kind, 1)
    read_range(request, &range_)
    range_.process = get32(request)
    size = get_text(request, client, NAME_SIZE)
    if fid != NULL:
        refused = EINVAL if request.malformed else about(session, request, fid, &found, &device)
        if refused == 0:
            fd = session.reopen(fid.node, O_RDONLY)
        session.fids.give(fid)
    if refused:
        return refused
    if fd < 0:
        range_.kind = LOCK_UNLOCK
    else:
        session.locks.look(device, found.stx_ino, fd, &range_)
        close(fd)
    put8(request, range_.kind)
    put64(request, range_.start)
    put64(request, 0 if range_.end == END_OF_FILE else range_.end - range_.start + 1)
    put32(request, range_.process)
    put_text(request, client, <unsigned short>size)
    return 0
