"""A domain's granted frames and event channels, for compiled backends."""

from libc.stdint cimport uint32_t, uint64_t
from xenia.machine.errand cimport Errand


cdef class Frames:
    """A domain that granted nothing."""

    cdef int hold(self, uint32_t ref, bint writable, Granted *granted) noexcept nogil:
        return -1

    cdef void release(self, Granted *granted) noexcept nogil:
        pass

    cdef void written(self, Granted *granted) noexcept nogil:
        pass

    cdef void notify(self, uint32_t port) noexcept nogil:
        pass

    cdef void *listen(self, uint32_t port, int event_fd, bint (*answer)(void *) noexcept nogil,
                      void *argument) noexcept nogil:
        return NULL

    cdef void ignore(self, uint32_t port, void *listening) noexcept nogil:
        pass

    cdef void charge(self, uint64_t ns) noexcept nogil:
        pass

    def lend(self, Errand errand not None) -> None:
        """Have it done on the threads of the domain's vcpus too, while they are idle, where there is room for it.  It
        is the caller's to keep until it is taken back."""

    def take_back(self, Errand errand not None) -> None:
        """It is neither begun nor under way there any more.  Again does nothing."""
