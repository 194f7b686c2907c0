"""Beginning a session, and going from one file to the next.

A name is looked up in the folder that the fid before it holds, one at a time.  What is found is a symbolic link as
itself, which the client follows or not; the folder above has no name.  So no name leads out, whatever others move and
link meanwhile.
"""

from libc.errno cimport EAGAIN, EBADF, EINVAL, EMFILE, ENOENT, EOPNOTSUPP
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, strcmp

from xenia.p9.fids cimport Fid, Node
from xenia.p9.linux cimport Statx, close, failure, look_up
from xenia.p9.message cimport LEAST_MSIZE, MOST_MSIZE, MOST_NAMES, NAME_SIZE, PATH_SIZE
from xenia.p9.request cimport Request, get16, get32, get_name, get_text, put16, put32, put_text
from xenia.p9.session cimport Session
from xenia.p9.xattrs cimport set_xattr


cdef int do_version(Session session, Request *request) noexcept nogil:
    cdef char version[NAME_SIZE]
    cdef uint32_t msize = get32(request)
    get_text(request, version, NAME_SIZE)
    if request.malformed or msize < LEAST_MSIZE:
        return EINVAL
    session.fids.remove_all()
    msize = min(msize, <uint32_t>MOST_MSIZE)
    put32(request, msize)
    if strcmp(version, b"9P2000.L") == 0:
        put_text(request, b"9P2000.L", 8)
        session.msize = msize
    else:
        put_text(request, b"unknown", 7)
        session.msize = 0
    return 0


cdef int do_attach(Session session, Request *request) noexcept nogil:
    cdef char name[PATH_SIZE]
    cdef Statx found
    cdef uint32_t number = get32(request)
    cdef int refused
    get32(request)              # afid: nobody is asked who he is
    get_text(request, name, PATH_SIZE)
    get_text(request, name, PATH_SIZE)
    get32(request)
    if request.malformed:
        return EINVAL
    refused = session.stat(session.root.fd, &found)
    if refused == 0:
        refused = session.fids.add(number, session.root)
    if refused == 0:
        session.put_qid(request, &found)
    return refused


cdef int do_walk(Session session, Request *request) noexcept nogil:
    cdef uint32_t number = get32(request), new = get32(request)
    cdef uint16_t nr_names = get16(request)
    cdef Fid *fid
    cdef int refused
    if request.malformed or nr_names > MOST_NAMES:
        return EINVAL
    fid = session.take(request, number)
    if fid == NULL:
        return EBADF
    refused = walk_from(session, request, fid.node, number, new, nr_names)
    session.fids.give(fid)
    return refused


cdef int walk_from(Session session, Request *request, Node *node, uint32_t number, uint32_t new,
                   uint16_t nr_names) noexcept nogil:
    cdef uint8_t *answer = request.put
    cdef uint16_t done = 0
    cdef int refused = 0
    cdef Node *found
    put16(request, 0)
    session.fids.hold(node)
    while done < nr_names:
        refused = step(session, request, node, &found)
        if refused:
            break
        session.fids.drop(node)
        node = found
        done += 1
    if request.malformed or (refused and (done == 0 or refused == EMFILE)):
        session.fids.drop(node)
        return EINVAL if request.malformed else refused
    if done == nr_names:        # else the new fid is not made, which tells where it ended
        refused = session.fids.remove(number) if new == number else 0
        if refused == 0:
            refused = session.fids.add(new, node)
    else:
        refused = 0
    session.fids.drop(node)
    memcpy(answer, &done, 2)
    return refused


cdef int step(Session session, Request *request, Node *folder, Node **next) noexcept nogil:
    cdef char name[NAME_SIZE]
    cdef Statx found
    cdef int fd, refused
    get_name(request, name)
    if request.malformed:
        return EINVAL
    if session.hides(folder, name):
        return ENOENT
    fd = look_up(folder.fd, name, not session.is_remote)
    if fd < 0 and failure() == EAGAIN:
        session.promote(request)
        fd = look_up(folder.fd, name, False)
    if fd < 0:
        return failure()
    if session.is_of_kernel(fd):
        close(fd)
        return ENOENT
    refused = session.node(fd, &found, next)
    if refused:
        return refused
    refused = session.fids.found(next[0], folder, name, &found)
    if refused:
        session.fids.drop(next[0])
        return refused
    session.put_qid(request, &found)
    return 0


cdef int do_clunk(Session session, Request *request) noexcept nogil:
    cdef uint32_t number = get32(request)
    if request.malformed:
        return EINVAL
    return clunk(session, request, number)


cdef int clunk(Session session, Request *request, uint32_t number) noexcept nogil:
    cdef int refused = 0, gone
    cdef Fid *fid = session.fids.take(number)
    if fid == NULL:
        return EBADF
    if fid.xattr != NULL and fid.xattr.sets:
        session.reach(request, fid)
        refused = set_xattr(session, fid)
    if fid.locks:
        session.promote(request)
    gone = session.fids.remove(number)
    session.fids.give(fid)
    return refused if refused else gone


cdef int do_remove(Session session, Request *request) noexcept nogil:
    # A file is removed by its name (Tunlinkat): a fid has none.  It goes all the same.
    cdef uint32_t number = get32(request)
    cdef Fid *fid
    if request.malformed:
        return EINVAL
    fid = session.fids.take(number)
    if fid != NULL:
        if fid.locks:
            session.promote(request)
        session.fids.remove(number)
        session.fids.give(fid)
    return EOPNOTSUPP
