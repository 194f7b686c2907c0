"""A network frontend that writes anything into its rings, and a network that sends any frame, by the million."""

from cpython.buffer cimport PyBUF_CONTIG, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from xenia.abi.netif cimport (
    NETIF_RSP_DROPPED, NETIF_RSP_NULL, NETTXF_csum_blank, NETTXF_data_validated, NETTXF_extra_info, NETTXF_more_data,
    netif_extra_info_t, netif_rx_request_t, netif_tx_request_t, netif_tx_response_t,
)
from xenia.abi.ring cimport sring_t
from xenia.backends.vif.queue cimport Queue
from xenia.net.frame cimport (
    DATA_VALID, GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, HEAD, LEAST_BYTES, MOST_BYTES, MOST_PARTS, NEEDS_CSUM,
    Frame, iovec,
)
from xenia.net.port cimport Port

from typing import NamedTuple

from xenia.errors import HypervisorBug
from xenia.testing.netfront import NetfrontQueue

cdef enum:
    RING = 256
    NR_REFS = 16
    MOST_COME = 8               # frames of the network's at once
    MOST_HEADERS = 8
    MOST_CHAIN = 24


cdef class Chance:
    """Numbers from a seed (xorshift64*)."""

    cdef uint64_t state

    cdef uint32_t below(self, uint32_t end) noexcept nogil:
        self.state ^= self.state >> 12
        self.state ^= self.state << 25
        self.state ^= self.state >> 27
        return <uint32_t>((self.state * <uint64_t>0x2545F4914F6CDD1D) >> 32) % end


cdef class Judge(Port):
    """A network that reads every byte, says what is wrong with a frame, and takes as many as it likes."""

    cdef Chance chance
    cdef uint64_t frames
    cdef uint64_t sum               # of the bytes: they are there
    cdef const char *wrong

    def __init__(self) -> None:
        self.chance = Chance()

    cdef int send(self, Frame *frames, int count) noexcept nogil:
        cdef int index
        if self.chance.below(8) == 0:
            count = self.chance.below(count + 1)
        for index in range(count):
            self.look(&frames[index])
        self.frames += count
        return count

    cdef void look(self, const Frame *frame) noexcept nogil:
        cdef uint32_t part, index, length = 0
        cdef const uint8_t *data
        if not LEAST_BYTES <= frame.length <= MOST_BYTES or not 1 <= frame.nr_parts <= MOST_PARTS:
            self.wrong = "a frame's length or its number of parts"
            return
        for part in range(frame.nr_parts):
            length += frame.parts[part].iov_len
        if length != frame.length or frame.parts[0].iov_len < min(frame.length, <uint32_t>HEAD):
            self.wrong = "a frame's parts"
            return
        if frame.header.flags & NEEDS_CSUM and <uint32_t>frame.header.csum_start + frame.header.csum_offset + 2 > min(
                frame.length, <uint32_t>HEAD):
            self.wrong = "where a checksum is"
        if frame.header.gso_type != GSO_NONE and (frame.header.gso_size == 0 or frame.header.hdr_len > HEAD
                                                  or not frame.header.flags & NEEDS_CSUM):
            self.wrong = "a segment's size"
        for part in range(frame.nr_parts):
            data = <const uint8_t *>frame.parts[part].iov_base
            for index in range(frame.parts[part].iov_len):
                self.sum += data[index]


class Fuzzed(NamedTuple):
    """What came of it."""

    requests: int  # entries of the transmit ring
    sent: int  # frames that the network was given
    came: int  # frames of the network's
    faults: int  # times that the queue was shut, and begun anew


cdef class Fuzz:
    """One queue, which nobody else serves.

    queue       at a Judge
    front       whose pages it uses
    headers     beginnings of frames that are worth a look
    """

    cdef Queue queue
    cdef Judge network
    cdef Chance chance
    cdef Py_buffer tx_ring, rx_ring, tx_pages
    cdef sring_t *tx
    cdef sring_t *rx
    cdef uint32_t refs[NR_REFS]
    cdef uint8_t headers[MOST_HEADERS][HEAD]
    cdef uint32_t nr_headers
    cdef uint32_t tx_prod, tx_cons, rx_prod, rx_cons, calm
    cdef uint64_t requests, came, faults
    cdef Frame frames[MOST_COME]
    cdef iovec parts[MOST_COME][3]
    cdef uint8_t heads[MOST_COME][HEAD]
    cdef uint8_t body[MOST_BYTES]
    cdef volatile bint scribbling, ended
    cdef const char *wrong

    def __init__(self, Queue queue not None, Judge network not None, front: NetfrontQueue, refs: list[int],
                 headers: list[bytes]) -> None:
        """`refs`: that requests name, NR_REFS of them."""
        cdef int index
        self.queue = queue
        self.network = network
        self.chance = network.chance
        PyObject_GetBuffer(front.tx_ring.memory, &self.tx_ring, PyBUF_CONTIG)
        PyObject_GetBuffer(front.rx_ring.memory, &self.rx_ring, PyBUF_CONTIG)
        PyObject_GetBuffer(front.tx_pages.memory, &self.tx_pages, PyBUF_CONTIG)
        self.tx, self.rx = <sring_t *>self.tx_ring.buf, <sring_t *>self.rx_ring.buf
        for index in range(NR_REFS):
            self.refs[index] = refs[index % len(refs)]
        self.nr_headers = min(len(headers), MOST_HEADERS)
        for index in range(<int>self.nr_headers):
            self.set_header(index, headers[index])

    cdef set_header(self, int index, bytes header):
        cdef const char *data = header
        memcpy(self.headers[index], data, min(len(header), HEAD))

    def close(self) -> None:
        """Let go of the pages."""
        PyBuffer_Release(&self.tx_ring)
        PyBuffer_Release(&self.rx_ring)
        PyBuffer_Release(&self.tx_pages)

    def scribble(self) -> None:
        """Change words of both rings, on a thread of its own, until `run` ends, which is called once then."""
        cdef Chance chance = Chance()
        cdef volatile uint32_t *word
        chance.state = 1
        self.scribbling = True
        with nogil:
            while not self.ended:
                word = <volatile uint32_t *>(self.tx if chance.below(2) else self.rx) + 16 + chance.below(900)
                word[0] ^= <uint32_t>1 << chance.below(32)

    def run(self, seed: int, rounds: int, calm: int = 30) -> Fuzzed:
        """So many rounds, each with some requests and some frames.  One of `calm` decisions is a wild one.

        HypervisorBug says what went wrong.
        """
        cdef uint64_t left = rounds
        self.chance.state = <uint64_t>seed * 2 + 1
        self.calm = max(1, calm)
        self.requests = self.came = self.faults = self.network.frames = 0
        with nogil:
            self.begin()
            while left and self.wrong == NULL and self.network.wrong == NULL:
                self.round()
                left -= 1
            self.queue.transmit.end()
            self.queue.receive.end()
            self.ended = True
        if self.wrong == NULL:
            self.wrong = self.network.wrong
        if self.wrong != NULL:
            raise HypervisorBug(f"with seed {seed}: {self.wrong.decode()}")
        return Fuzzed(self.requests, self.network.frames, self.came, self.faults)

    cdef void begin(self) noexcept nogil:
        # New rings, at any index.
        cdef uint32_t start = self.chance.below(0xFFFFFFFF)
        self.queue.transmit.end()
        self.queue.receive.end()
        self.tx_prod = self.tx_cons = start
        self.rx_prod = self.rx_cons = start - 100
        self.tx.req_prod = self.tx.rsp_prod = self.tx_prod
        self.rx.req_prod = self.rx.rsp_prod = self.rx_prod
        self.queue.transmit.fault = self.queue.receive.fault = NULL
        self.queue.attach_rings(self.tx_prod, self.rx_prod)

    cdef void round(self) noexcept nogil:
        cdef uint32_t _
        for _ in range(self.chance.below(20)):
            if RING - (self.tx_prod - self.tx_cons) >= MOST_CHAIN:
                self.put_chain()
        for _ in range(self.chance.below(RING - (self.rx_prod - self.rx_cons) + 1) % 60):
            self.put_buffer(self.rx_prod)
            self.rx_prod += 1
        self.tx_prod = self.show(self.tx, self.tx_cons, self.tx_prod)
        self.rx_prod = self.show(self.rx, self.rx_cons, self.rx_prod)
        self.queue.answer_transmit()
        if self.chance.below(4) == 0:
            self.queue.ready()
        self.come()
        self.queue.answer_receive()
        if self.queue.transmit.fault != NULL or self.queue.receive.fault != NULL:
            self.faults += 1
            self.begin()
        else:
            self.tx_cons = self.take(self.tx, self.tx_cons, self.tx_prod, sizeof(netif_tx_request_t))
            self.rx_cons = self.take(self.rx, self.rx_cons, self.rx_prod, sizeof(netif_rx_request_t))

    cdef uint32_t show(self, sring_t *sring, uint32_t cons, uint32_t prod) noexcept nogil:
        # Show the backend an index, and what may come of it.
        cdef uint32_t shown = prod
        if self.is_wild(50):
            shown = prod + self.chance.below(RING) if self.chance.below(2) else self.chance.below(0xFFFFFFFF)
        sring.req_prod = shown
        return shown if shown - cons <= RING and shown - prod <= RING else prod

    cdef bint is_wild(self, uint32_t rarely) noexcept nogil:
        return self.chance.below(self.calm * rarely) == 0

    cdef uint32_t ref(self) noexcept nogil:
        return self.refs[self.chance.below(NR_REFS)] if not self.is_wild(1) else 3000 + self.chance.below(3000)

    cdef netif_tx_request_t *next_request(self) noexcept nogil:
        cdef netif_tx_request_t *request = <netif_tx_request_t *>(
            <uint8_t *>self.tx + sizeof(sring_t) + (self.tx_prod % RING) * sizeof(netif_tx_request_t))
        memset(request, 0, sizeof(netif_tx_request_t))
        request.id = self.tx_prod % RING
        self.tx_prod += 1
        self.requests += 1
        return request

    cdef void put_chain(self) noexcept nogil:
        # A frame as it should be, but for what is wild.
        cdef netif_tx_request_t *first = self.next_request()
        cdef uint32_t nr_extras = self.chance.below(3) if self.chance.below(4) == 0 else 0
        cdef uint32_t nr_rest = self.chance.below(4) if self.chance.below(20) else self.chance.below(22)
        cdef uint32_t own = self.put_piece(first, nr_rest != 0)
        cdef uint32_t total = own, index
        cdef netif_tx_request_t *request
        if self.chance.below(2):
            first.flags |= NETTXF_csum_blank
        if self.chance.below(4) == 0:
            first.flags |= NETTXF_data_validated
        if nr_extras:
            first.flags |= NETTXF_extra_info
        for index in range(nr_extras):
            self.put_extra(<netif_extra_info_t *>self.next_request(), index + 1 < nr_extras)
        for index in range(nr_rest):
            request = self.next_request()
            total += self.put_piece(request, index + 1 < nr_rest)
            if self.is_wild(20):
                self.noise(<uint8_t *>request, sizeof(netif_tx_request_t))
        first.size = min(total, 0xFFFF) if not self.is_wild(20) else self.chance.below(0x10000)
        if self.is_wild(20):
            self.noise(<uint8_t *>first, sizeof(netif_tx_request_t))

    cdef uint32_t put_piece(self, netif_tx_request_t *request, bint more) noexcept nogil:
        # Its size.
        cdef uint32_t page = self.chance.below(NR_REFS // 2)
        request.offset = 0 if self.chance.below(2) else self.chance.below(300)
        request.size = self.chance.below(3700) if self.chance.below(4) else self.chance.below(100)
        request.gref = self.ref()
        if self.chance.below(2):
            request.gref = self.refs[page]
            memcpy(<uint8_t *>self.tx_pages.buf + page * 4096 + request.offset,
                   self.headers[self.chance.below(self.nr_headers)], HEAD)
        if more:
            request.flags |= NETTXF_more_data
        return request.size

    cdef void put_extra(self, netif_extra_info_t *extra, bint more) noexcept nogil:
        extra.type = 1 if self.chance.below(4) else 2 + self.chance.below(3)
        extra.flags = more
        extra.u.gso.size = 1 + self.chance.below(3000)
        extra.u.gso.type = 1 + self.chance.below(2)
        if self.is_wild(4):
            self.noise(<uint8_t *>extra, sizeof(netif_extra_info_t))

    cdef void put_buffer(self, uint32_t index) noexcept nogil:
        cdef netif_rx_request_t *request = <netif_rx_request_t *>(
            <uint8_t *>self.rx + sizeof(sring_t) + (index % RING) * sizeof(netif_rx_request_t))
        request.id = index % RING
        request.gref = self.ref()

    cdef void noise(self, uint8_t *bytes, uint32_t count) noexcept nogil:
        cdef uint32_t index
        for index in range(count):
            bytes[index] = self.chance.below(256)

    cdef void come(self) noexcept nogil:
        # Frames as the network may make them: all of it is true but what is in their bytes.
        cdef uint32_t count = self.chance.below(MOST_COME + 1)
        cdef uint32_t index, split
        cdef Frame *frame
        for index in range(count):
            frame = &self.frames[index]
            memset(&frame.header, 0, sizeof(frame.header))
            frame.length = LEAST_BYTES + self.chance.below(2000 if self.chance.below(4) else MOST_BYTES - LEAST_BYTES)
            memcpy(self.heads[index], self.headers[self.chance.below(self.nr_headers)], HEAD)
            if self.is_wild(1):
                self.noise(self.heads[index], HEAD)
            frame.parts = self.parts[index]
            frame.parts[0].iov_base, frame.parts[0].iov_len = self.heads[index], min(frame.length, <uint32_t>HEAD)
            split = self.chance.below(frame.length - frame.parts[0].iov_len + 1)
            frame.parts[1].iov_base, frame.parts[1].iov_len = self.body, split
            frame.parts[2].iov_base = self.body + split
            frame.parts[2].iov_len = frame.length - frame.parts[0].iov_len - split
            frame.nr_parts = 3 if split and frame.parts[2].iov_len else 2 if split else 1
            if frame.nr_parts == 1 and frame.parts[2].iov_len:
                frame.nr_parts, frame.parts[1] = 2, frame.parts[2]
            self.describe(frame)
        self.came += count
        if count:
            self.network.deliver(self.frames, count)

    cdef void describe(self, Frame *frame) noexcept nogil:
        cdef uint32_t kind = self.chance.below(4)
        if kind == 0 and frame.length > 100:
            frame.header.flags = NEEDS_CSUM
            frame.header.csum_start = self.chance.below(80)
            frame.header.csum_offset = 16 if self.chance.below(2) else 6
        elif kind == 1 and frame.length > 300:
            frame.header.flags = NEEDS_CSUM
            frame.header.gso_type = (GSO_TCPV4 if self.chance.below(2) else GSO_TCPV6) | (
                GSO_ECN if self.chance.below(4) == 0 else 0)
            frame.header.gso_size = 1 + self.chance.below(2000)
            frame.header.hdr_len = 54
            frame.header.csum_start = 34
            frame.header.csum_offset = 16
        elif kind == 2:
            frame.header.flags = DATA_VALID

    cdef uint32_t take(self, sring_t *sring, uint32_t cons, uint32_t prod, uint32_t entry_size) noexcept nogil:
        # The responses: no more than there were requests, and each one that there is.
        cdef uint32_t end = sring.rsp_prod
        cdef const uint8_t *entry
        cdef int status
        if self.scribbling:         # a frame may have been put into a ring
            return end if end - cons <= prod - cons else prod
        if end - cons > prod - cons:
            self.wrong = "more responses than requests"
        while cons != end and self.wrong == NULL:
            entry = <const uint8_t *>sring + sizeof(sring_t) + (cons % RING) * entry_size
            if sring == self.tx:
                status = (<const netif_tx_response_t *>entry).status
                if not NETIF_RSP_DROPPED <= status <= NETIF_RSP_NULL:
                    self.wrong = "a status that there is not"
            cons += 1
        return end
