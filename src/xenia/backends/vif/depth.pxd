# How full a guest's receive ring may be.  See depth.pyx.
from libc.stdint cimport int64_t, uint32_t

cdef enum:
    PATIENCE = 20000000         # ns that a guest may leave lying what it was given

# Zeroed memory is of a guest that was given nothing.
cdef struct Depth:
    int posted                  # pages that the guest has in the ring when it has taken all that it was given
    uint32_t heard              # who sent it something in this window, a bit each
    uint32_t heard_before       # and in the last one
    int64_t window              # when that began
    int64_t put_at              # when the guest was last given something

# A frame of that sender's came.
cdef void depth_heard(Depth *depth, uint32_t sender, int64_t now) noexcept nogil
# Whether several sent the guest something of late.
cdef bint depth_shared(const Depth *depth) noexcept nogil
# How many pages must be free for a frame that needs so many of them, where `waiting` are.
cdef int depth_wanted(Depth *depth, int waiting, int needed, int64_t now) noexcept nogil
