# Which frames of a machine nobody has.  Whoever calls holds the machine's lock.
from libc.stdint cimport uint32_t, uint64_t

cdef struct FreeFrames:
    uint64_t count
    uint64_t nr_words
    uint64_t *bits          # a bit for each frame: it is free
    uint32_t *next          # the list of those that were handed out before, last in first out; 0 ends it
    uint32_t *previous
    uint32_t first
    uint64_t fresh          # these were never handed out, and are in no list
    uint64_t fresh_end
    uint64_t low            # nor these: they come last
    uint64_t low_end

# Frames from `start` to `end` are free, the first `low` of them handed out last.  False: no memory.
cdef bint free_frames_init(FreeFrames *free, uint64_t start, uint64_t end, uint64_t low) noexcept nogil
cdef void free_frames_end(FreeFrames *free) noexcept nogil
cdef void free_frames_put(FreeFrames *free, uint64_t mfn) noexcept nogil
# One, or 0.
cdef uint64_t free_frames_take(FreeFrames *free) noexcept nogil
# 2^order in a row, aligned to their number, the lowest there are; the first, or 0.
cdef uint64_t free_frames_take_extent(FreeFrames *free, unsigned order) noexcept nogil
