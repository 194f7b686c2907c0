# The queues of a vbd and the threads that carry their requests out.
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from xenia.backends.vbd.request cimport Keep, Limits, Op
from xenia.backends.xenbus.frames cimport Frames
from xenia.backends.xenbus.ring cimport BackRing
from xenia.machine.lock cimport Lock

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_cond_t:
        pass

cdef struct Counts:
    uint64_t requests
    uint64_t batches            # times that requests were found in a ring
    uint64_t merged             # requests that went with the one before them, in one call
    uint64_t reads
    uint64_t writes
    uint64_t flushes
    uint64_t discards
    uint64_t bytes_read
    uint64_t bytes_written
    uint64_t errors             # responses other than OKAY
    uint64_t waited             # requests that the host could not carry out at once
    uint64_t notifications      # events sent to the guest

cdef class Workers:             # of one device: they do what may sleep
    cdef Lock lock
    cdef pthread_cond_t changed
    cdef Op *first
    cdef Op *last
    cdef bint closing
    cdef int fd                 # where requests go without Python; -1: through the layer
    cdef object layer
    cdef Limits limits
    cdef Counts counts          # guarded by `lock`
    cdef uint8_t nowait_reads
    cdef uint8_t nowait_writes
    cdef int flush_error        # of the first flush that failed
    cdef void perform(self, Op *op) noexcept nogil
    cdef int flush(self) noexcept nogil
    cdef void put(self, Op *first, Op *last) noexcept nogil
    cdef submit(self, Op *op)
    cdef Op *get(self) noexcept nogil

cdef class Queue:
    cdef Workers workers
    cdef Frames frames
    cdef BackRing ring
    cdef Py_buffer pages
    cdef bint has_pages
    cdef Lock taking            # held by the thread that takes requests from the ring
    cdef void *listening        # that the guest's events are answered on the thread that runs it
    cdef Lock lock              # guards what follows, and putting responses
    cdef Keep keep
    cdef Op *ops
    cdef Op *idle
    cdef uint32_t in_flight
    cdef Op *barrier            # waits until nothing else is in flight; until it is done, nothing more is taken
    cdef bint barrier_begun
    cdef uint32_t port
    cdef int event_fd
    cdef int wake_fd
    cdef volatile uint8_t closing
    cdef volatile uint8_t faulty
    cdef void serve_ring(self) noexcept nogil
    cdef bint answer(self) noexcept nogil
    cdef bint is_next_large(self) noexcept nogil
    cdef int take_batch(self) noexcept nogil
    cdef int start_barrier(self) noexcept nogil
    cdef int take_some(self, int waiting) noexcept nogil
    cdef void carry_out(self, Op *batch) noexcept nogil
    cdef bint try_at_once(self, Op *op) noexcept nogil
    cdef void finish(self, Op *op, bint more) noexcept nogil
    cdef void respond(self, Op *op) noexcept nogil
    cdef bint push(self) noexcept nogil
    cdef bint push_locked(self) noexcept nogil
