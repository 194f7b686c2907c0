"""The control ring of a card: a frontend sets over it how frames are hashed, and which queue a hash is for (netif.h,
"Control requests").

A thread of its own serves it, for whatever a frontend asks there.  However much that is, the thread rests for a
millisecond between two looks, so that it costs next to nothing.
"""

import os

from cpython.buffer cimport PyBUF_CONTIG, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from posix.unistd cimport close, read

from xenia.abi.netif cimport (
    XEN_NETIF_CTRL_HASH_ALGORITHM_NONE, XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ, XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW,
    XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER, XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED, XEN_NETIF_CTRL_STATUS_SUCCESS,
    XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS, XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE,
    XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM, XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS, XEN_NETIF_CTRL_TYPE_SET_HASH_KEY,
    XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING, XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE, xen_netif_ctrl_request_t,
    xen_netif_ctrl_response_t,
)
from xenia.backends.vif.steering cimport ALL_HASH_TYPES, MOST_KEY_BYTES, MOST_MAPPED, Steering
from xenia.foreign.frames cimport Frames, Granted
from xenia.rings.request cimport RING_FAULT, back_answered, back_attach, back_push, back_put, back_rest, back_take

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    short POLLIN
    int poll(pollfd *fds, unsigned long count, int timeout)

cdef enum:
    REST = 1                        # ms


cdef class Control:
    """One card's.

    steering    what is set
    frames      the frontend's
    pages       the ring's page
    port        its end of the channel
    event_fd    readable after it notified
    nr_queues   of the card
    """

    def __cinit__(self):
        self.wake_fd = -1

    def __init__(self, Steering steering, Frames frames, pages: Buffer, port: int, event_fd: int,
                 nr_queues: int) -> None:
        self.steering = steering
        self.frames = frames
        self.port = port
        self.event_fd = event_fd
        self.nr_queues = nr_queues
        PyObject_GetBuffer(pages, &self.pages, PyBUF_CONTIG)
        self.has_pages = True
        self.go_on(back_answered(self.pages.buf), False)
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __dealloc__(self):
        if self.has_pages:
            PyBuffer_Release(&self.pages)
        if self.wake_fd >= 0:
            close(self.wake_fd)

    def go_on(self, answered: int, faulty: bool) -> None:
        """Serve the ring from that index on, whatever the guest says of it; or not at all.  Precondition: it is not
        being served."""
        back_attach(&self.ring, self.pages.buf, self.pages.len, sizeof(xen_netif_ctrl_request_t), answered)
        self.faulty = faulty

    @property
    def answered(self) -> int:
        """The ring's index up to which all is answered, once `serve` has returned."""
        return self.ring.rsp_prod

    @property
    def is_faulty(self) -> bool:
        """Whether the guest's index said what cannot be, and the ring is not served any more."""
        return self.faulty

    def serve(self) -> None:
        """Answer what is asked until `stop`, and what was asked before that.  For a thread of its own."""
        with nogil:
            self.serve_ring()

    def stop(self) -> None:
        """Have `serve` return."""
        self.closing = True
        os.eventfd_write(self.wake_fd, 1)

    def close(self) -> None:
        """Let go of the ring's page.  Precondition: `serve` has returned."""
        if self.has_pages:
            self.has_pages = False
            self.ring.sring = NULL
            PyBuffer_Release(&self.pages)

    cdef void serve_ring(self) noexcept nogil:
        cdef pollfd waiting[2]
        cdef uint64_t drained
        cdef bint closing, found
        waiting[0].fd = self.wake_fd
        waiting[1].fd = self.event_fd
        waiting[0].events = waiting[1].events = POLLIN
        while True:
            read(self.event_fd, &drained, 8)
            closing = self.closing
            found = self.answer_all()
            if closing:
                return
            if not found:
                poll(waiting, 1 if self.faulty else 2, -1)
            poll(waiting, 1, REST)

    cdef bint answer_all(self) noexcept nogil:
        # False: the guest notifies of what comes next.
        cdef xen_netif_ctrl_request_t request
        cdef xen_netif_ctrl_response_t response
        cdef int _, waiting = 0 if self.faulty else back_rest(&self.ring)
        if waiting == RING_FAULT:
            self.faulty = True
            return False
        for _ in range(waiting):
            back_take(&self.ring, &request, sizeof(request))
            self.answer(&request, &response)
            back_put(&self.ring, &response, sizeof(response))
        if waiting and back_push(&self.ring):
            self.frames.notify(self.port)
        return waiting > 0

    cdef void answer(self, const xen_netif_ctrl_request_t *request, xen_netif_ctrl_response_t *response) noexcept nogil:
        cdef uint32_t first = request.data[0], status = XEN_NETIF_CTRL_STATUS_SUCCESS
        cdef int i
        response.id, response.type, response.data = request.id, request.type, 0
        if request.type == XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM:
            if first > XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ:
                status = XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER
            else:
                self.steering.algorithm = first
        elif request.type == XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS:
            if self.steering.algorithm == XEN_NETIF_CTRL_HASH_ALGORITHM_NONE:
                status = XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED
            else:
                response.data = ALL_HASH_TYPES
        elif request.type == XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS:
            if self.steering.algorithm == XEN_NETIF_CTRL_HASH_ALGORITHM_NONE or first & ~<uint32_t>ALL_HASH_TYPES:
                status = XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER
            else:
                self.steering.types = first
        elif request.type == XEN_NETIF_CTRL_TYPE_SET_HASH_KEY:
            status = self.set_key(first, request.data[1])
        elif request.type == XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE:
            response.data = MOST_MAPPED
        elif request.type == XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE:
            if first > MOST_MAPPED:
                status = XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER
            else:
                for i in range(MOST_MAPPED):
                    self.steering.mapping[i] = 0
                self.steering.nr_mapped = first
        elif request.type == XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING:
            status = self.set_mapping(first, request.data[1], request.data[2])
        else:
            status = XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED
        response.status = status

    cdef uint32_t set_key(self, uint32_t ref, uint32_t size) noexcept nogil:
        cdef Granted granted
        cdef uint32_t i
        if size > MOST_KEY_BYTES:
            return XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW
        if size and self.frames.hold(ref, False, &granted):
            return XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER
        for i in range(MOST_KEY_BYTES):
            self.steering.key[i] = granted.memory[i] if i < size else 0
        if size:
            self.frames.release(&granted)
        return XEN_NETIF_CTRL_STATUS_SUCCESS

    cdef uint32_t set_mapping(self, uint32_t ref, uint32_t count, uint32_t first) noexcept nogil:
        cdef Granted granted
        cdef uint32_t mapping[MOST_MAPPED]
        cdef uint32_t i
        if count > self.steering.nr_mapped or first > self.steering.nr_mapped - count:
            return XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW
        if self.frames.hold(ref, False, &granted):
            return XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER
        memcpy(mapping, granted.memory, count * sizeof(uint32_t))
        self.frames.release(&granted)
        for i in range(count):
            if mapping[i] >= self.nr_queues:
                return XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER
        for i in range(count):
            self.steering.mapping[first + i] = mapping[i]
        return XEN_NETIF_CTRL_STATUS_SUCCESS
