# The queues of a vbd.
from libc.stdint cimport uint8_t, uint32_t
from xenia.backends.vbd.request cimport Keep, Op
from xenia.backends.vbd.workers cimport Workers
from xenia.foreign.frames cimport Frames
from xenia.rings.request cimport BackRing
from xenia.machine.lock cimport Lock


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
    cdef int take_batch(self, int most) noexcept nogil
    cdef int start_barrier(self) noexcept nogil
    cdef int take_some(self, int waiting) noexcept nogil
    cdef void carry_out(self, Op *batch) noexcept nogil
    cdef bint try_at_once(self, Op *op) noexcept nogil
    cdef void finish(self, Op *op, bint more) noexcept nogil
    cdef void respond(self, Op *op) noexcept nogil
    cdef bint push(self) noexcept nogil
    cdef bint push_locked(self) noexcept nogil
