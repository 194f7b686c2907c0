"""The queues of a vbd.

Requests are taken from a ring all at once, and those that follow each other on the disk are joined into one call.  What
the host can do at once (RWF_NOWAIT: the data is in its page cache) is done by the thread that takes them; everything
else is left to the workers, so that a request that waits for a disk holds up none that does not.  Responses go into the
ring as requests finish, in any order, and a batch of them takes one event.

Who takes them.  The thread that runs the guest, when that notifies: a request is answered when the guest runs on, for
less than it costs to wake anybody.  The queue's own thread takes what is too much for one event, and looks when a
barrier may begin, when the ring is let go, and where events come through a descriptor only.  `taking` lets in one of
them at a time; who finds the other one there makes it look once more.

Failure.  What the host could not make durable it tells once and forgets, and Linux's frontend takes an empty flush that
fails for one that is not supported: it tells nobody, and flushes no more.  So the disk has failed for good then: each
later write is an error, which does reach who writes.

Ordering.  A flush covers the writes whose responses the guest had when it asked, so it needs to wait for no other
request.  A barrier waits for all before it and holds up all after it.

Locks.  `taking` is held while a batch is taken and what can be done at once is done, never while anything sleeps.  A
queue's lock guards its ring's responses and its counts of what is in flight; the workers' lock their list.  Neither is
held while anything is read or written, and no queue's lock is waited for with the workers' held.  No Python runs for a
request unless the disk is a stack of layers.
"""

import os

from cpython.buffer cimport PyBUF_CONTIG, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EAGAIN, EOPNOTSUPP
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.unistd cimport close, read, write

from xenia.abi.blkif cimport BLKIF_RSP_EOPNOTSUPP, BLKIF_RSP_ERROR, BLKIF_RSP_OKAY, blkif_request_t, blkif_response_t
from xenia.backends.vbd.request cimport OP_READ, OP_REFUSED, OP_WRITE, Kept, Op, keep_end, let_go, parse
from xenia.backends.vbd.transfer cimport follows, transfer
from xenia.backends.vbd.workers cimport Workers, count
from xenia.foreign.frames cimport Frames
from xenia.rings.request cimport (
    RING_FAULT, back_answered, back_attach, back_push, back_put, back_rest, back_take,
)
from xenia.machine.clock cimport thread_time
from xenia.machine.lock cimport RANK_QUEUE, RANK_TAKING, lock, lock_init, try_lock, unlock

from xenia.errors import HypervisorBug

cdef extern from "<sys/uio.h>" nogil:
    int RWF_NOWAIT

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    short POLLIN
    int poll(pollfd *fds, unsigned long count, int timeout)

cdef enum:
    MAX_BATCH = 512
    # batches that the thread that runs the guest carries out for one event: what came, a barrier, nothing
    TURNS = 3
    MOST_AT_ONCE = 32           # requests in one of them: with a megabyte each, the guest stands still for some ms
    KEEP_PER_ENTRY = 2 * 64     # room in the table of kept frames for each ring entry
    BEGUN = -1                  # what was found was no request, but that a barrier could begin


cdef class Queue:
    """One ring.

    workers     of the device
    frames      the frontend's
    pages       its ring's pages, side by side
    port        its end of the channel
    event_fd    readable after it notified
    persistent  keep the frames of its requests

    A ring that another backend served before is served from where that one's answers end, as Linux's does: what was not
    answered is done (once more).  A backend that answered out of order has then left requests that it answered, and
    lost others.
    """

    def __cinit__(self):
        self.wake_fd = -1
        lock_init(&self.taking, RANK_TAKING)
        lock_init(&self.lock, RANK_QUEUE)

    def __init__(self, Workers workers, Frames frames, pages: Buffer, port: int, event_fd: int,
                 persistent: bool = False) -> None:
        cdef uint32_t i, start
        self.workers = workers
        self.frames = frames
        self.port = port
        self.event_fd = event_fd
        PyObject_GetBuffer(pages, &self.pages, PyBUF_CONTIG)
        self.has_pages = True
        start = back_answered(self.pages.buf)
        back_attach(&self.ring, self.pages.buf, self.pages.len, sizeof(blkif_request_t), start)
        if self.ring.nr_entries == 0 or self.ring.nr_entries > MAX_BATCH:
            raise HypervisorBug(f"a ring of {self.pages.len} bytes")
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.ops = <Op *>calloc(self.ring.nr_entries, sizeof(Op))
        if self.ops == NULL:
            raise MemoryError
        for i in range(self.ring.nr_entries):
            self.ops[i].queue = <void *>self
            self.ops[i].finished = finished
            self.ops[i].next = self.idle
            self.idle = &self.ops[i]
        if persistent:
            self.keep.size = KEEP_PER_ENTRY * self.ring.nr_entries
            self.keep.entries = <Kept *>calloc(self.keep.size, sizeof(Kept))
            if self.keep.entries == NULL:
                raise MemoryError

    def __dealloc__(self):
        cdef uint32_t i
        if self.ops != NULL:
            for i in range(self.ring.nr_entries):
                free(self.ops[i].granted)
                free(self.ops[i].vectors)
            free(self.ops)
        if self.has_pages:
            PyBuffer_Release(&self.pages)
        if self.wake_fd >= 0:
            close(self.wake_fd)

    def go_on(self, answered: int, faulty: bool) -> None:
        """Serve the ring from that index on, whatever the guest says of it; or not at all.  Precondition: before
        `start`."""
        back_attach(&self.ring, self.pages.buf, self.pages.len, sizeof(blkif_request_t), answered)
        self.faulty = faulty

    def start(self) -> None:
        """Answer at once what can be answered so, on the thread that runs the guest, where that is possible."""
        with nogil:
            self.listening = self.frames.listen(self.port, self.event_fd, answer, <void *>self)

    def serve(self) -> None:
        """Serve the ring until `stop`.  For a thread of its own."""
        with nogil:
            self.serve_ring()

    @property
    def is_faulty(self) -> bool:
        """Whether the guest's index said what cannot be, and the ring is not served any more."""
        return self.faulty

    @property
    def is_new(self) -> bool:
        """Whether no request of the ring was answered yet."""
        return self.ring.rsp_prod == 0

    @property
    def answered(self) -> int:
        """The ring's index up to which all is answered, once `serve` has returned."""
        return self.ring.rsp_prod

    def stop(self) -> None:
        """Take no more requests than are there; `serve` returns when they are answered.  A frontend that closes leaves
        them in the ring, and may wait for them before it lets go of its disk."""
        self.closing = True
        with nogil:
            if self.listening != NULL:
                self.frames.ignore(self.port, self.listening)
                self.listening = NULL
        os.eventfd_write(self.wake_fd, 1)

    def close(self) -> None:
        """Let go of the frontend's frames.  Precondition: `serve` has returned."""
        with nogil:
            keep_end(&self.keep, self.frames)
        if self.has_pages:
            self.has_pages = False
            self.ring.sring = NULL
            PyBuffer_Release(&self.pages)

    # --- the queue's own thread

    cdef void serve_ring(self) noexcept nogil:
        cdef pollfd waiting[2]
        cdef uint64_t drained
        cdef int found, in_flight
        cdef int most = self.ring.nr_entries        # requests to take after the end was asked for
        cdef bint closing
        cdef int64_t before, ran = thread_time()
        waiting[0].fd = self.wake_fd
        waiting[1].fd = self.event_fd
        waiting[0].events = waiting[1].events = POLLIN
        while True:
            # Only what is looked at after the descriptors were emptied is surely seen.
            read(self.wake_fd, &drained, 8)
            read(self.event_fd, &drained, 8)
            lock(&self.taking)
            closing = self.closing
            lock(&self.lock)
            in_flight = self.in_flight      # before the look: a barrier that ends after it leaves requests behind it
            unlock(&self.lock)
            found = self.take_batch(most)
            if self.push():
                self.frames.notify(self.port)
            unlock(&self.taking)
            if closing and found > 0:
                most -= found
            before, ran = ran, thread_time()
            self.frames.charge(ran - before)
            if found == 0:
                if closing and in_flight == 0:
                    return
                poll(waiting, 2, -1)

    # --- the thread that runs the guest

    cdef bint answer(self) noexcept nogil:
        # The guest notifies, and runs on when this returns.  Whoever else takes requests now may have looked too early,
        # and looks again.
        cdef uint64_t one = 1
        cdef int turns = 0
        cdef bint notify
        if not try_lock(&self.taking):
            write(self.wake_fd, &one, 8)
            return False
        while turns < TURNS and not self.closing and self.take_batch(MOST_AT_ONCE):
            turns += 1
        notify = self.push()
        unlock(&self.taking)
        if turns == TURNS:
            write(self.wake_fd, &one, 8)
        return notify

    # --- whoever has `taking`

    cdef int take_batch(self, int most) noexcept nogil:
        # Take what there is, at most so many, and see to it; how many requests there were, or BEGUN.  0: sleep, the
        # guest notifies of the next.  A barrier that was taken is begun even where no more may be taken: nothing else
        # would ever end it.
        cdef int waiting
        if self.barrier != NULL:
            lock(&self.lock)
            waiting = self.in_flight
            unlock(&self.lock)
            # It counts itself.  Once given to the workers it is in flight until it is done, and then wakes this thread.
            return self.start_barrier() if waiting == 1 else 0
        if self.faulty:
            return 0
        lock(&self.lock)
        waiting = back_rest(&self.ring)
        unlock(&self.lock)
        if waiting == RING_FAULT:
            self.faulty = True
            return 0
        waiting = min(waiting, most)
        return self.take_some(waiting) if waiting else 0

    cdef int start_barrier(self) noexcept nogil:
        if self.barrier_begun:
            return 0
        self.barrier_begun = True
        self.workers.put(self.barrier, self.barrier)
        return BEGUN

    cdef int take_some(self, int waiting) noexcept nogil:
        cdef blkif_request_t entry
        cdef Op *batch = NULL
        cdef Op *tail = NULL        # of the batch's list
        cdef Op *last = NULL        # of those that go with the tail
        cdef Op *op = NULL
        cdef int taken = 0
        while taken < waiting and (op == NULL or not op.barrier):
            lock(&self.lock)
            op = self.idle
            self.idle = op.next
            back_take(&self.ring, &entry, sizeof(entry))
            self.in_flight += 1
            parse(&entry, op, &self.workers.limits, self.frames, &self.keep)
            if op.barrier:
                self.barrier = op
                self.barrier_begun = False
            unlock(&self.lock)
            taken += 1
            if op.barrier:
                continue
            if last != NULL and self.workers.fd >= 0 and follows(op, last):
                last.merged = op
            elif tail == NULL:
                batch = tail = op
            else:
                tail.next = op
                tail = op
            last = op
        lock(&self.workers.lock)
        self.workers.counts.batches += 1
        self.workers.counts.requests += taken
        unlock(&self.workers.lock)
        self.carry_out(batch)
        return taken

    cdef void carry_out(self, Op *batch) noexcept nogil:
        cdef Op *op
        cdef Op *first = NULL       # of those for the workers
        cdef Op *last = NULL
        while batch != NULL:
            op = batch
            batch = op.next
            op.next = NULL
            if op.kind == OP_REFUSED or self.try_at_once(op):
                lock(&self.lock)
                self.respond(op)
                unlock(&self.lock)
                continue
            if first == NULL:
                first = op
            else:
                last.next = op
            last = op
        if first != NULL:
            self.workers.put(first, last)

    cdef bint try_at_once(self, Op *op) noexcept nogil:
        # What the host can do without sleeping; a flush, a discard and a disk of layers always may sleep.
        cdef int error = EAGAIN
        if self.workers.fd < 0 or op.flush_first:
            return False
        if op.kind == OP_READ and self.workers.nowait_reads or op.kind == OP_WRITE and self.workers.nowait_writes:
            error = transfer(self.workers.fd, op, RWF_NOWAIT)
        if error == EOPNOTSUPP and op.kind == OP_READ:
            self.workers.nowait_reads = False
        elif error == EOPNOTSUPP:
            self.workers.nowait_writes = False
        return error == 0

    # --- any thread

    cdef void finish(self, Op *op, bint more) noexcept nogil:
        # A request that workers carried out; `more` of them come at once.
        cdef uint64_t one = 1
        cdef bint wake
        lock(&self.lock)
        wake = self.closing or self.barrier != NULL
        if op == self.barrier:
            self.barrier = NULL
        self.respond(op)
        if not more and self.push_locked():
            self.frames.notify(self.port)
        # Who waits for the rest to finish looks again.  Nothing of the queue is touched after the lock is gone: it may
        # be closed then.
        if wake:
            write(self.wake_fd, &one, 8)
        unlock(&self.lock)

    cdef void respond(self, Op *op) noexcept nogil:
        # The request and those merged into it.  Precondition: the lock is held.
        cdef blkif_response_t response
        cdef Op *following
        while op != NULL:
            following = op.merged
            count(self.workers, op, following != NULL)
            let_go(op, self.frames, &self.keep)
            memset(&response, 0, sizeof(response))
            response.id = op.id
            response.operation = op.operation
            response.status = BLKIF_RSP_OKAY
            if op.error:
                response.status = BLKIF_RSP_EOPNOTSUPP if op.error < 0 or op.error == EOPNOTSUPP else BLKIF_RSP_ERROR
            back_put(&self.ring, &response, sizeof(response))
            self.in_flight -= 1
            op.merged = NULL
            op.next = self.idle
            self.idle = op
            op = following

    cdef bint push(self) noexcept nogil:
        cdef bint notify
        lock(&self.lock)
        notify = self.push_locked()
        unlock(&self.lock)
        return notify

    cdef bint push_locked(self) noexcept nogil:
        # Publish the responses; whether to notify the guest.
        if self.ring.rsp_prod == self.ring.rsp_pushed or not back_push(&self.ring):
            return False
        lock(&self.workers.lock)
        self.workers.counts.notifications += 1
        unlock(&self.workers.lock)
        return True


cdef bint answer(void *queue) noexcept nogil:
    return (<Queue>queue).answer()


cdef void finished(Op *op, bint more) noexcept nogil:
    (<Queue>op.queue).frames.charge(op.ran)
    (<Queue>op.queue).finish(op, more)
