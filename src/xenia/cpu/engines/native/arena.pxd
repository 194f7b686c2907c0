# The stubs of one virtual processor, and who makes them: see arena.pyx.
from xenia.cpu.engines.native.stub cimport Arena, Stub

cdef extern from *:
    """
    #ifndef XENIA_READABLE
    #define XENIA_READABLE
    #include <poll.h>
    #include <time.h>

    static inline int readable(int fd, int ms)
    {
        struct pollfd one = {fd, POLLIN, 0};
        struct timespec timeout = {ms / 1000, ms % 1000 * 1000000l};
        return ppoll(&one, 1, &timeout, NULL) > 0;
    }
    #endif
    """
    bint readable(int fd, int ms) noexcept nogil

cdef enum:
    LOOK_NS = 100000000         # so long one waits before one looks whether a stub is still there

# A new one, in the place of that one, which ends.  And what became of those that were asked for; within a while.
cdef void stub_ask(Stub *stub) noexcept nogil
cdef void arena_look(Arena *arena) noexcept nogil
cdef void arena_await(Arena *arena) noexcept nogil
# None is there any more when this returns, and none will be.
cdef void arena_end(Arena *arena) noexcept nogil
