# Frames cut to what a link or a guest takes.  See segment.pyx.
#
#     cdef Segments cut                     (20 KB)
#     if not segment_begin(&cut, frame, mtu + 14, 0):
#         dropped += 1
#     while segment_next(&cut):
#         send(cut.frames, cut.count)
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from xenia.net.frame cimport BATCH, GSO_NONE, HEAD, MOST_PARTS, NEEDS_CSUM, Frame, iovec
from xenia.net.head cimport OwnFrame
from xenia.net.parse cimport Headers

cdef enum:
    LEAST_MSS = 48                  # as Linux's net.ipv4.tcp_min_snd_mss: a frame is 1400 segments at the most

cdef enum:                          # what the taker can do itself
    TAKES_NEEDS_CSUM = 1
    TAKES_GSO = 2                   # of `most_bytes` at the most, and NEEDS_CSUM

cdef struct Segments:
    Frame *frames                   # what segment_next made: they last until it is called again
    int count
    # The rest is segment.pyx's.
    const Frame *source
    Headers headers
    OwnFrame own
    uint32_t takes
    uint32_t at                     # first byte of payload that is not in a segment yet
    uint32_t mss
    uint32_t payload                # of each frame that is made: several `mss` for a taker of GSO
    uint32_t number                 # of the next segment
    Frame made[BATCH]
    uint8_t heads[BATCH][HEAD]
    iovec parts[2 * BATCH + MOST_PARTS]


# Whether a taker of plain frames has to have it cut or summed.
cdef inline bint is_plain(const Frame *frame) noexcept nogil:
    return frame.header.gso_type == GSO_NONE and not frame.header.flags & NEEDS_CSUM


# Whether a GSO frame is what it says, of headers that it has.
cdef bint can_segment(const Frame *frame, const Headers *headers) noexcept nogil
# Begins to make frames of no more than `most_bytes` (0: of any number) of one that lasts until they are made.  False:
# it cannot be cut so, or contradicts itself: it is to be dropped.
cdef bint segment_begin(Segments *it, const Frame *frame, uint32_t most_bytes, uint32_t takes) noexcept nogil
# How many frames it made, BATCH at the most; 0: there are no more.
cdef int segment_next(Segments *it) noexcept nogil
