# The threads that carry out what may take time, for all queues of a vbd.
from libc.stdint cimport uint8_t, uint64_t
from xenia.backends.vbd.request cimport Limits, Op
from xenia.machine.lock cimport Condition, Lock

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
    uint64_t bytes_written_out  # that the host was asked to write out before the flush
    uint64_t errors             # responses other than OKAY
    uint64_t waited             # requests that were left to the workers
    uint64_t notifications      # events sent to the guest


cdef class Workers:             # of one device: they do what may sleep
    cdef Lock lock
    cdef Condition changed
    cdef Op *first
    cdef Op *last
    cdef bint closing
    cdef int fd                 # where requests go without Python; -1: through the layer
    cdef object layer
    cdef Limits limits
    cdef Counts counts          # guarded by `lock`
    cdef uint64_t since_flush   # bytes written; guarded by `lock`
    cdef uint64_t between_flushes           # the same, for the last two
    cdef uint8_t nowait_reads
    cdef uint8_t nowait_writes
    cdef void perform(self, Op *op) noexcept nogil
    cdef uint64_t to_write_out(self, Op *op) noexcept nogil
    cdef int flush(self) noexcept nogil
    cdef void put(self, Op *first, Op *last) noexcept nogil
    cdef pass_on(self, Op *op)
    cdef carry_out(self, Op *op)
    cdef Op *get(self) noexcept nogil


# a request that is answered; `merged`: another one went with it
cdef void count(Workers workers, Op *op, bint merged) noexcept nogil
