# A frame with a head of one's own, in which headers may be changed: the frame one was given is its maker's.  See
# head.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from xenia.net.frame cimport HEAD, MOST_PARTS, Frame, iovec

cdef enum:
    TAG_BYTES = 4

cdef struct OwnFrame:
    Frame frame
    uint8_t bytes[HEAD + 2 * TAG_BYTES]
    iovec parts[MOST_PARTS]


# The frame's bytes from `start` to before `end` as parts, as many as there is room for; -1: not enough.
cdef int slice_parts(const Frame *frame, uint32_t start, uint32_t end, iovec *parts, int room) noexcept nogil
# Copies those bytes, which the frame has.
cdef void copy_parts(const Frame *frame, uint32_t start, uint32_t end, uint8_t *to) noexcept nogil
# Takes the head.  The other parts are the frame's.  False: it is a frame of too many parts for it.
cdef bint own_frame(OwnFrame *own, const Frame *frame) noexcept nogil
# Fills in the checksum that is asked for, if any.  False: it is asked for where the head is not.
cdef bint own_checksum(OwnFrame *own) noexcept nogil
# Put an 802.1Q tag in front of what it has, or take the outermost away: once for each.
cdef void own_tag(OwnFrame *own, uint16_t tci) noexcept nogil
cdef void own_untag(OwnFrame *own) noexcept nogil
