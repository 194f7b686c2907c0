# A domain's granted frames and event channels, for compiled backends: what Foreign is for the others.
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    NOTES = 4

cdef struct Granted:        # one granted frame in use
    unsigned char *memory   # 4096 bytes; the guest may change them at any moment
    uint64_t opaque[NOTES]  # of whoever holds it for us, and nobody else's


# From any thread.  Nothing of it touches Python.
cdef class Frames:
    # 0, or -1 where the frame is not granted to us, or not for writing.
    cdef int hold(self, uint32_t ref, bint writable, Granted *granted) noexcept nogil
    # What was written is known to the guest's processor afterwards; so this comes before the response.
    cdef void release(self, Granted *granted) noexcept nogil
    # The same for a frame that is kept.
    cdef void written(self, Granted *granted) noexcept nogil
    # Send the domain an event on a port that is bound to us.
    cdef void notify(self, uint32_t port) noexcept nogil
    # From now on, where this is possible, an event that the domain sends on that port is answered at once:
    # `answer(argument)` is called on the thread that runs the domain, and says whether to send one back.  NULL: there
    # is only `event_fd`.
    # `answer` takes no lock that may be held for long.  It is neither called nor under way any more after `ignore`.
    cdef void *listen(self, uint32_t port, int event_fd, bint (*answer)(void *) noexcept nogil,
                      void *argument) noexcept nogil
    cdef void ignore(self, uint32_t port, void *listening) noexcept nogil
    # See Foreign.charge.
    cdef void charge(self, uint64_t ns) noexcept nogil
