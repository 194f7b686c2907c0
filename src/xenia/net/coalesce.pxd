# Segments made one GSO frame again, for guests on links that tell of none.  See coalesce.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from xenia.net.frame cimport BATCH, HEAD, MOST_PARTS, Frame, iovec
from xenia.net.parse cimport Headers

cdef struct Train:                  # segments of one flow that follow on each other
    int first
    int last
    int count
    uint32_t nr_parts
    uint32_t mss
    uint32_t payload                # bytes of all
    bint open                       # another may follow
    bint fixed                      # all have the first one's IPv4 identification

cdef struct Coalesced:
    Frame *frames                   # what was made, in the order in which their first segments came
    int count
    # The rest is coalesce.pyx's.
    Headers headers[BATCH]
    Train trains[BATCH]
    int next[BATCH]                 # the segment that follows in its train
    Frame made[BATCH]
    uint8_t heads[BATCH][HEAD]
    iovec parts[4 * BATCH]
    int nr_parts


# Makes fewer frames of `count` ones, BATCH at the most, which nobody may change until these were used.  Of those that
# stay as they are it says DATA_VALID where their checksum is right.
cdef void coalesce(Coalesced *it, const Frame *frames, int count) noexcept nogil
