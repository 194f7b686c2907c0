"""A domain's granted frames and event channels, for compiled backends."""

from libc.stdint cimport uint32_t


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
