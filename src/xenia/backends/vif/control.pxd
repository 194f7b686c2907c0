# The control ring of a card.  See control.pyx.
from libc.stdint cimport uint8_t, uint32_t
from xenia.abi.netif cimport xen_netif_ctrl_request_t, xen_netif_ctrl_response_t
from xenia.backends.vif.steering cimport Steering
from xenia.foreign.frames cimport Frames
from xenia.rings.request cimport BackRing


cdef class Control:
    cdef Steering steering
    cdef Frames frames
    cdef BackRing ring
    cdef Py_buffer pages
    cdef bint has_pages
    cdef uint32_t port
    cdef uint32_t nr_queues
    cdef int event_fd
    cdef int wake_fd
    cdef volatile uint8_t closing
    cdef volatile uint8_t faulty
    cdef void serve_ring(self) noexcept nogil
    cdef bint answer_all(self) noexcept nogil
    cdef void answer(self, const xen_netif_ctrl_request_t *request, xen_netif_ctrl_response_t *response) noexcept nogil
    cdef uint32_t set_key(self, uint32_t ref, uint32_t size) noexcept nogil
    cdef uint32_t set_mapping(self, uint32_t ref, uint32_t count, uint32_t first) noexcept nogil
