"""The threads that carry out what may take time, for all queues of a vbd.

Each takes a request from the list, or a few small writes, which hardly wait; where the disk is a stack of layers it
takes all there are, as one batch for Python.  A request says itself whom to tell when it is done.
"""

import logging

from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EIO, errno as c_errno
from libc.stdint cimport int64_t, uint64_t
from posix.types cimport off_t

from xenia.backends.vbd.request cimport OP_DISCARD, OP_FLUSH, OP_READ, OP_SECURE_DISCARD, OP_WRITE, Op
from xenia.backends.vbd.transfer cimport punch, transfer
from xenia.machine.clock cimport thread_time
from xenia.machine.lock cimport (
    RANK_WORKERS, condition_signal_and_unlock, condition_wait, lock, lock_init, unlock,
)

from xenia.backends.vbd.layers import submit
from xenia.storage.layer import Layer

_log = logging.getLogger(__name__)

cdef extern from "<unistd.h>" nogil:
    int fdatasync(int fd)

cdef extern from "<fcntl.h>" nogil:
    int sync_file_range(int fd, off_t offset, off_t length, unsigned flags)
    unsigned SYNC_FILE_RANGE_WRITE

cdef enum:
    FEW = 8                     # small writes that a worker takes together
    SMALL = 64 << 10            # bytes
    LARGE = 256 << 10


cdef class Workers:
    """What the queues of one device share: where the bytes are, and a list of requests that may take time.

    layer       what the disk is: a storage layer
    fd          a descriptor whose bytes are exactly the layer's, or -1
    read_only   writes are refused
    """

    def __init__(self, layer: Layer, fd: int, read_only: bool) -> None:
        lock_init(&self.lock, RANK_WORKERS)
        self.layer = layer
        self.fd = fd
        self.limits.size = layer.size
        self.limits.unit = max(512, layer.block_size.minimum)
        self.limits.read_only = read_only
        self.limits.discard = layer.can_discard
        self.limits.secure_discard = layer.can_secure_discard and fd < 0     # punching a hole leaves copies
        self.nowait_reads = self.nowait_writes = True

    def work(self) -> None:
        """Carry out what is put on the list, until `close`.  For a thread of its own, or several."""
        cdef Op *op
        cdef Op *following
        cdef uint64_t offset, length
        cdef int64_t before, now = thread_time()
        while True:
            with nogil:
                op = self.get()
                while op != NULL and self.fd >= 0:
                    following = op.next
                    op.next = NULL
                    self.perform(op)
                    before, now = now, thread_time()
                    op.ran = now - before
                    offset, length = op.offset, self.to_write_out(op)
                    op.finished(op, following != NULL and following.queue == op.queue)
                    if length:
                        sync_file_range(self.fd, offset, length, SYNC_FILE_RANGE_WRITE)
                    op = following if following != NULL else self.get()
            if op == NULL:
                return
            self.pass_on(op)

    cdef pass_on(self, Op *op):
        # Through the layers: all that is on the list, as one batch.
        # Whatever happens here, they are all answered: a ring that closes waits for them.
        cdef Op *each = op
        cdef int64_t begun = thread_time()
        try:
            self.carry_out(op)
        except BaseException:
            if not self.limits.failed:      # once: a guest can go on with this for ever
                log_failure()
            self.limits.failed = self.limits.failed or EIO
            while each != NULL:
                each.error = EIO
                each = each.next
        with nogil:
            op.ran = thread_time() - begun
            while op != NULL:
                each = op
                op = op.next
                each.next = NULL
                if op != NULL:
                    op.ran = 0
                each.finished(each, op != NULL and op.queue == each.queue)

    cdef carry_out(self, Op *op):
        cdef Op *each = op
        requests = []
        while each != NULL:
            views = [PyMemoryView_FromMemory(<char *>each.vectors[i].iov_base, each.vectors[i].iov_len, 0x200)
                     for i in range(<int>each.nr_vectors)] if each.kind <= OP_WRITE else []
            requests.append((each.kind, each.offset, each.length, views, bool(each.flush_first), bool(each.barrier)))
            each = each.next
        each = op
        for error, lost in submit(self.layer, requests):
            if lost and not self.limits.failed:
                self.limits.failed = error
            each.error = error or (self.limits.failed if each.flush_first or each.barrier else 0)
            each = each.next

    cdef void perform(self, Op *op) noexcept nogil:
        # Carry a request out, however long it takes.
        cdef Op *each = op
        cdef Op *merged
        op.error = self.flush() if op.flush_first else 0
        if op.error == 0 and (op.kind == OP_READ or op.kind == OP_WRITE):
            if transfer(self.fd, op, 0):
                # One of them is at fault; each on its own tells which.
                while each != NULL:
                    merged = each.merged
                    each.merged = NULL
                    each.error = transfer(self.fd, each, 0)
                    each.merged = merged
                    each = merged
            if op.barrier and op.error == 0:
                op.error = self.flush()
        elif op.error == 0 and (op.kind == OP_DISCARD or op.kind == OP_SECURE_DISCARD):
            op.error = punch(self.fd, op)

    cdef uint64_t to_write_out(self, Op *op) noexcept nogil:
        # How many bytes from where a request wrote the host is to write out at once, so that the flush to come need not
        # wait for them: large writes, and no more than twice what lay between the last two flushes.  What no flush will
        # ask for is the host's to decide.
        cdef uint64_t length = 0
        if op.kind != OP_WRITE or op.error:
            return 0
        while op != NULL:
            length += op.length
            op = op.merged
        lock(&self.lock)
        self.since_flush += length
        if length < LARGE or self.since_flush > 2 * self.between_flushes:
            length = 0
        self.counts.bytes_written_out += length
        unlock(&self.lock)
        return length

    cdef int flush(self) noexcept nogil:
        lock(&self.lock)
        if self.since_flush:
            self.between_flushes = self.since_flush
            self.since_flush = 0
        unlock(&self.lock)
        if self.limits.failed == 0 and fdatasync(self.fd):
            self.limits.failed = c_errno
        return self.limits.failed

    cdef void put(self, Op *first, Op *last) noexcept nogil:
        # A list of requests.
        cdef Op *op = first
        cdef Op *merged
        cdef int nr = 0
        while op != NULL:
            merged = op
            while merged != NULL:
                nr += 1
                merged = merged.merged
            op = op.next
        lock(&self.lock)
        self.counts.waited += nr
        if self.first == NULL:
            self.first = first
        else:
            self.last.next = first
        self.last = last
        condition_signal_and_unlock(&self.changed, first != last and self.fd >= 0, &self.lock)

    cdef Op *get(self) noexcept nogil:
        # One request (with those merged into it), or a few writes, which hardly wait; through layers, all there are.
        cdef Op *op
        cdef Op *last
        cdef int taken = 1
        lock(&self.lock)
        while self.first == NULL and not self.closing:
            condition_wait(&self.changed, &self.lock)
        op = last = self.first
        if op != NULL:
            while last.next != NULL and (self.fd < 0
                                         or (taken < FEW and is_small_write(op) and is_small_write(last.next))):
                last = last.next
                taken += 1
            self.first = last.next
            last.next = NULL
        unlock(&self.lock)
        return op

    def close(self) -> None:
        """Let the threads end when the list is empty."""
        with nogil:
            lock(&self.lock)
            self.closing = True
            condition_signal_and_unlock(&self.changed, True, &self.lock)

    def go_on(self, counts: dict[str, int], failed: int) -> None:
        """Count from there on; `failed`: the errno of a flush that failed before.  Precondition: there were no
        requests."""
        self.counts = counts
        self.limits.failed = failed

    @property
    def failed(self) -> int:
        """The errno of the first flush that failed, or 0."""
        return self.limits.failed

    def resize(self, size: int) -> None:
        """The disk has another size from now on."""
        self.limits.size = size

    @property
    def can_secure_discard(self) -> bool:
        """Whether a discard can be secure."""
        return self.limits.secure_discard

    @property
    def size(self) -> int:
        """Bytes that requests may reach."""
        return self.limits.size

    @property
    def counts(self) -> dict[str, int]:
        """What was done so far."""
        cdef Counts counts
        with nogil:
            lock(&self.lock)
            counts = self.counts
            unlock(&self.lock)
        return dict(counts)


cdef log_failure():
    # Not even a log that fails may end a worker.
    try:
        _log.exception("a disk's requests fail")
    except Exception:
        pass


cdef void count(Workers workers, Op *op, bint merged) noexcept nogil:
    cdef Counts *counts = &workers.counts
    lock(&workers.lock)
    counts.errors += op.error != 0
    counts.merged += merged
    if op.error == 0:
        if op.kind == OP_READ:
            counts.reads += 1
            counts.bytes_read += op.length
        elif op.kind == OP_WRITE:
            counts.writes += 1
            counts.bytes_written += op.length
        elif op.kind == OP_FLUSH:
            counts.flushes += 1
        elif op.kind == OP_DISCARD or op.kind == OP_SECURE_DISCARD:
            counts.discards += 1
    unlock(&workers.lock)


cdef bint is_small_write(Op *op) noexcept nogil:
    return op.kind == OP_WRITE and not op.flush_first and op.length <= SMALL
