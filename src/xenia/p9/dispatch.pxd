# From a message to its answer.
from libc.stdint cimport uint8_t, uint32_t
from xenia.machine.lock cimport Lock
from xenia.p9.session cimport Session, Worker

# Answers a whole message of `size` bytes into `reply`, which has room for MOST_MSIZE; how many bytes that took, or 0
# where there is no answer yet.  `leads` as in Worker.
cdef uint32_t answer(Session session, Worker *worker, const uint8_t *message, uint32_t size, uint8_t *reply,
                     int socket, Lock *sending) noexcept nogil
# The answer was sent: those that waited for that are sent theirs.
cdef void answered(Session session, Worker *worker) noexcept nogil
