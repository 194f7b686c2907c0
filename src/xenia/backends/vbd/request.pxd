# Requests of a blkif ring as plain data.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from posix.types cimport off_t
from xenia.abi.blkif cimport blkif_request_segment_t
from xenia.foreign.frames cimport Frames, Granted

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef enum:
    MAX_SEGMENTS = 256          # of an indirect request: feature-max-indirect-segments

cdef enum:                      # Op.kind
    OP_READ
    OP_WRITE
    OP_FLUSH
    OP_DISCARD
    OP_SECURE_DISCARD
    OP_REFUSED                  # nothing to do but to answer `error`

cdef struct Held:               # a frame of a request's
    Granted granted
    uint32_t kept               # 1 + which entry of the queue's Keep it is; 0: held for this request alone

cdef struct Op:                 # one request, from ring to response
    uint64_t id
    uint64_t offset             # bytes
    uint64_t length
    uint8_t operation           # for the response
    uint8_t kind
    uint8_t barrier             # nothing may pass it, either way; flushed before and after
    uint8_t flush_first         # a flush with data
    int32_t error               # errno; -1: not supported
    uint32_t nr_granted
    uint32_t nr_vectors
    uint32_t room               # for how many segments there is memory
    Held *granted
    iovec *vectors
    Op *merged                  # the request that begins where this one ends, and goes with it
    Op *next
    uint64_t ran                # ns of a worker's
    void *queue
    # tells its queue that it is carried out; `more` of that queue's come at once
    void (*finished)(Op *op, bint more) noexcept nogil

cdef struct Limits:             # of the device, as requests are held against it
    uint64_t size               # bytes
    uint32_t unit               # offsets and lengths are multiples of it
    uint8_t read_only
    uint8_t discard
    uint8_t secure_discard
    int32_t failed              # errno of the first flush that failed: nothing is written or flushed any more

# What a persistent queue keeps: granted frames by reference.
cdef struct Kept:
    uint32_t ref
    uint8_t used                # this entry holds one
    uint32_t busy               # requests that use it now
    Granted granted

cdef struct Keep:
    Kept *entries               # open hash table
    uint32_t size               # a power of two, 0: nothing is kept
    uint32_t count

# Copy the ring entry's request, check it, hold its frames: `op` is ready to be carried out, or OP_REFUSED.
cdef void parse(const void *entry, Op *op, Limits *limits, Frames frames, Keep *keep) noexcept nogil
# Give the frames back; those that were written to are known to the guest's processor then.
cdef void let_go(Op *op, Frames frames, Keep *keep) noexcept nogil
cdef void keep_end(Keep *keep, Frames frames) noexcept nogil
