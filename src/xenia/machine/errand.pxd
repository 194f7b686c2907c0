# What an idle processor's thread may do for others.  See errand.pyx.
from libc.stdint cimport int32_t, uint64_t

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    short POLLIN, POLLOUT, POLLERR, POLLHUP


# Nothing of it touches Python.
cdef class Errand:
    # The thread is about to sleep: how many descriptors, `room` at the most, are to wake it too.  -1: none, somebody
    # else sees to them; then there is no end.
    cdef int begin_idle(self, pollfd *polls, int room) noexcept nogil
    # It slept: see to those that are ready.
    cdef void end_idle(self, pollfd *polls) noexcept nogil


cdef enum:
    ROOM_FOR_ERRANDS = 8
    DESCRIPTORS_OF_EACH = 5     # on average: as many as the two rings of a shared folder have

cdef struct ErrandSlot:
    volatile uint64_t errand    # an Errand; 0: none
    volatile int32_t inside     # threads that look at it, or have begun it

# Those of one processor, or of several.  Zeroed memory has none.
cdef struct Errands:
    ErrandSlot slots[ROOM_FOR_ERRANDS]

# A thread that is about to sleep.
cdef struct Sleeper:
    pollfd polls[1 + DESCRIPTORS_OF_EACH * ROOM_FOR_ERRANDS]    # the first one is its own
    int nr_polls
    ErrandSlot *begun[ROOM_FOR_ERRANDS]
    void *errands[ROOM_FOR_ERRANDS]             # in those, when they began
    int first[ROOM_FOR_ERRANDS]                 # of each one's polls
    int nr_begun

# Have it done from now on, until it is taken back; False: there is no room for more.  One caller at a time.
cdef bint errands_add(Errands *errands, Errand errand) noexcept nogil
# No thread begins it any more.  The slot that it was in, until whose `inside` is 0 it is under way; NULL: in none.
cdef ErrandSlot *errands_remove(Errands *errands, Errand errand) noexcept nogil
# Before its ppoll(2), of descriptor `fd` and theirs.
cdef void sleeper_init(Sleeper *sleeper, int fd) noexcept nogil
cdef void errands_begin(Errands *errands, Sleeper *sleeper) noexcept nogil
# After it.
cdef void errands_end(Sleeper *sleeper) noexcept nogil
