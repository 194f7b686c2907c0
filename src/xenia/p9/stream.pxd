# A connection over which a client asks.
from libc.stdint cimport uint8_t, uint32_t
from xenia.machine.lock cimport Lock
from xenia.p9.session cimport Lead, Session, Worker

cdef enum:
    AHEAD = 8192                # bytes that may be read before it is known what they are

cdef class Stream:
    cdef Session session
    cdef int fd
    cdef Lead lead
    cdef Lock sending
    cdef uint8_t ahead[AHEAD]   # what was read and not taken
    cdef uint32_t ahead_at, ahead_end
    cdef bint ended
    cdef uint32_t take(self, uint8_t *message) noexcept nogil
    cdef bint fill(self, uint8_t *data, uint32_t size) noexcept nogil
    cdef Worker *worker(self) noexcept nogil
    cdef void work(self, Worker *worker, uint8_t *message, uint8_t *reply) noexcept nogil
