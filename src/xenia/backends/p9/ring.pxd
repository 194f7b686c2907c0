# A ring of Xen's 9pfs at work: a guest's requests to a file server's socket, and its answers back.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.abi.p9 cimport xen_9pfs_data_intf_t
from xenia.foreign.frames cimport Frames
from xenia.machine.lock cimport Lock


cdef class DataRing:
    cdef Frames frames
    cdef Py_buffer page, data
    cdef bint has_page, has_data
    cdef volatile xen_9pfs_data_intf_t *interface
    cdef uint8_t *answers       # in
    cdef uint8_t *requests      # out
    cdef uint32_t size          # bytes of each
    cdef uint32_t port
    cdef int event_fd, wake_fd, socket
    cdef void *listening
    cdef Lock taking            # of the way from the guest
    cdef uint32_t out_cons
    cdef bint is_full           # the socket takes no more just now
    cdef uint32_t in_prod
    cdef uint32_t begun         # bytes behind in_prod that are not published, because their message is not whole
    cdef bint is_starved        # the guest has no room for what comes
    cdef volatile uint8_t closing
    cdef const char *reason
    cdef uint64_t counts[5]
    cdef void take(self, bint *notify) noexcept nogil
    cdef void put(self, bint *notify) noexcept nogil
    cdef bint publish(self) noexcept nogil
    cdef void serve_ring(self) noexcept nogil
    cdef void sleep(self) noexcept nogil
    cdef bint answer_guest(self) noexcept nogil
    cdef void wake(self) noexcept nogil
    cdef release(self)
