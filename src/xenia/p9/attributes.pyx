"""Attributes: modes, sizes, times.

Owners.  A file cannot be given away by who is not root; where the client wants that, or takes it for done, nothing
happens and nothing fails, so that programs that copy or unpack files as root come to their end (xl calls it
security_model=none).  Bits that would let a file be run as its owner are not set: to the client he is root, on the host
he is the user.
"""

from libc.errno cimport EBADF, EINVAL, EROFS
from libc.stdint cimport int64_t, uint32_t, uint64_t
from posix.time cimport timespec

from xenia.p9.fids cimport Fid
from xenia.p9.linux cimport (
    O_WRONLY, S_IFDIR, S_IFMT, S_IFREG, S_ISGID, S_ISUID, STATX_BTIME, UTIME_NOW, UTIME_OMIT, Statfs,
    Statx, close, failure, fchmodat, fstatfs, ftruncate, name_descriptor, readlinkat, statx_timestamp, utimensat)
from xenia.p9.message cimport (
    GETATTR_BASIC, GETATTR_BTIME, PATH_SIZE, SETATTR_ATIME, SETATTR_ATIME_SET, SETATTR_MODE, SETATTR_MTIME,
    SETATTR_MTIME_SET, SETATTR_SIZE)
from xenia.p9.request cimport Request, get32, get64, put32, put64, put_text
from xenia.p9.session cimport Session

cdef enum:
    BLOCK = 131072              # what programs are told to read a file by


cdef inline void put_time(Request *request, statx_timestamp *time) noexcept nogil:
    put64(request, time.tv_sec)
    put64(request, time.tv_nsec)


cdef int do_getattr(Session session, Request *request) noexcept nogil:
    cdef uint32_t number = get32(request)
    cdef Statx found
    cdef Fid *fid
    cdef int refused
    get64(request)              # what is asked for: all is given
    if request.malformed:
        return EINVAL
    fid = session.take(request, number)
    if fid == NULL:
        return EBADF
    if session.is_remote:
        session.promote(request)
    refused = session.stat(fid.node.fd, &found)
    session.fids.give(fid)
    if refused == 0:
        put_attributes(session, request, &found)
    return refused


cdef void put_attributes(Session session, Request *request, Statx *found) noexcept nogil:
    cdef bint has_btime = found.stx_mask & STATX_BTIME
    cdef bint is_file = found.stx_mode & S_IFMT == S_IFREG
    put64(request, GETATTR_BASIC | (GETATTR_BTIME if has_btime else 0))
    session.put_qid(request, found)
    put32(request, found.stx_mode)
    put32(request, 0 if found.stx_uid == session.user else found.stx_uid)
    put32(request, 0 if found.stx_gid == session.group else found.stx_gid)
    put64(request, found.stx_nlink)
    # As Linux writes a device's number in 32 bits.
    put64(request, (found.stx_rdev_minor & 0xFF) | found.stx_rdev_major << 8 | (found.stx_rdev_minor & ~0xFFu) << 12)
    put64(request, found.stx_size)
    put64(request, BLOCK if is_file else found.stx_blksize)
    put64(request, found.stx_blocks)
    put_time(request, &found.stx_atime)
    put_time(request, &found.stx_mtime)
    put_time(request, &found.stx_ctime)
    put_time(request, &found.stx_btime)
    put64(request, 0)           # generation
    put64(request, 0)           # version of the data


cdef struct Wanted:             # by a Tsetattr
    uint32_t valid
    uint32_t mode
    uint64_t size
    timespec times[2]           # read, written


cdef int do_setattr(Session session, Request *request) noexcept nogil:
    cdef Wanted wanted
    cdef uint32_t number = get32(request)
    cdef Fid *fid
    cdef int refused
    wanted.valid = get32(request)
    wanted.mode = get32(request)
    get64(request)              # owner and group
    wanted.size = get64(request)
    wanted.times[0].tv_sec = get64(request)
    wanted.times[0].tv_nsec = get64(request)
    wanted.times[1].tv_sec = get64(request)
    wanted.times[1].tv_nsec = get64(request)
    if request.malformed:
        return EINVAL
    if session.read_only:
        return EROFS
    fid = session.take(request, number)
    if fid == NULL:
        return EBADF
    refused = set_attributes(session, request, fid, &wanted)
    session.fids.give(fid)
    return refused


cdef int set_attributes(Session session, Request *request, Fid *fid, Wanted *wanted) noexcept nogil:
    cdef char name[16]
    cdef int refused = 0
    name_descriptor(name, fid.node.fd)
    if wanted.valid & SETATTR_MODE:
        if fchmodat(session.descriptors, name, safe_mode(wanted.mode, fid.node.type), 0) < 0:
            return failure()
    if wanted.valid & SETATTR_SIZE:
        session.promote(request)
        refused = set_size(session, fid, wanted.size)
    if refused == 0 and wanted.valid & (SETATTR_ATIME | SETATTR_MTIME):
        fill_time(&wanted.times[0], wanted.valid & SETATTR_ATIME, wanted.valid & SETATTR_ATIME_SET)
        fill_time(&wanted.times[1], wanted.valid & SETATTR_MTIME, wanted.valid & SETATTR_MTIME_SET)
        if utimensat(session.descriptors, name, wanted.times, 0) < 0:
            refused = failure()
    return refused


cdef void fill_time(timespec *time, bint wanted, bint given) noexcept nogil:
    if not wanted:
        time.tv_nsec = UTIME_OMIT
    elif not given:
        time.tv_nsec = UTIME_NOW


cdef int set_size(Session session, Fid *fid, int64_t size) noexcept nogil:
    cdef int fd, refused
    if fid.fd >= 0 and ftruncate(fid.fd, size) == 0:
        return 0
    fd = session.reopen(fid.node, O_WRONLY)         # it is open to be read only, or not at all
    if fd < 0:
        return -fd
    refused = failure() if ftruncate(fd, size) < 0 else 0
    close(fd)
    return refused


cdef uint32_t safe_mode(uint32_t mode, uint32_t kind) noexcept nogil:
    return mode & 0o7777 & ~<uint32_t>(S_ISUID if kind == S_IFDIR else S_ISUID | S_ISGID)


cdef int do_statfs(Session session, Request *request) noexcept nogil:
    cdef uint32_t number = get32(request)
    cdef Statfs found
    cdef Fid *fid
    cdef int refused
    if request.malformed:
        return EINVAL
    fid = session.take(request, number)
    if fid == NULL:
        return EBADF
    session.promote(request)
    refused = failure() if fstatfs(fid.node.fd, &found) < 0 else 0
    session.fids.give(fid)
    if refused == 0:
        put32(request, found.f_type)
        put32(request, found.f_bsize)
        put64(request, found.f_blocks)
        put64(request, found.f_bfree)
        put64(request, found.f_bavail)
        put64(request, found.f_files)
        put64(request, found.f_ffree)
        put32(request, found.f_fsid.__val[0])
        put32(request, found.f_fsid.__val[1])
        put32(request, found.f_namelen)
    return refused


cdef int do_readlink(Session session, Request *request) noexcept nogil:
    cdef char target[PATH_SIZE]
    cdef uint32_t number = get32(request)
    cdef ssize_t length
    cdef Fid *fid
    if request.malformed:
        return EINVAL
    fid = session.take(request, number)
    if fid == NULL:
        return EBADF
    length = readlinkat(fid.node.fd, b"", target, PATH_SIZE)
    if length < 0:
        length = -failure()
    session.fids.give(fid)
    if length < 0:
        return -<int>length
    if length + 2 > request.limit - request.put:
        return EINVAL
    put_text(request, target, <unsigned short>length)
    return 0
