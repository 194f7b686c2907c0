"""A connection, and the threads that answer what comes by it.

One thread at a time takes requests, and answers them itself as long as that is quick: what is in the host's memory
needs no other thread to be woken.  Before anything that may take long it gives the taking up (`Session.promote`), and
another goes on with what the client asks meanwhile; so no slow call holds up any other.
"""

from socket import socket

from libc.errno cimport EINTR
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from xenia.machine.lock cimport condition_signal_and_unlock, condition_wait, lock, unlock
from xenia.p9.dispatch cimport answer, answered
from xenia.p9.linux cimport SHUT_RDWR, close, linux_errno, recv, shutdown
from xenia.p9.message cimport HEADER, MOST_MSIZE
from xenia.p9.sending cimport send_whole
from xenia.p9.session cimport MOST_WORKERS, Worker, give_up


cdef class Stream:
    """A stream socket, which is its own from now on, of that session."""

    def __cinit__(self):
        self.fd = -1

    def __init__(self, session: Session, connection: socket) -> None:
        self.session = session
        self.fd = connection.detach()

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)

    def serve(self) -> None:
        """Answer what is asked until the other end has gone, or says what cannot be.  For a thread of its own, of which
        any number may serve one stream, and so many a session."""
        cdef uint8_t *message = <uint8_t *>malloc(MOST_MSIZE)
        cdef uint8_t *reply = <uint8_t *>malloc(MOST_MSIZE)
        cdef Worker *worker
        with nogil:
            worker = self.worker()
        if message != NULL and reply != NULL and worker != NULL:
            with nogil:
                self.work(worker, message, reply)
        free(message)
        free(reply)

    def close(self) -> None:
        """Take no more: all that serve it return."""
        self.ended = True
        shutdown(self.fd, SHUT_RDWR)

    cdef Worker *worker(self) noexcept nogil:
        cdef Worker *found = NULL
        lock(&self.session.lock)
        if self.session.nr_workers < MOST_WORKERS:
            found = &self.session.workers[self.session.nr_workers]
            self.session.nr_workers += 1
        unlock(&self.session.lock)
        return found

    cdef void work(self, Worker *worker, uint8_t *message, uint8_t *reply) noexcept nogil:
        cdef uint32_t size
        while not self.ended:
            lock(&self.lead.lock)
            while self.lead.taken and not self.ended:   # for a long time: a lock is not waited for like that
                condition_wait(&self.lead.free, &self.lead.lock)
            if self.ended:      # who was woken alone, for it to lead, tells the others
                condition_signal_and_unlock(&self.lead.free, True, &self.lead.lock)
                break
            self.lead.taken = True
            unlock(&self.lead.lock)
            worker.leads = &self.lead
            while worker.leads != NULL:
                size = self.take(message)
                if size == 0:
                    self.ended = True
                    break
                size = answer(self.session, worker, message, size, reply, self.fd, &self.sending)
                if size and not send_whole(self.fd, &self.sending, reply, size):
                    self.ended = True
                answered(self.session, worker)
                if self.ended:
                    break
            if worker.leads != NULL:
                give_up(worker.leads, self.ended)
                worker.leads = NULL
        shutdown(self.fd, SHUT_RDWR)
        self.session.forget(&self.sending)

    # The next message whole; its size, or 0 at the end.
    cdef uint32_t take(self, uint8_t *message) noexcept nogil:
        cdef uint32_t size, most = self.session.msize or MOST_MSIZE
        if not self.fill(message, HEADER):
            return 0
        memcpy(&size, message, 4)
        if size < HEADER or size > most or not self.fill(message + HEADER, size - HEADER):
            return 0
        return size

    cdef bint fill(self, uint8_t *data, uint32_t size) noexcept nogil:
        cdef uint32_t part
        cdef ssize_t came
        while size:
            part = min(size, self.ahead_end - self.ahead_at)
            memcpy(data, self.ahead + self.ahead_at, part)
            self.ahead_at += part
            data += part
            size -= part
            if size == 0:
                break
            if size < AHEAD:
                came = recv(self.fd, self.ahead, AHEAD, 0)
                if came > 0:
                    self.ahead_at, self.ahead_end = 0, <uint32_t>came
            else:
                came = recv(self.fd, data, size, 0)
                if came > 0:
                    data += came
                    size -= came
            if came == 0 or (came < 0 and linux_errno() != EINTR):
                return False
        return True
