"""A ring of a shared folder: bytes from the guest's pages to a file server's socket and back, and no more.

What is said there is between the guest and the server, which is another process and has nothing of the guest's but
these bytes.  Where an answer ends is looked at, for Linux's frontend takes what was published for whole messages; and
at requests for those that call off another one (Tflush).  That may have come by another ring of the mount, and its tag
is the guest's again once the flush is answered: so the flush waits here, while others pass it, until all requests that
were on other rings before it are sent, the other one's answer is published, and the guest has taken that.

Requests go to the socket on the thread that runs the guest, when it notifies.  A loop (machine/loop) brings answers,
and what the socket did not take at once: on its own thread, or on that of a vcpu that has nothing to do, which as a
rule is the one that waits for the answer.  The guest does not say when it has made room for answers: where it has none,
the loop looks now and then.

Whose thread it is has others to run, and one vcpu of the guest's may go on asking while another is served: so no more
than some AT_ONCE bytes are moved each way before the loop is asked again.

The guest writes what it likes, also into what was just put there: it gets its own answers wrong, and nothing else.
"""

from collections.abc import Callable, Sequence

from cpython.buffer cimport PyBUF_CONTIG, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from posix.unistd cimport read

from xenia.foreign.frames cimport Frames
from xenia.machine.atomic cimport flag_read, flag_set, flag_take
from xenia.machine.clock cimport monotonic
from xenia.machine.lock cimport RANK_TAKING, lock, lock_init, try_lock, unlock
from xenia.machine.loop cimport POLLERR, POLLHUP, POLLIN, POLLOUT, PollSet, Source

from xenia.errors import HypervisorBug

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <sys/uio.h>
    """
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t preadv2(int fd, const iovec *parts, int count, long offset, int flags) nogil
    ssize_t pwritev2(int fd, const iovec *parts, int count, long offset, int flags) nogil
    void __sync_synchronize() nogil

cdef enum:
    REQUESTS, REQUEST_BYTES, ANSWERS, ANSWER_BYTES, NOTIFICATIONS

    HEADER = 7                  # of a 9P message: size[4] type[1] tag[2]
    TFLUSH = 108
    FLUSH_SIZE = 9              # and oldtag[2]
    MOST_MESSAGE = 1 << 20
    AT_ONCE = 1 << 20
    STARVED = 1000000           # ns until it is looked again whether the guest has made room, or taken what is there


cdef class DataRing(Source):
    """One ring, for a loop to serve once it was started, and before it is closed.

    page, data  the page that begins it, and its pages side by side
    port        its end of the event channel
    event_fd    readable after it notified
    socket      of the file server's, which does not block
    on_fault    called on the loop's thread when it cannot be served any more, with the reason
    """

    def __cinit__(self):
        lock_init(&self.taking, RANK_TAKING)
        self.lendable = True

    def __init__(self, frames: Frames, page: Buffer, data: Buffer, *, port: int, event_fd: int, socket: int,
                 on_fault: Callable[[str], None]) -> None:
        self.frames = frames
        self.on_fault = on_fault
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
        self.boundary = self.out_cons
        self.siblings = ()
        self.asked = <uint8_t *>calloc(NR_TAGS, 1)
        if self.asked == NULL:
            raise MemoryError

    def __dealloc__(self):
        self.release()
        free(self.asked)

    def go_on(
        self, out_cons: int, in_prod: int, begun: int, left: int, asked: Sequence[int],
        flushes: Sequence[tuple[int, int]],
    ) -> None:
        """Serve it from there, whatever the guest says of it: as `rest` had it.  Precondition: before `start`."""
        self.out_cons, self.in_prod, self.begun = out_cons, in_prod, begun
        self.boundary = <uint32_t>(out_cons + left)
        for tag in asked:
            self.asked[<uint16_t>tag] = 1
        for tag, old in flushes[:MOST_FLUSHES]:
            self.flushes[self.nr_flushes].tag, self.flushes[self.nr_flushes].old = tag, old
            self.flushes[self.nr_flushes].is_new = True
            self.nr_flushes += 1

    def join(self, rings: Sequence[DataRing]) -> None:
        """These are the mount's, this one among them.  Precondition: before `start`; none is closed until all have
        stopped."""
        self.siblings = tuple(ring for ring in rings if ring is not self)
        self.nr_peers = 0
        for ring in self.siblings[:MOST_PEERS]:
            self.peers[self.nr_peers] = <void *>ring
            self.nr_peers += 1

    def start(self) -> None:
        """Take what the guest has sent, and from now on what it sends, at once, on the thread that runs it, where that
        is possible."""
        with nogil:
            self.listening = self.frames.listen(self.port, self.event_fd, answer_guest, <void *>self)
            if self.look():
                self.frames.notify(self.port)

    def stop(self) -> None:
        """Take no more from the guest."""
        self.closing = True
        with nogil:
            if self.listening != NULL:
                self.frames.ignore(self.port, self.listening)
                self.listening = NULL

    def close(self) -> None:
        """Let go of the guest's pages.  Again does nothing.  Precondition: all that are joined have stopped, and are
        no loop's any more."""
        self.nr_peers, self.siblings = 0, ()
        self.loop = None
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
    def rest(self) -> tuple[int, int, int, int, tuple[int, ...], tuple[tuple[int, int], ...]]:
        """Where it is, for `go_on`.  Precondition: it has stopped, and is no loop's any more."""
        asked = tuple(tag for tag in range(NR_TAGS) if self.asked[tag])
        flushes = tuple((self.flushes[index].tag, self.flushes[index].old) for index in range(self.nr_flushes))
        return self.out_cons, self.in_prod, self.begun, <uint32_t>(self.boundary - self.out_cons), asked, flushes

    @property
    def stats(self) -> tuple[int, int, int, int, int]:
        """Those of P9Stats, in their order."""
        return self.counts[0], self.counts[1], self.counts[2], self.counts[3], self.counts[4]

    # --- From the guest: by who holds `taking`

    cdef void take(self, bint *notify) noexcept nogil:
        cdef uint32_t waiting, ready, begun = self.out_cons
        self.is_full = self.is_behind = self.has_more = False
        while self.reason == NULL and not self.closing:
            if self.nr_flushes:
                self.send_flushes()
            waiting = self.interface.out_prod - self.out_cons
            if waiting > self.size:
                self.reason = b"the frontend's requests are further than its ring is long"
            if waiting == 0 or self.reason != NULL or self.is_full:
                return
            if self.out_cons - begun >= AT_ONCE:
                self.has_more = True
                return
            __sync_synchronize()
            self.look_ahead(waiting)
            ready = min(waiting, self.boundary - self.out_cons)
            if ready == 0:
                if not self.hold_flush(waiting):
                    return
            elif not self.send(ready):
                return
            __sync_synchronize()
            self.interface.out_cons = self.out_cons
            self.wake_peers()
            # The next answer tells the guest that there is room again: where it may not come for long, it is told now.
            notify[0] |= waiting > self.size // 2

    cdef void look_ahead(self, uint32_t waiting) noexcept nogil:
        # As far as there are heads of messages, but not over a flush of what another ring may have.
        cdef uint8_t head[FLUSH_SIZE]
        cdef uint32_t length, known = self.boundary - self.out_cons
        cdef uint16_t tag
        while known < waiting and waiting - known >= HEADER:
            self.copy_request(head, self.boundary, HEADER)
            memcpy(&length, head, 4)
            memcpy(&tag, head + 5, 2)
            if length < HEADER or length > MOST_MESSAGE:
                length = waiting - known        # the server ends the session
            elif head[4] == TFLUSH and length == FLUSH_SIZE and self.nr_peers:
                if waiting - known < FLUSH_SIZE:
                    return
                self.copy_request(head, self.boundary, FLUSH_SIZE)
                memcpy(&tag, head + HEADER, 2)
                if not self.asked[tag]:
                    return
            else:
                self.asked[tag] = 1
            self.boundary += length
            known += length

    cdef bint send(self, uint32_t ready) noexcept nogil:
        # Whether some of it went.
        cdef uint32_t start = self.out_cons & (self.size - 1), first = min(ready, self.size - start)
        cdef iovec parts[2]
        cdef ssize_t gone = -1
        parts[0].iov_base, parts[0].iov_len = self.requests + start, first
        parts[1].iov_base, parts[1].iov_len = self.requests, ready - first
        while gone < 0:
            gone = pwritev2(self.socket, parts, 2 if ready > first else 1, -1, 0)
            if gone < 0 and errno != EINTR:
                self.is_full = errno == EAGAIN
                if not self.is_full:
                    self.reason = b"the file server has gone"
                return False
        self.out_cons += <uint32_t>gone
        self.counts[REQUEST_BYTES] += gone
        return True

    cdef void copy_request(self, uint8_t *to, uint32_t start, uint32_t size) noexcept nogil:
        cdef uint32_t index
        for index in range(size):
            to[index] = self.requests[(start + index) & (self.size - 1)]

    # --- Requests that are called off

    cdef bint hold_flush(self, uint32_t waiting) noexcept nogil:
        # Whether there is one, and room for it: else the rest waits until one goes.
        cdef uint8_t message[FLUSH_SIZE]
        cdef Flush *flush = &self.flushes[self.nr_flushes]
        if waiting < FLUSH_SIZE or self.nr_flushes == MOST_FLUSHES:
            return False
        self.copy_request(message, self.out_cons, FLUSH_SIZE)
        memcpy(&flush.tag, message + 5, 2)
        memcpy(&flush.old, message + HEADER, 2)
        flush.is_new = True
        self.nr_flushes += 1
        self.out_cons += FLUSH_SIZE
        self.boundary = self.out_cons
        self.counts[REQUEST_BYTES] += FLUSH_SIZE
        return True

    cdef bint is_due(self, Flush *flush) noexcept nogil:
        cdef int index
        cdef bint is_due = True
        for index in range(self.nr_peers):
            is_due &= (<DataRing>self.peers[index]).is_over(flush, index, &self.is_behind)
        flush.is_new = False
        return is_due

    cdef bint is_over(self, Flush *flush, int index, bint *is_behind) noexcept nogil:
        # Of what a flush of another ring's, to which this is the ring `index`, has to wait for.
        if flush.is_new:
            flush.requests[index], flush.is_answered[index] = self.interface.out_prod, False
        if self.reason != NULL:
            return True
        if <int>(self.out_cons - flush.requests[index]) < 0 or self.asked[flush.old]:
            return False
        if not flush.is_answered[index]:
            flush.answers[index], flush.is_answered[index] = self.in_prod, True
        if <int>(self.interface.in_cons - flush.answers[index]) >= 0:
            return True
        is_behind[0] = True
        return False

    cdef void send_flushes(self) noexcept nogil:
        cdef uint8_t message[FLUSH_SIZE]
        cdef iovec part
        cdef uint32_t length = FLUSH_SIZE
        cdef int index = 0
        self.is_behind = False
        __sync_synchronize()
        while index < self.nr_flushes and self.boundary == self.out_cons and not self.is_full:
            if not self.is_due(&self.flushes[index]):
                index += 1
                continue
            memcpy(message, &length, 4)
            message[4] = TFLUSH
            memcpy(message + 5, &self.flushes[index].tag, 2)
            memcpy(message + HEADER, &self.flushes[index].old, 2)
            part.iov_base, part.iov_len = message, FLUSH_SIZE
            if pwritev2(self.socket, &part, 1, -1, 0) == FLUSH_SIZE:
                self.nr_flushes -= 1
                self.flushes[index] = self.flushes[self.nr_flushes]
            elif errno != EINTR:
                self.is_full = errno == EAGAIN
                if not self.is_full:
                    self.reason = b"the file server has gone"
                return

    cdef void wake_peers(self) noexcept nogil:
        # Those that wait for something of this one's.
        cdef int index
        __sync_synchronize()
        for index in range(self.nr_peers):
            if (<DataRing>self.peers[index]).nr_flushes:
                (<DataRing>self.peers[index]).look_soon()

    cdef bint answer_guest(self) noexcept nogil:
        self.counts[REQUESTS] += 1
        return self.look()

    cdef bint look(self) noexcept nogil:
        cdef bint notify = False
        if not try_lock(&self.taking):
            self.look_soon()    # who takes requests now may have looked too early
            return False
        self.take(&notify)
        if self.is_full or self.is_behind or self.has_more or self.reason != NULL:
            self.look_soon()
        unlock(&self.taking)
        return notify

    cdef void look_soon(self) noexcept nogil:
        # Whoever is woken may do no more than ask, and somebody else may be who waits by then: so it is said there too.
        flag_set(&self.unseen)
        self.wake()

    # --- To the guest: by who serves the loop

    cdef void put(self, bint *notify) noexcept nogil:
        cdef iovec parts[2]
        cdef uint32_t used, start, room, first, left = AT_ONCE
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
            room = min(self.size - used - self.begun, left)
            start = (self.in_prod + self.begun) & (self.size - 1)
            first = min(room, self.size - start)
            parts[0].iov_base, parts[0].iov_len = self.answers + start, first
            parts[1].iov_base, parts[1].iov_len = self.answers, room - first
            came = preadv2(self.socket, parts, 2 if room > first else 1, -1, 0)
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
            left -= <uint32_t>came
            if came < room or left == 0:
                return          # the loop looks whether there is more

    cdef bint publish(self) noexcept nogil:
        # As far as messages are whole.
        cdef uint32_t length, index
        cdef uint16_t tag
        cdef uint8_t head[HEADER]
        cdef bint any = False
        while self.begun >= HEADER:
            for index in range(HEADER):
                head[index] = self.answers[(self.in_prod + index) & (self.size - 1)]
            memcpy(&length, head, 4)
            memcpy(&tag, head + 5, 2)
            if length < HEADER or length > self.size:
                self.reason = b"an answer does not fit into the frontend's ring"
                break
            if length > self.begun:
                break
            self.in_prod += length
            self.begun -= length
            __sync_synchronize()
            self.interface.in_prod = self.in_prod
            self.asked[tag] = 0
            self.counts[ANSWERS] += 1
            any = True
        if any:
            self.wake_peers()
        return any

    cdef void fill(self, PollSet polls) noexcept nogil:
        cdef short events = (0 if self.is_starved else POLLIN) | (POLLOUT if self.is_full else 0)
        self.event_index = self.socket_index = -1
        if flag_read(&self.unseen):
            polls.wake_at(0)
        if self.reason != NULL:
            return
        self.event_index = polls.add(self.event_fd, POLLIN)
        if events:
            self.socket_index = polls.add(self.socket, events)     # that the other end has gone is never not told
        if self.is_starved or self.is_behind:
            polls.wake_at(monotonic() + STARVED)

    cdef void serve(self, PollSet polls) noexcept nogil:
        cdef uint64_t drained
        cdef bint notified, notify = False
        flag_take(&self.unseen)
        if self.reason == NULL:
            # Only what is looked at after the descriptor was emptied is surely seen.
            notified = polls.happened(self.event_index) != 0
            if notified:
                read(self.event_fd, &drained, 8)
            lock(&self.taking)
            self.take(&notify)
            if self.has_more:
                self.look_soon()
            unlock(&self.taking)
            if notified or self.is_starved or polls.happened(self.socket_index) & (POLLIN | POLLERR | POLLHUP):
                self.put(&notify)
            if notify:
                self.counts[NOTIFICATIONS] += 1
                self.frames.notify(self.port)
        if self.reason != NULL and not self.is_shut:
            self.is_shut = True
            self.tell()

    cdef void notice(self) noexcept:
        if self.is_shut and not self.closing:
            self.on_fault(self.fault)


cdef bint answer_guest(void *ring) noexcept nogil:
    return (<DataRing>ring).answer_guest()
