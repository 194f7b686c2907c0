"""Which function answers which message; and requests that another one calls off (Tflush).

What is under way is not called off here, for it does not take for ever; the answer to Tflush waits for its answer, as
the protocol wants it.
"""

from libc.errno cimport EINVAL, EOPNOTSUPP, EPROTO
from libc.stdint cimport uint16_t
from libc.string cimport memcpy

from xenia.machine.lock cimport condition_signal, lock, unlock
from xenia.p9 cimport message
from xenia.p9.attributes cimport do_getattr, do_readlink, do_setattr, do_statfs
from xenia.p9.content cimport do_fsync, do_lopen, do_read, do_write
from xenia.p9.entries cimport do_lcreate, do_link, do_mkdir, do_mknod, do_readdir, do_renameat, do_symlink, do_unlinkat
from xenia.p9.locks cimport do_getlock, do_lock
from xenia.p9.message cimport HEADER, LEAST_MSIZE
from xenia.p9.request cimport Request, get16
from xenia.p9.sending cimport send_whole
from xenia.p9.session cimport BEING_SENT, FREE, MOST_FLUSHES, Flush
from xenia.p9.walk cimport do_attach, do_clunk, do_remove, do_version, do_walk
from xenia.p9.xattrs cimport do_xattrcreate, do_xattrwalk

ctypedef int (*Handler)(Session session, Request *request) noexcept nogil

cdef enum:
    LATER = -1                  # the answer comes when another one has been sent

cdef Handler handlers[256]
handlers[<int>message.TVERSION] = do_version
handlers[<int>message.TATTACH] = do_attach
handlers[<int>message.TWALK] = do_walk
handlers[<int>message.TCLUNK] = do_clunk
handlers[<int>message.TREMOVE] = do_remove
handlers[<int>message.TLOPEN] = do_lopen
handlers[<int>message.TREAD] = do_read
handlers[<int>message.TWRITE] = do_write
handlers[<int>message.TFSYNC] = do_fsync
handlers[<int>message.TREADDIR] = do_readdir
handlers[<int>message.TLCREATE] = do_lcreate
handlers[<int>message.TMKDIR] = do_mkdir
handlers[<int>message.TMKNOD] = do_mknod
handlers[<int>message.TSYMLINK] = do_symlink
handlers[<int>message.TLINK] = do_link
handlers[<int>message.TRENAMEAT] = do_renameat
handlers[<int>message.TUNLINKAT] = do_unlinkat
handlers[<int>message.TGETATTR] = do_getattr
handlers[<int>message.TSETATTR] = do_setattr
handlers[<int>message.TSTATFS] = do_statfs
handlers[<int>message.TREADLINK] = do_readlink
handlers[<int>message.TXATTRWALK] = do_xattrwalk
handlers[<int>message.TXATTRCREATE] = do_xattrcreate
handlers[<int>message.TLOCK] = do_lock
handlers[<int>message.TGETLOCK] = do_getlock


cdef uint32_t answer(Session session, Worker *worker, const uint8_t *message_, uint32_t size, uint8_t *reply,
                     int socket, Lock *sending) noexcept nogil:
    cdef Request request
    cdef uint8_t kind = message_[4]
    cdef uint32_t number, msize = session.msize     # another stream may change it meanwhile
    cdef int refused
    memcpy(&request.tag, message_ + 5, 2)
    request.at, request.end = message_ + HEADER, message_ + size
    request.put, request.limit = reply + HEADER, reply + (msize or LEAST_MSIZE)
    request.malformed, request.worker = False, worker
    lock(&session.lock)
    worker.tag, worker.at_work = request.tag, True
    unlock(&session.lock)
    if kind == message.TFLUSH:
        refused = flush(session, &request, socket, sending)
    elif handlers[kind] == NULL:
        refused = EOPNOTSUPP
    elif msize == 0 and kind != message.TVERSION:
        refused = EPROTO
    else:
        refused = handlers[kind](session, &request)
    if refused == LATER:
        return 0
    if refused:
        kind = message.TLERROR
        number = refused
        memcpy(reply + HEADER, &number, 4)
        request.put = reply + HEADER + 4
    return finish(reply, <uint32_t>(request.put - reply), kind + 1, request.tag)


cdef inline uint32_t finish(uint8_t *reply, uint32_t size, uint8_t kind, uint16_t tag) noexcept nogil:
    memcpy(reply, &size, 4)
    reply[4] = kind
    memcpy(reply + 5, &tag, 2)
    return size


cdef int flush(Session session, Request *request, int socket, Lock *sending) noexcept nogil:
    cdef uint16_t old = get16(request)
    cdef Worker *worker
    cdef int index, free = 0
    if request.malformed:
        return EINVAL
    lock(&session.lock)
    for index in range(session.nr_workers):
        worker = &session.workers[index]
        if worker.at_work and worker.tag == old and worker != request.worker:
            while free < MOST_FLUSHES and session.flushes[free].worker != FREE:
                free += 1
            if free < MOST_FLUSHES:
                session.flushes[free].worker = index
                session.flushes[free].tag = request.tag
                session.flushes[free].socket = socket
                session.flushes[free].sending = sending
            unlock(&session.lock)
            return LATER if free < MOST_FLUSHES else EINVAL
    unlock(&session.lock)
    return 0


cdef void answered(Session session, Worker *worker) noexcept nogil:
    cdef int own = <int>(worker - &session.workers[0]), index
    cdef uint8_t reply[HEADER]
    cdef Flush found
    lock(&session.lock)
    worker.at_work = False
    for index in range(MOST_FLUSHES):
        if session.flushes[index].worker == own:
            found = session.flushes[index]
            session.flushes[index].worker = BEING_SENT
            unlock(&session.lock)
            finish(reply, HEADER, message.TFLUSH + 1, found.tag)
            send_whole(found.socket, found.sending, reply, HEADER)
            lock(&session.lock)
            session.flushes[index].worker = FREE
            condition_signal(&session.sent, True)
    unlock(&session.lock)
