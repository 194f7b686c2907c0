"""Opening files, reading, writing.  Data go between the message and the file: nothing is copied on the way."""

from libc.errno cimport EBADF, EINVAL, EISDIR, EROFS
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from xenia.machine.lock cimport lock, unlock
from xenia.p9.fids cimport Fid, Xattr
from xenia.p9.linux cimport (
    O_ACCMODE, O_APPEND, O_DIRECTORY, O_DSYNC, O_RDONLY, O_RDWR, O_SYNC, O_TRUNC, O_WRONLY, RWF_NOWAIT, S_IFDIR, Statx,
    close, failure, fdatasync, fsync, iovec, pread, preadv2, pwrite)
from xenia.p9.message cimport OPEN_ACCESS, OPEN_APPEND, OPEN_DIRECTORY, OPEN_DSYNC, OPEN_SYNC, OPEN_TRUNC
from xenia.p9.request cimport Request, get32, get64, put32
from xenia.p9.session cimport Session

cdef enum:
    LONG_WRITE = 32768          # bytes after which another thread takes the client's requests meanwhile


cdef int host_flags(uint32_t flags) noexcept nogil:
    """What of a client's flags is the host's business; the rest is its own kernel's.  -1: they cannot be."""
    cdef int said
    if flags & OPEN_ACCESS == OPEN_ACCESS:
        return -1
    said = O_RDWR if flags & OPEN_ACCESS == 2 else O_WRONLY if flags & OPEN_ACCESS == 1 else O_RDONLY
    if flags & OPEN_TRUNC:
        said |= O_TRUNC
    if flags & OPEN_APPEND:
        said |= O_APPEND
    if flags & OPEN_SYNC:
        said |= O_SYNC
    elif flags & OPEN_DSYNC:
        said |= O_DSYNC
    if flags & OPEN_DIRECTORY:
        said |= O_DIRECTORY
    return said


cdef int do_lopen(Session session, Request *request) noexcept nogil:
    cdef uint32_t number = get32(request)
    cdef int flags = host_flags(get32(request))
    cdef Fid *fid
    cdef int refused
    if request.malformed or flags < 0:
        return EINVAL
    if session.read_only and flags & (O_ACCMODE | O_TRUNC):
        return EROFS
    fid = session.take(request, number)
    if fid == NULL:
        return EBADF
    refused = open_fid(session, request, fid, flags)
    session.fids.give(fid)
    return refused


cdef int open_fid(Session session, Request *request, Fid *fid, int flags) noexcept nogil:
    cdef Statx found
    cdef int fd, refused
    if fid.fd >= 0 or fid.xattr != NULL:
        return EBADF
    if fid.node.type == S_IFDIR and flags & O_ACCMODE:
        return EISDIR
    if flags & O_TRUNC:
        session.promote(request)
    fd = session.reopen(fid.node, flags)
    if fd < 0:
        return -fd
    refused = session.stat(fd, &found)
    if refused:
        close(fd)
        return refused
    refused = session.fids.opened(fid, fd, NULL)
    if refused == 0:
        session.put_qid(request, &found)
        put32(request, 0)       # as much at a time as a message holds
    return refused


cdef Fid *take_range(Session session, Request *request, uint64_t *offset, uint32_t *count, int *refused) noexcept nogil:
    # What Tread, Treaddir and Twrite begin with.
    cdef uint32_t number = get32(request)
    cdef Fid *fid = NULL
    offset[0], count[0] = get64(request), get32(request)
    refused[0] = EINVAL
    if not request.malformed and <int64_t>offset[0] >= 0:
        fid = session.take(request, number)
        refused[0] = EBADF
    return fid


cdef uint32_t room(Request *request, uint32_t count) noexcept nogil:
    return <uint32_t>min(<int64_t>count, request.limit - request.put)


cdef int do_read(Session session, Request *request) noexcept nogil:
    cdef uint64_t offset
    cdef uint32_t count
    cdef uint8_t *answer = request.put
    cdef ssize_t done
    cdef int refused
    cdef Fid *fid = take_range(session, request, &offset, &count, &refused)
    if fid == NULL:
        return refused
    put32(request, 0)
    count = room(request, count)
    if fid.xattr != NULL:
        done = read_value(fid.xattr, request.put, count, offset)
    elif fid.fd < 0:
        done = -EBADF
    else:
        done = read_file(session, request, fid.fd, count, offset)
    session.fids.give(fid)
    if done < 0:
        return -<int>done
    count = <uint32_t>done
    memcpy(answer, &count, 4)
    request.put += count
    return 0


cdef ssize_t read_value(Xattr *xattr, uint8_t *data, uint32_t count, uint64_t offset) noexcept nogil:
    if xattr.sets:
        return -EBADF
    if offset >= xattr.size:
        return 0
    count = <uint32_t>min(<uint64_t>count, xattr.size - offset)
    memcpy(data, xattr.value + offset, count)
    return count


cdef ssize_t read_file(Session session, Request *request, int fd, uint32_t count, int64_t offset) noexcept nogil:
    # What is in the host's memory is had at once; a disk may take its time.
    cdef iovec part
    cdef ssize_t done = -1, more
    part.iov_base, part.iov_len = request.put, count
    if not session.is_remote:
        done = preadv2(fd, &part, 1, offset, RWF_NOWAIT)
        if done == <ssize_t>count or done == 0:
            return done
    if done < 0:
        done = 0
    session.promote(request)
    while done < <ssize_t>count:
        more = pread(fd, request.put + done, count - done, offset + done)
        if more < 0 and done == 0:
            return -failure()
        if more <= 0:
            break
        done += more
    return done


cdef int do_write(Session session, Request *request) noexcept nogil:
    cdef uint64_t offset
    cdef uint32_t count
    cdef ssize_t done
    cdef int refused
    cdef Fid *fid = take_range(session, request, &offset, &count, &refused)
    if fid == NULL:
        return refused
    if count > request.end - request.at:
        done = -EINVAL
    elif fid.xattr != NULL:
        done = write_value(fid, request.at, count, offset)
    elif fid.fd < 0:
        done = -EBADF
    else:
        done = write_file(session, request, fid.fd, count, offset)
    session.fids.give(fid)
    if done < 0:
        return -<int>done
    put32(request, <uint32_t>done)
    return 0


cdef ssize_t write_value(Fid *fid, const uint8_t *data, uint32_t count, uint64_t offset) noexcept nogil:
    # In order, as clients do.
    cdef Xattr *xattr = fid.xattr
    cdef bint fits
    lock(&fid.reading)
    fits = xattr.sets and offset == xattr.written and count <= xattr.size - xattr.written
    if fits:
        memcpy(xattr.value + offset, data, count)
        xattr.written += count
    unlock(&fid.reading)
    return <ssize_t>count if fits else -EINVAL


cdef ssize_t write_file(Session session, Request *request, int fd, uint32_t count, int64_t offset) noexcept nogil:
    cdef ssize_t done = 0, more
    if count >= LONG_WRITE or session.is_remote:
        session.promote(request)
    while done < <ssize_t>count:
        more = pwrite(fd, request.at + done, count - done, offset + done)
        if more < 0 and done == 0:
            return -failure()
        if more <= 0:
            break
        done += more
    return done


cdef int do_fsync(Session session, Request *request) noexcept nogil:
    cdef uint32_t number = get32(request)
    cdef uint32_t only_data = get32(request) if request.end - request.at >= 4 else 0
    cdef Fid *fid
    cdef int refused = 0
    if request.malformed:
        return EINVAL
    fid = session.take(request, number)
    if fid == NULL:
        return EBADF
    if fid.fd < 0:
        refused = EBADF
    else:
        session.promote(request)
        if (fdatasync(fid.fd) if only_data else fsync(fid.fd)) < 0:
            refused = failure()
    session.fids.give(fid)
    return refused
