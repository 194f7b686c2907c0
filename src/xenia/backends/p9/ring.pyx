"""A ring of a shared folder: bytes from the guest's pages to a file server's socket and back, and no more.

What is said there is between the guest and the server, which is another process and has nothing of the guest's but
these bytes.  Only where an answer ends is looked at, for Linux's frontend takes what was published for whole messages.

Requests go to the socket on the thread that runs the guest, when it notifies.  The ring's own thread brings answers,
and what the socket did not take at once.  The guest does not say when it has made room for answers: where it has none,
that thread looks now and then.

The guest writes what it likes, also into what was just put there: it gets its own answers wrong, and nothing else.
"""

import os

from cpython.buffer cimport PyBUF_CONTIG, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from posix.unistd cimport close, read, write

from xenia.foreign.frames cimport Frames
from xenia.machine.errand cimport POLLIN, POLLOUT, pollfd
from xenia.machine.lock cimport lock, try_lock, unlock

from xenia.errors import HypervisorBug

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <poll.h>
    #include <sys/uio.h>
    """
    struct iovec:
        void *iov_base
        size_t iov_len
    int poll(pollfd *fds, unsigned long count, int timeout) nogil
    ssize_t readv(int fd, const iovec *parts, int count) nogil
    ssize_t pwritev2(int fd, const iovec *parts, int count, long offset, int flags) nogil
    void __sync_synchronize() nogil

cdef enum:
    REQUESTS, REQUEST_BYTES, ANSWERS, ANSWER_BYTES, NOTIFICATIONS

    HEADER = 7                  # of a 9P message: size[4] type[1] tag[2]
    STARVED = 1                 # milliseconds until it is looked again whether the guest has made room


cdef class DataRing:
    """One ring.

    page, data  the page that begins it, and its pages side by side
    port        its end of the event channel
    event_fd    readable after it notified
    socket      of the file server's, which does not block
    """

    def __cinit__(self):
        self.wake_fd = -1

    def __init__(self, frames: Frames, page: Buffer, data: Buffer, *, port: int, event_fd: int, socket: int) -> None:
        self.frames = frames
        self.port, self.event_fd, self.socket = port, event_fd, socket
        PyObject_GetBuffer(page, &self.page, PyBUF_CONTIG)
        self.has_page = True
        PyObject_GetBuffer(data, &self.data, PyBUF_CONTIG)
        self.has_data = True
        self.size = self.data.len // 2
        if self.size & (self.size - 1) or self.page.len < <Py_ssize_t>sizeof(xen_9pfs_data_intf_t):
            raise HypervisorBug(f"a ring of {self.data.len} bytes")
        self.interface = <volatile xen_9pfs_data_intf_t *>self.page.buf
        self.answers = <uint8_t *>self.data.buf
        self.requests = self.answers + self.size
        self.out_cons, self.in_prod = self.interface.out_cons, self.interface.in_prod
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __dealloc__(self):
        self.release()
        if self.wake_fd >= 0:
            close(self.wake_fd)

    def go_on(self, out_cons: int, in_prod: int, begun: int) -> None:
        """Serve it from there, whatever the guest says of it.  Precondition: before `start`."""
        self.out_cons, self.in_prod, self.begun = out_cons, in_prod, begun

    def start(self) -> None:
        """Take at once what the guest sends, on the thread that runs it, where that is possible."""
        with nogil:
            self.listening = self.frames.listen(self.port, self.event_fd, answer_guest, <void *>self)

    def serve(self) -> None:
        """Serve it until `stop`, or until it cannot be served any more (`fault`).  For a thread of its own."""
        with nogil:
            self.serve_ring()

    def stop(self) -> None:
        """Take no more from the guest; `serve` returns soon."""
        self.closing = True
        with nogil:
            if self.listening != NULL:
                self.frames.ignore(self.port, self.listening)
                self.listening = NULL
            self.wake()

    def close(self) -> None:
        """Let go of the guest's pages.  Again does nothing.  Precondition: `serve` has returned."""
        self.release()

    cdef release(self):
        if self.has_data:
            self.has_data = False
            PyBuffer_Release(&self.data)
        if self.has_page:
            self.has_page = False
            PyBuffer_Release(&self.page)

    @property
    def fault(self) -> str:
        """Why it is not served any more; "" while it is."""
        return "" if self.reason == NULL else self.reason.decode()

    @property
    def rest(self) -> tuple[int, int, int]:
        """Where it is, for `go_on`.  Precondition: `serve` has returned."""
        return self.out_cons, self.in_prod, self.begun

    @property
    def stats(self) -> tuple[int, int, int, int, int]:
        """Those of P9Stats, in their order."""
        return self.counts[0], self.counts[1], self.counts[2], self.counts[3], self.counts[4]

    # --- From the guest: by who holds `taking`

    cdef void take(self, bint *notify) noexcept nogil:
        cdef iovec parts[2]
        cdef uint32_t waiting, start, first
        cdef ssize_t gone
        self.is_full = False
        while self.reason == NULL and not self.closing:
            waiting = self.interface.out_prod - self.out_cons
            if waiting > self.size:
                self.reason = b"the frontend's requests are further than its ring is long"
            if waiting == 0 or self.reason != NULL:
                return
            __sync_synchronize()
            start = self.out_cons & (self.size - 1)
            first = min(waiting, self.size - start)
            parts[0].iov_base, parts[0].iov_len = self.requests + start, first
            parts[1].iov_base, parts[1].iov_len = self.requests, waiting - first
            gone = pwritev2(self.socket, parts, 2 if waiting > first else 1, -1, 0)
            if gone < 0 and errno == EINTR:
                continue
            if gone < 0:
                self.is_full = errno == EAGAIN
                if not self.is_full:
                    self.reason = b"the file server has gone"
                return
            self.out_cons += <uint32_t>gone
            __sync_synchronize()
            self.interface.out_cons = self.out_cons
            self.counts[REQUEST_BYTES] += gone
            # The next answer tells the guest that there is room again: where it may not come for long, it is told now.
            notify[0] |= waiting > self.size // 2

    cdef bint answer_guest(self) noexcept nogil:
        cdef bint notify = False
        self.counts[REQUESTS] += 1
        if not try_lock(&self.taking):
            self.wake()         # who takes requests now may have looked too early
            return False
        self.take(&notify)
        if self.is_full or self.reason != NULL:
            self.wake()
        unlock(&self.taking)
        return notify

    # --- To the guest: on the ring's own thread

    cdef void put(self, bint *notify) noexcept nogil:
        cdef iovec parts[2]
        cdef uint32_t used, start, room, first
        cdef ssize_t came
        self.is_starved = False
        while self.reason == NULL:
            used = self.in_prod - self.interface.in_cons
            if used > self.size:
                self.reason = b"the frontend has taken more answers than there were"
                return
            if used + self.begun >= self.size:
                self.is_starved = True
                return
            __sync_synchronize()
            room = self.size - used - self.begun
            start = (self.in_prod + self.begun) & (self.size - 1)
            first = min(room, self.size - start)
            parts[0].iov_base, parts[0].iov_len = self.answers + start, first
            parts[1].iov_base, parts[1].iov_len = self.answers, room - first
            came = readv(self.socket, parts, 2 if room > first else 1)
            if came < 0 and errno == EINTR:
                continue
            if came < 0 and errno == EAGAIN:
                return
            if came <= 0:
                self.reason = b"the file server has ended the session: a request cannot be, or the server has gone"
                return
            self.begun += <uint32_t>came
            self.counts[ANSWER_BYTES] += came
            notify[0] |= self.publish()

    cdef bint publish(self) noexcept nogil:
        # As far as messages are whole.
        cdef uint32_t length, index, at = self.in_prod
        cdef uint8_t head[4]
        while self.begun >= HEADER:
            for index in range(4):
                head[index] = self.answers[(at + index) & (self.size - 1)]
            memcpy(&length, head, 4)
            if length < HEADER or length > self.size:
                self.reason = b"an answer does not fit into the frontend's ring"
                break
            if length > self.begun:
                break
            at += length
            self.begun -= length
            self.counts[ANSWERS] += 1
        if at == self.in_prod:
            return False
        self.in_prod = at
        __sync_synchronize()
        self.interface.in_prod = at
        return True

    cdef void serve_ring(self) noexcept nogil:
        cdef uint64_t drained
        cdef bint notify
        while True:
            # Only what is looked at after the descriptors were emptied is surely seen.
            read(self.wake_fd, &drained, 8)
            read(self.event_fd, &drained, 8)
            if self.closing:
                return
            notify = False
            lock(&self.taking)
            self.take(&notify)
            unlock(&self.taking)
            self.put(&notify)
            if notify:
                self.counts[NOTIFICATIONS] += 1
                self.frames.notify(self.port)
            if self.reason != NULL:
                return
            self.sleep()

    cdef void sleep(self) noexcept nogil:
        cdef pollfd waiting[3]
        waiting[0].fd, waiting[0].events = self.wake_fd, POLLIN
        waiting[1].fd, waiting[1].events = self.event_fd, POLLIN
        waiting[2].events = (0 if self.is_starved else POLLIN) | (POLLOUT if self.is_full else 0)
        waiting[2].fd = self.socket if waiting[2].events else -1       # that the other end has gone is never not told
        poll(waiting, 3, STARVED if self.is_starved else -1)

    # --- Any thread

    cdef void wake(self) noexcept nogil:
        cdef uint64_t one = 1
        write(self.wake_fd, &one, 8)


cdef bint answer_guest(void *ring) noexcept nogil:
    return (<DataRing>ring).answer_guest()
