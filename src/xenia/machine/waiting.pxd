# A thread's wait for descriptors, which looks for a while before it sleeps where that pays.  See waiting.pyx.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from xenia.machine.errand cimport pollfd

# Zeroed memory is of one that does not look.
cdef struct Waiting:
    bint may_look               # there is more than one processor
    int64_t window              # ns that it looks for at the most, now
    uint32_t skips              # waits for which it does not look, whatever they were like
    uint32_t last_skips
    uint64_t nr_found, nr_slept

cdef void waiting_init(Waiting *waiting) noexcept nogil
# ppoll(2): until one of them is ready, or `left` ns have passed; for ever where that is negative.
cdef int wait_for(Waiting *waiting, pollfd *polls, int count, int64_t left) noexcept nogil
# The same without a look.
cdef int sleep_for(pollfd *polls, int count, int64_t left) noexcept nogil
