# A capture that is being written.  See recording.pyx.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from xenia.machine.lock cimport Condition, Lock
from xenia.net.frame cimport BATCH, Frame

cdef enum:
    ROOM = 4 << 20                  # of each of two chunks
    NOT_THERE = 0xffffffff

cdef struct Chunk:
    uint8_t *blocks
    uint32_t used
    volatile uint32_t claims        # batches that are still being sent

cdef struct Claim:                  # of a batch, until it is known how much of it was sent
    void *recording
    Chunk *chunk
    uint32_t at[BATCH]              # where the block of each frame is, or NOT_THERE


cdef class Recording:
    cdef Lock *lock                 # the layer's: guards what follows
    cdef object layer
    cdef Chunk chunks[2]
    cdef int current
    cdef Condition waits
    cdef bint stopping
    cdef volatile bint over         # nothing is taken any more: it is stopped, has its size, or has nobody to read it
    cdef uint32_t snaplen
    cdef uint64_t received
    cdef uint64_t lost
    cdef uint64_t lost_since        # the last block
    # The writer's
    cdef int fd
    cdef bint seekable
    cdef int64_t position
    cdef int64_t limit              # -1: none
    cdef bytes head
    cdef const uint8_t *head_bytes
    cdef uint32_t head_length
    cdef bint begun                 # the head is written
    cdef bint broken                # nothing more can be
    cdef int error                  # an errno of the last write that failed, or 0
    cdef uint64_t written           # frames
    cdef readonly object thread
    cdef int64_t began
    # With the lock held.
    cdef void take(self, Frame *frames, int count, int direction, Claim *claim) noexcept nogil
    cdef void put(self, Frame *frame, int direction, int64_t now, uint32_t *at) noexcept nogil
    # Without it: of the batch so many were sent.
    cdef void settle(self, Claim *claim, int count, int taken) noexcept nogil
    cdef bint is_left(self)
    cdef start(self, object layer, Lock *its_lock)
    cdef void write_all(self) noexcept nogil
    cdef void write_chunk(self, Chunk *chunk) noexcept nogil
    cdef void write_run(self, const uint8_t *blocks, uint32_t length) noexcept nogil
    cdef uint32_t write_whole(self, const uint8_t *blocks, uint32_t length) noexcept nogil
