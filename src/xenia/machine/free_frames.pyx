"""The frames of a machine that nobody has.

A frame that comes back goes to the front of a list, and from there to whoever asks next, because the host's caches may
still have it.  Frames in a row are searched for in a map with a bit for each frame, so that the whole of an 8 GB
machine is 256 KB to look through, and are taken from the middle of the list, each in one step: nobody waits for long
for memory because somebody else wants much of it.
"""

from libc.stddef cimport size_t
from libc.string cimport memset

cdef extern from *:
    int count_trailing_zeros "__builtin_ctzll"(uint64_t word) noexcept nogil

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void *address, size_t length)
    void *MAP_FAILED
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE

cdef enum:
    WORD_SHIFT = 6
    WORD = 1 << WORD_SHIFT      # frames

# Where a row of 2^order frames may begin in a word.
cdef uint64_t[WORD_SHIFT + 1] ALIGNED
ALIGNED[:] = [
    0xffffffffffffffff, 0x5555555555555555, 0x1111111111111111, 0x0101010101010101, 0x0001000100010001,
    0x0000000100000001, 1,
]


cdef bint free_frames_init(FreeFrames *free, uint64_t start, uint64_t end, uint64_t low) noexcept nogil:
    cdef uint64_t mfn
    free.nr_words = (end + WORD - 1) >> WORD_SHIFT
    free.bits = <uint64_t *>reserve(free.nr_words * sizeof(uint64_t))
    free.next = <uint32_t *>reserve(free.nr_words * WORD * sizeof(uint32_t))
    free.previous = <uint32_t *>reserve(free.nr_words * WORD * sizeof(uint32_t))
    if free.bits == NULL or free.next == NULL or free.previous == NULL:
        return False
    memset(free.bits, 0xff, free.nr_words * sizeof(uint64_t))
    for mfn in range(start):
        free.bits[mfn >> WORD_SHIFT] &= ~(<uint64_t>1 << (mfn & (WORD - 1)))
    for mfn in range(end, free.nr_words << WORD_SHIFT):
        free.bits[mfn >> WORD_SHIFT] &= ~(<uint64_t>1 << (mfn & (WORD - 1)))
    free.count = end - start
    free.low = start
    free.low_end = free.fresh = start + low
    free.fresh_end = end
    return True


cdef void free_frames_end(FreeFrames *free) noexcept nogil:
    release(free.bits, free.nr_words * sizeof(uint64_t))
    release(free.next, free.nr_words * WORD * sizeof(uint32_t))
    release(free.previous, free.nr_words * WORD * sizeof(uint32_t))


cdef void *reserve(size_t length) noexcept nogil:
    cdef void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    return NULL if memory == MAP_FAILED else memory


cdef void release(void *memory, size_t length) noexcept nogil:
    if memory != NULL:
        munmap(memory, length)


# --- the list ---


cdef inline void link(FreeFrames *free, uint64_t mfn) noexcept nogil:
    free.next[mfn] = free.first
    free.previous[mfn] = 0
    free.previous[free.first] = <uint32_t>mfn       # frame 0 is nobody's, and its words nobody reads
    free.first = <uint32_t>mfn


cdef inline void unlink(FreeFrames *free, uint64_t mfn) noexcept nogil:
    cdef uint32_t next = free.next[mfn], previous = free.previous[mfn]
    if previous:
        free.next[previous] = next
    else:
        free.first = next
    free.previous[next] = previous


cdef void free_frames_put(FreeFrames *free, uint64_t mfn) noexcept nogil:
    free.bits[mfn >> WORD_SHIFT] |= <uint64_t>1 << (mfn & (WORD - 1))
    link(free, mfn)
    free.count += 1


cdef uint64_t free_frames_take(FreeFrames *free) noexcept nogil:
    cdef uint64_t mfn = free.first
    if mfn:
        unlink(free, mfn)
    elif free.fresh < free.fresh_end:
        mfn = free.fresh
        free.fresh += 1
    elif free.low < free.low_end:
        mfn = free.low
        free.low += 1
    else:
        return 0
    free.bits[mfn >> WORD_SHIFT] &= ~(<uint64_t>1 << (mfn & (WORD - 1)))
    free.count -= 1
    return mfn


# --- rows ---


cdef uint64_t free_frames_take_extent(FreeFrames *free, unsigned order) noexcept nogil:
    cdef uint64_t count = <uint64_t>1 << order, first, mfn
    if order == 0:
        return free_frames_take(free)
    first = find_in_word(free, order) if order <= WORD_SHIFT else find_words(free, count >> WORD_SHIFT)
    if first == 0:
        return 0
    # Frames that were never handed out and come before it join the list: fewer than it has, for where they begin, it
    # could not.
    begin(free, &free.fresh, free.fresh_end, first, count)
    begin(free, &free.low, free.low_end, first, count)
    for mfn in range(first, first + count):
        unlink(free, mfn)
        free.bits[mfn >> WORD_SHIFT] &= ~(<uint64_t>1 << (mfn & (WORD - 1)))
    free.count -= count
    return first


cdef uint64_t find_in_word(FreeFrames *free, unsigned order) noexcept nogil:
    cdef uint64_t i, word
    cdef unsigned step
    for i in range(free.nr_words):
        word = free.bits[i]
        for step in range(order):
            word &= word >> (1 << step)
        word &= ALIGNED[order]
        if word:
            return i << WORD_SHIFT | count_trailing_zeros(word)
    return 0


cdef uint64_t find_words(FreeFrames *free, uint64_t count) noexcept nogil:
    cdef uint64_t i = 0, words
    while i + count <= free.nr_words:
        words = 0
        while words < count and free.bits[i + words] == <uint64_t>-1:
            words += 1
        if words == count:
            return i << WORD_SHIFT
        i += count
    return 0


cdef void begin(FreeFrames *free, uint64_t *start, uint64_t end, uint64_t first, uint64_t count) noexcept nogil:
    # Whatever of a range that was never handed out lies before the end of the row goes into the list.
    cdef uint64_t mfn, after = min(first + count, end)
    if start[0] < after and first < end:
        for mfn in range(start[0], after):
            link(free, mfn)
        start[0] = after
