"""Locks, by ranges of bytes (fcntl) and of whole files (flock).

Among its own processes the client's kernel keeps them before it asks here, so every one that is asked for is given.
"""

from libc.errno cimport EBADF, EINVAL
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from xenia.p9.fids cimport Fid
from xenia.p9.message cimport LOCK_SUCCESS, LOCK_UNLOCK, NAME_SIZE
from xenia.p9.request cimport Request, get, get32, get64, get_text, put8, put32, put64, put_text
from xenia.p9.session cimport Session


cdef int do_lock(Session session, Request *request) noexcept nogil:
    cdef uint8_t kind
    cdef char client[NAME_SIZE]
    cdef Fid *fid = session.take(request, get32(request))
    get(request, &kind, 1)
    get32(request)              # flags
    get64(request)              # start
    get64(request)              # length
    get32(request)              # process
    get_text(request, client, NAME_SIZE)
    if fid != NULL:
        session.fids.give(fid)
    if request.malformed or fid == NULL or kind > LOCK_UNLOCK:
        return EBADF if fid == NULL else EINVAL
    put8(request, LOCK_SUCCESS)
    return 0


cdef int do_getlock(Session session, Request *request) noexcept nogil:
    # Nobody but the client's own has it locked.
    cdef uint8_t kind
    cdef uint64_t start, length
    cdef uint32_t process, size
    cdef char client[NAME_SIZE]
    cdef Fid *fid = session.take(request, get32(request))
    get(request, &kind, 1)
    start, length, process = get64(request), get64(request), get32(request)
    size = get_text(request, client, NAME_SIZE)
    if fid != NULL:
        session.fids.give(fid)
    if request.malformed or fid == NULL:
        return EBADF if fid == NULL else EINVAL
    put8(request, LOCK_UNLOCK)
    put64(request, start)
    put64(request, length)
    put32(request, process)
    put_text(request, client, <unsigned short>size)
    return 0
