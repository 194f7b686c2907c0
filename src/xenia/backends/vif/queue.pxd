# The queues of a network card.
from libc.stdint cimport uint8_t, uint32_t
from xenia.backends.vif.receive cimport Receive
from xenia.backends.vif.transmit cimport Transmit
from xenia.foreign.frames cimport Frames
from xenia.machine.waiting cimport Waiting
from xenia.machine.loop cimport pollfd


cdef class Queue:
    cdef Transmit transmit
    cdef Receive receive
    cdef Frames frames
    cdef Py_buffer tx_pages
    cdef Py_buffer rx_pages
    cdef bint has_tx_pages, has_rx_pages
    cdef void *tx_listening     # that the guest's events are answered on the thread that runs it
    cdef void *rx_listening
    cdef int tx_event_fd, rx_event_fd
    cdef int wake_fd
    cdef Waiting waiting        # of the queue's own thread
    cdef volatile uint8_t is_beside     # which runs, and there is a processor for it
    cdef volatile uint8_t closing
    cdef void attach_rings(self, uint32_t tx_answered, uint32_t rx_answered) noexcept nogil
    cdef release_pages(self)
    cdef void serve_rings(self) noexcept nogil
    cdef void shut(self) noexcept nogil
    cdef void sleep(self, pollfd *waiting) noexcept nogil
    cdef bint answer_transmit(self) noexcept nogil
    cdef bint answer_receive(self) noexcept nogil
    cdef void ready(self) noexcept nogil        # the network takes frames again; from any thread
    cdef void wake(self) noexcept nogil
