# What a queue's guest sends.
from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uint64_t
from xenia.backends.vif.rate cimport Rate
from xenia.backends.vif.request cimport NR_TX, Chain
from xenia.backends.vif.steering cimport Steering
from xenia.foreign.frames cimport Frames, Granted
from xenia.machine.lock cimport Lock
from xenia.net.frame cimport BATCH, HEAD, Frame, iovec
from xenia.net.port cimport Port
from xenia.rings.request cimport BackRing

cdef enum:
    NR_PARTS = NR_TX + BATCH    # of a batch: a private one of each frame, and one of each request at the most

cdef struct SentCounts:         # see VifStats
    uint64_t sent, sent_bytes, sent_gso, sent_blank, sent_errors, sent_dropped, batches, beside, held_up, limited
    uint64_t notifications

cdef struct Answer:             # to a chain
    uint32_t nr_slots
    int16_t status
    bint has_frame              # the next one of the batch is it
    uint32_t nr_granted         # that it holds


cdef class Transmit:
    cdef Lock lock              # held by who takes frames from the ring, and all the way to where they go
    cdef BackRing ring
    cdef Frames frames
    cdef Port port
    cdef Steering steering
    cdef Rate rate
    cdef uint32_t event_port
    cdef SentCounts counts
    cdef const char *fault
    cdef int64_t not_before     # CLOCK_MONOTONIC in ns at which the rate lets more pass; 0: now
    cdef volatile uint8_t may_go_on     # the network takes frames again
    cdef volatile uint8_t bulk          # the last batch was of large frames
    # One batch, from the ring to the answers.
    cdef Chain chain
    cdef Answer answers[NR_TX]
    cdef uint32_t ids[NR_TX]    # of requests taken and not answered, in the ring's order
    cdef Granted granted[NR_TX]
    cdef Frame batch[BATCH]
    cdef iovec parts[NR_PARTS]
    cdef uint8_t heads[BATCH][HEAD]
    cdef uint32_t nr_answers, nr_ids, nr_granted, nr_frames, nr_parts
    cdef uint32_t answered, answered_ids, answered_granted, answered_frames, sent   # of those, how many

    # What there is, a batch at the most; whether there was anything, so that there may be more.  `notify` becomes true
    # where the guest is to be told.  With the lock held.
    cdef bint serve(self, bint *notify) noexcept nogil
    # Answer what the network did not take; whether the guest is to be told.  With the lock held.
    cdef bint end(self) noexcept nogil
    cdef bint take_batch(self) noexcept nogil
    cdef void take_one(self) noexcept nogil
    cdef bint make_frame(self, Answer *answer) noexcept nogil
    cdef bint add_part(self, Frame *frame, uint32_t *copied, uint32_t gref, uint32_t offset,
                       uint32_t size) noexcept nogil
    cdef bint describe(self, Frame *frame) noexcept nogil
    cdef void send(self) noexcept nogil
    cdef void count(self, const Frame *frame) noexcept nogil
    cdef void answer(self) noexcept nogil
    cdef bint push(self) noexcept nogil
