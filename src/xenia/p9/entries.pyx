"""Folders: listing them, making, linking, renaming and removing what is in them.

Made are files, folders, links, and names for pipes and sockets, which are the client's kernel's to serve; no devices,
which would be the host's.
"""

from libc.errno cimport EBADF, EEXIST, EINVAL, ENOENT, ENOTDIR, EPERM, EROFS
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen

from xenia.machine.lock cimport lock, unlock
from xenia.p9.attributes cimport safe_mode
from xenia.p9.content cimport host_flags, room, take_range
from xenia.p9.fids cimport Fid, Node
from xenia.p9.linux cimport (
    AT_REMOVEDIR, AT_SYMLINK_FOLLOW, O_CLOEXEC, O_CREAT, O_EXCL, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_TRUNC,
    S_IFDIR, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK, Statx, close, dirent64, failure, linkat, look_up, lseek, mkdirat,
    mknodat, openat, path_descriptor, read_entries, rename_exactly, symlinkat, unlinkat)
from xenia.p9.message cimport NAME_SIZE, OPEN_EXCL, PATH_SIZE, QID_DIRECTORY, QID_SYMLINK
from xenia.p9.request cimport Request, get32, get_name, get_text, put8, put32, put64, put_text
from xenia.p9.session cimport Session

cdef enum:
    AT_FDCWD = -100
    DT_DIR = 4
    DT_LNK = 10
    ENTRIES = 32768             # bytes of them that are read at once
    LEAST_ENTRIES = 512         # bytes that an answer has room for: any name


# --- Listing

cdef int do_readdir(Session session, Request *request) noexcept nogil:
    cdef uint64_t offset
    cdef uint32_t count
    cdef uint8_t *answer = request.put
    cdef int refused
    cdef Fid *fid = take_range(session, request, &offset, &count, &refused)
    if fid == NULL:
        return refused
    put32(request, 0)
    if fid.fd < 0 or fid.node.type != S_IFDIR:
        refused = EBADF if fid.fd < 0 else ENOTDIR
    elif count < LEAST_ENTRIES:
        refused = EINVAL
    else:
        if session.is_remote:
            session.promote(request)
        lock(&fid.reading)
        refused = list_entries(session, request, fid, offset, room(request, count))
        unlock(&fid.reading)
    session.fids.give(fid)
    count = <uint32_t>(request.put - answer) - 4
    memcpy(answer, &count, 4)
    return refused


cdef int list_entries(Session session, Request *request, Fid *fid, int64_t offset, uint32_t count) noexcept nogil:
    # As many as were read fit into the answer: an entry is longer there by at most a sixth.
    cdef char entries[ENTRIES]
    cdef Statx folder
    cdef uint64_t device
    cdef size_t most = min(count - count // 7 - 1, <uint32_t>ENTRIES)
    cdef uint8_t *begin = request.put
    cdef long size = 1, at
    cdef dirent64 *entry
    cdef int refused = session.stat(fid.fd, &folder)
    if refused:
        return refused
    if fid.position != offset and lseek(fid.fd, offset, 0) < 0:
        return failure()
    fid.position = -1
    device = <uint64_t>folder.stx_dev_major << 32 | folder.stx_dev_minor
    while size and request.put == begin:        # an answer with none says that there are no more
        size = read_entries(fid.fd, entries, most)
        if size < 0:
            return failure()
        at = 0
        while at < size:
            entry = <dirent64 *>(entries + at)
            if not session.hides(fid.node, entry.d_name):
                put_entry(session, request, entry, device)
            offset = entry.d_off
            at += entry.d_reclen
    fid.position = offset
    return 0


cdef void put_entry(Session session, Request *request, dirent64 *entry, uint64_t device) noexcept nogil:
    put8(request, QID_DIRECTORY if entry.d_type == DT_DIR else QID_SYMLINK if entry.d_type == DT_LNK else 0)
    put32(request, 0)
    put64(request, session.qid_path(device, entry.d_ino))
    put64(request, entry.d_off)
    put8(request, entry.d_type)
    put_text(request, entry.d_name, <unsigned short>strlen(entry.d_name))


# --- Making

cdef int do_lcreate(Session session, Request *request) noexcept nogil:
    cdef char name[NAME_SIZE]
    cdef uint32_t number = get32(request)
    cdef uint32_t said, mode
    cdef Fid *fid
    cdef int refused, flags
    get_name(request, name)
    said, mode = get32(request), get32(request)
    flags = host_flags(said)
    get32(request)              # the group is the user's
    if request.malformed or flags < 0:
        return EINVAL
    if session.read_only:
        return EROFS
    fid = session.take(request, number)
    if fid == NULL:
        return EBADF
    refused = EBADF
    if fid.fd < 0 and fid.xattr == NULL:
        refused = create(session, request, fid, name, flags, said & OPEN_EXCL, safe_mode(mode, S_IFREG))
    session.fids.give(fid)
    return refused


cdef int create(Session session, Request *request, Fid *fid, const char *name, int flags, bint exclusive,
                uint32_t mode) noexcept nogil:
    # Where there is something by that name already it is looked at before it is opened: it may be no file.
    cdef Statx found
    cdef Node *node = NULL
    cdef int fd, held, refused
    cdef int new = O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY
    if session.hides(fid.node, name):
        return ENOENT
    fd = openat(fid.node.fd, name, (flags & ~O_TRUNC) | new, mode)
    if fd < 0 and (failure() != EEXIST or exclusive):
        return failure()
    if fd >= 0:
        held = reach(fd)
    else:
        held = look_up(fid.node.fd, name, False)
    refused = session.node(held, &found, &node) if held >= 0 else failure()
    if refused == 0 and fd < 0:
        fd = session.reopen(node, flags)
        refused = -fd if fd < 0 else 0
    if refused:
        if fd >= 0:
            close(fd)
        if node != NULL:
            session.fids.drop(node)
        return refused
    refused = session.fids.opened(fid, fd, node)
    if refused == 0:
        session.put_qid(request, &found)
        put32(request, 0)
    return refused


cdef inline int reach(int fd) noexcept nogil:
    # The file that is open there, held as all are.
    cdef char path[32]
    path_descriptor(path, fd)
    return openat(AT_FDCWD, path, O_PATH | O_CLOEXEC)


cdef Fid *folder_of(Session session, Request *request, int *refused) noexcept nogil:
    # Takes the fid that the request begins with, to change something there.
    cdef uint32_t number = get32(request)
    cdef Fid *fid = NULL
    refused[0] = EROFS if session.read_only else 0
    if refused[0] == 0:
        fid = session.take(request, number)
        if fid == NULL:
            refused[0] = EBADF
    return fid


cdef Fid *folder_and(Session session, Request *request, char *name, uint32_t *value, int *refused) noexcept nogil:
    # The same of one that goes on with a name and a number.
    cdef Fid *folder = folder_of(session, request, refused)
    get_name(request, name)
    value[0] = get32(request)
    if folder != NULL and request.malformed:
        session.fids.give(folder)
        folder = NULL
        refused[0] = EINVAL
    return folder


cdef int answer_made(Session session, Request *request, Fid *folder, const char *name, bint made) noexcept nogil:
    # The qid of what was made there.  Gives the fid back.
    cdef Statx found
    cdef int fd = -1, refused = 0
    if made:
        fd = look_up(folder.node.fd, name, False)
    if fd < 0:
        refused = failure()
    session.fids.give(folder)
    if refused == 0:
        refused = session.stat(fd, &found)
        close(fd)
    if refused == 0:
        session.put_qid(request, &found)
    return refused


cdef int do_mkdir(Session session, Request *request) noexcept nogil:
    cdef char name[NAME_SIZE]
    cdef uint32_t mode
    cdef int refused
    cdef Fid *folder = folder_and(session, request, name, &mode, &refused)
    if folder == NULL:
        return refused
    return answer_made(session, request, folder, name, mkdirat(folder.node.fd, name, safe_mode(mode, S_IFDIR)) == 0)


cdef int do_mknod(Session session, Request *request) noexcept nogil:
    cdef char name[NAME_SIZE]
    cdef uint32_t mode, kind
    cdef int refused
    cdef Fid *folder = folder_and(session, request, name, &mode, &refused)
    if folder == NULL:
        return refused
    kind = mode & S_IFMT
    if kind not in (S_IFREG, S_IFIFO, S_IFSOCK):
        session.fids.give(folder)
        return EPERM
    mode = kind | safe_mode(mode, S_IFREG)
    return answer_made(session, request, folder, name, mknodat(folder.node.fd, name, mode, 0) == 0)


cdef int do_symlink(Session session, Request *request) noexcept nogil:
    cdef char name[NAME_SIZE]
    cdef char target[PATH_SIZE]
    cdef int refused
    cdef Fid *folder = folder_of(session, request, &refused)
    if folder == NULL:
        return refused
    get_name(request, name)
    get_text(request, target, PATH_SIZE)
    if request.malformed:
        session.fids.give(folder)
        return EINVAL
    return answer_made(session, request, folder, name, symlinkat(target, folder.node.fd, name) == 0)


cdef int do_link(Session session, Request *request) noexcept nogil:
    cdef char name[NAME_SIZE]
    cdef char path[32]
    cdef Fid *file
    cdef int refused
    cdef Fid *folder = folder_of(session, request, &refused)
    if folder == NULL:
        return refused
    file = session.take(request, get32(request))
    get_name(request, name)
    if request.malformed or file == NULL:
        refused = EINVAL if request.malformed else EBADF
    else:
        path_descriptor(path, file.node.fd)
        if linkat(AT_FDCWD, path, folder.node.fd, name, AT_SYMLINK_FOLLOW) < 0:
            refused = failure()
    if file != NULL:
        session.fids.give(file)
    session.fids.give(folder)
    return refused


# --- Renaming and removing

cdef int do_renameat(Session session, Request *request) noexcept nogil:
    cdef char old[NAME_SIZE]
    cdef char name[NAME_SIZE]
    cdef Fid *target
    cdef int refused
    cdef Fid *folder = folder_of(session, request, &refused)
    if folder == NULL:
        return refused
    get_name(request, old)
    target = session.take(request, get32(request))
    get_name(request, name)
    session.promote(request)
    if request.malformed or target == NULL:
        refused = EINVAL if request.malformed else EBADF
    elif session.hides(folder.node, old) or session.hides(target.node, name):
        refused = EPERM
    elif rename_exactly(folder.node.fd, old, target.node.fd, name) < 0:
        refused = failure()
    if target != NULL:
        session.fids.give(target)
    session.fids.give(folder)
    return refused


cdef int do_unlinkat(Session session, Request *request) noexcept nogil:
    cdef char name[NAME_SIZE]
    cdef uint32_t flags
    cdef int refused
    cdef Fid *folder = folder_and(session, request, name, &flags, &refused)
    if folder == NULL:
        return refused
    session.promote(request)
    if flags & ~<uint32_t>AT_REMOVEDIR:
        refused = EINVAL
    elif unlinkat(folder.node.fd, name, flags) < 0:
        refused = failure()
    session.fids.give(folder)
    return refused
