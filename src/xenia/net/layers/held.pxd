# Frames that are kept for later, in the order of their times.  See held.pyx.
from libc.stdint cimport int64_t, uint8_t, uint64_t
from xenia.net.frame cimport Frame, iovec

cdef enum:
    MOST_HELD = 8192                # frames
    MOST_HELD_BYTES = 16 << 20      # of them
    MOST_HELD_FRAME = 1 << 18       # more than two copies of any

cdef struct HeldFrame:
    int64_t due
    uint64_t order                  # among those that are due at the same time
    Frame frame                     # of one part, behind this
    iovec part

cdef struct Held:
    HeldFrame **heap
    int count
    int room
    uint64_t nr_bytes
    uint64_t nr_kept                # ever

cdef bint held_has_room(Held *held, uint64_t length) noexcept nogil
# Keep a copy.  False: there is no memory.  Precondition: there is room.
cdef bint held_keep(Held *held, const Frame *frame, int64_t due) noexcept nogil
# Put back what was taken out.
cdef void held_return(Held *held, HeldFrame *frame) noexcept nogil
# The first, if it is due by then; the caller's to free.  NULL: none.
cdef HeldFrame *held_take(Held *held, int64_t now) noexcept nogil
cdef int64_t held_next(Held *held) noexcept nogil       # when the first is due; INT64_MAX: there is none
cdef void held_drop_all(Held *held) noexcept nogil
