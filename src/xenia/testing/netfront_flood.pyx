"""Two guests that send to each other as fast as their cards go: frontends without Python, for measurements."""

from cpython.buffer cimport PyBUF_CONTIG, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from xenia.abi.netif cimport (
    NETTXF_csum_blank, NETTXF_extra_info, NETTXF_more_data, XEN_NETIF_EXTRA_TYPE_GSO,
    XEN_NETIF_GSO_TYPE_TCPV4, netif_extra_info_t, netif_rx_request_t, netif_rx_response_t, netif_tx_request_t,
    netif_tx_response_t,
)
from xenia.backends.vif.queue cimport Queue
from xenia.net.frame cimport Frame
from xenia.machine.loop cimport monotonic
from xenia.net.port cimport Port
from xenia.rings.request cimport FrontRing, front_create, front_free, front_push, front_put, front_take, front_waiting

from typing import NamedTuple

from xenia.testing.netfront import NetfrontQueue

cdef enum:
    PAGE = 4096
    RING = 256
    MOST_HEAD = 128


cdef class Crossed(Port):
    """One of two ports that are each other's networks."""

    cdef Port other

    def join(self, Crossed other not None) -> None:
        """Be the other end of that one.  Once, before anybody is at either."""
        self.other, other.other = other, self

    def part(self) -> None:
        """The two know each other no more."""
        (<Crossed>self.other).other = None
        self.other = None

    cdef int send(self, Frame *frames, int count) noexcept nogil:
        self.other.deliver(frames, count)
        return count


class Flooded(NamedTuple):
    """What went through."""

    frames: int
    bytes: int
    seconds: float
    sender: float  # seconds within the sender's backend


cdef class Flood:
    """One queue's frontend, on rings of its own making.

    queue       that serves it
    front       whose pages it uses
    """

    cdef Queue queue
    cdef FrontRing tx
    cdef FrontRing rx
    cdef Py_buffer tx_ring, rx_ring, pages
    cdef uint32_t tx_refs[RING]
    cdef uint32_t rx_refs[RING]
    cdef uint8_t head[MOST_HEAD]
    cdef uint32_t head_length
    cdef uint32_t posted, next_page
    cdef uint64_t frames, got
    cdef int64_t within

    def __init__(self, Queue queue not None, front: NetfrontQueue, head: bytes) -> None:
        cdef int index
        self.queue = queue
        PyObject_GetBuffer(front.tx_ring.memory, &self.tx_ring, PyBUF_CONTIG)
        PyObject_GetBuffer(front.rx_ring.memory, &self.rx_ring, PyBUF_CONTIG)
        PyObject_GetBuffer(front.tx_pages.memory, &self.pages, PyBUF_CONTIG)
        front_create(&self.tx, self.tx_ring.buf, PAGE, sizeof(netif_tx_request_t))
        front_create(&self.rx, self.rx_ring.buf, PAGE, sizeof(netif_rx_request_t))
        for index in range(RING):
            self.tx_refs[index] = front.tx_pages.refs[index]
            self.rx_refs[index] = front.rx_pages.refs[index]
        self.head_length = min(len(head), MOST_HEAD)
        memcpy(self.head, <const uint8_t *>head, self.head_length)

    def close(self) -> None:
        """Let go of the pages."""
        PyBuffer_Release(&self.tx_ring)
        PyBuffer_Release(&self.rx_ring)
        PyBuffer_Release(&self.pages)

    def run(self, Flood receiver, frames: int, length: int, segment: int = 0, batch: int = 32) -> Flooded:
        """Send so many frames of so many bytes, `batch` for each event, on this thread; `segment`: of so many bytes of
        payload each."""
        cdef uint64_t wanted = frames
        cdef uint32_t size = length, mss = segment
        cdef int most = batch
        cdef int64_t began
        self.frames = receiver.got = 0
        self.within = 0
        with nogil:
            receiver.post()
            began = monotonic()
            while self.frames < wanted:
                self.put(size, mss, most)
                receiver.take()
                receiver.post()
            began = monotonic() - began
        return Flooded(self.frames, receiver.got, began / 1e9, self.within / 1e9)

    cdef void put(self, uint32_t size, uint32_t mss, int most) noexcept nogil:
        cdef netif_tx_response_t response
        cdef int64_t began
        cdef int waiting
        while most and front_free(&self.tx) >= 20:
            self.put_one(size, mss)
            most -= 1
        began = monotonic()
        if front_push(&self.tx):
            self.queue.answer_transmit()
        self.within += monotonic() - began
        waiting = front_waiting(&self.tx)
        while waiting > 0:
            front_take(&self.tx, &response, sizeof(response))
            waiting -= 1

    cdef void put_one(self, uint32_t size, uint32_t mss) noexcept nogil:
        cdef netif_tx_request_t request
        cdef netif_extra_info_t extra
        cdef uint32_t left = size, now
        cdef bint first = True
        memcpy(<uint8_t *>self.pages.buf + self.next_page * PAGE, self.head, self.head_length)
        while left:
            now = min(left, PAGE)
            left -= now
            request.gref = self.tx_refs[self.next_page]
            request.offset = 0
            request.id = self.next_page
            request.size = size if first else now
            request.flags = NETTXF_more_data if left else 0
            if first and mss:
                request.flags |= NETTXF_extra_info | NETTXF_csum_blank
            front_put(&self.tx, &request, sizeof(request))
            if first and mss:
                memset(&extra, 0, sizeof(extra))
                extra.type = XEN_NETIF_EXTRA_TYPE_GSO
                extra.u.gso.type = XEN_NETIF_GSO_TYPE_TCPV4
                extra.u.gso.size = mss
                front_put(&self.tx, &extra, sizeof(extra))
            first = False
            self.next_page = (self.next_page + 1) % RING
        self.frames += 1

    cdef void post(self) noexcept nogil:
        cdef netif_rx_request_t request
        request.pad = 0
        while front_free(&self.rx):
            request.id = self.posted % RING
            request.gref = self.rx_refs[self.posted % RING]
            front_put(&self.rx, &request, sizeof(request))
            self.posted += 1
        if front_push(&self.rx):
            self.queue.answer_receive()

    cdef void take(self) noexcept nogil:
        cdef netif_rx_response_t response
        cdef int waiting = front_waiting(&self.rx)
        while waiting > 0:
            front_take(&self.rx, &response, sizeof(response))
            waiting -= 1
            if response.status > 0:
                self.got += response.status
