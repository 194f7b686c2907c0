"""What a queue's guest sends: from its transmit ring to the network.

A batch goes all the way in one call: chains of requests are taken from the ring, each becomes a frame whose head is
copied and whose rest stays where it is in the guest's memory, the network is given them all at once, and then they are
answered, in the ring's order.  What the network does not take stays taken from the ring and unanswered, and so do all
that come after it, until the network says that it takes frames again: a guest that sends faster than its link waits for
it in its own ring.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from xenia.abi.netif cimport (
    NETIF_RSP_DROPPED, NETIF_RSP_ERROR, NETIF_RSP_NULL, NETIF_RSP_OKAY, NETTXF_csum_blank, NETTXF_data_validated,
    XEN_NETIF_EXTRA_TYPE_GSO, XEN_NETIF_EXTRA_TYPE_MCAST_ADD, XEN_NETIF_EXTRA_TYPE_MCAST_DEL, XEN_NETIF_GSO_TYPE_TCPV4,
    XEN_NETIF_GSO_TYPE_TCPV6, netif_extra_gso_t, netif_tx_request_t, netif_tx_response_t,
)
from xenia.backends.vif.request cimport NO_ID, take_chain
from xenia.machine.atomic cimport flag_store, flag_take
from xenia.machine.lock cimport RANK_TRANSMIT, lock_init
from xenia.net.checksum cimport fold, sum_pseudo
from xenia.net.frame cimport (
    BATCH, DATA_VALID, GSO_TCPV4, GSO_TCPV6, HEAD, LEAST_BYTES, NEEDS_CSUM, Frame, iovec,
)
from xenia.machine.loop cimport monotonic
from xenia.net.parse cimport FRAGMENT, KIND_IPV4, PROTOCOL_TCP, PROTOCOL_UDP, Headers, parse_frame
from xenia.net.segment cimport LEAST_MSS
from xenia.rings.request cimport RING_FAULT, back_push, back_put, back_rest, back_take

cdef enum:
    TCP_CHECKSUM = 16
    UDP_CHECKSUM = 6
    LARGE = 16384               # bytes of a frame that is a stream's, and not somebody's question


cdef class Transmit:
    """One transmit ring."""

    def __cinit__(self):
        lock_init(&self.lock, RANK_TRANSMIT)

    cdef bint serve(self, bint *notify) noexcept nogil:
        if self.fault != NULL:
            return False
        if self.sent < self.nr_frames:
            if not flag_take(&self.may_go_on):
                return False
        elif not self.take_batch():
            return False
        self.send()
        self.answer()
        if self.push():
            notify[0] = True
        return True

    cdef bint end(self) noexcept nogil:
        cdef uint32_t index
        self.counts.sent_dropped += self.nr_frames - self.sent
        for index in range(self.answered, self.nr_answers):
            if self.answers[index].has_frame:
                self.answers[index].status = NETIF_RSP_DROPPED
        self.sent = self.nr_frames
        self.answer()
        return self.push()

    # --- From the ring

    cdef bint take_batch(self) noexcept nogil:
        # Precondition: the batch before was answered.
        cdef netif_tx_request_t first
        cdef int waiting
        if self.not_before and monotonic() < self.not_before:
            return False
        self.not_before = 0
        self.nr_answers = self.nr_ids = self.nr_granted = self.nr_frames = self.nr_parts = 0
        self.answered = self.answered_ids = self.answered_granted = self.answered_frames = self.sent = 0
        waiting = back_rest(&self.ring)
        if waiting == RING_FAULT:
            self.fault = "the transmit ring has more requests than it can hold"
            return False
        while waiting > 0 and self.nr_frames < BATCH:
            back_take(&self.ring, &first, sizeof(first))
            self.not_before = self.rate.take(first.size)
            if self.not_before:
                self.ring.req_cons -= 1
                self.counts.limited += 1
                break
            take_chain(&self.ring, waiting, &first, &self.chain)
            waiting -= self.chain.nr_slots
            if self.chain.fault == NULL:
                self.take_one()
            if self.chain.fault != NULL:
                self.fault = self.chain.fault
                break
        if self.nr_answers:
            self.counts.batches += 1
        return self.nr_answers != 0

    cdef void take_one(self) noexcept nogil:
        cdef Answer *answer = &self.answers[self.nr_answers]
        cdef netif_extra_gso_t *gso = &self.chain.extras[XEN_NETIF_EXTRA_TYPE_GSO].u.gso
        if self.chain.has_extra[XEN_NETIF_EXTRA_TYPE_GSO]:
            if gso.size == 0:
                self.chain.fault = "a segment's size is 0"
            elif gso.type != XEN_NETIF_GSO_TYPE_TCPV4 and gso.type != XEN_NETIF_GSO_TYPE_TCPV6:
                self.chain.fault = "a segment is of no type that there is"
            if self.chain.fault != NULL:
                return
        memcpy(&self.ids[self.nr_ids], self.chain.ids, self.chain.nr_slots * sizeof(uint32_t))
        self.nr_ids += self.chain.nr_slots
        self.nr_answers += 1
        answer.nr_slots = self.chain.nr_slots
        answer.status = NETIF_RSP_OKAY
        answer.has_frame = False
        answer.nr_granted = 0
        if self.chain.refused:
            answer.status = NETIF_RSP_ERROR
        elif self.chain.has_extra[XEN_NETIF_EXTRA_TYPE_MCAST_ADD]:
            if not self.steering.join(self.chain.extras[XEN_NETIF_EXTRA_TYPE_MCAST_ADD].u.mcast.addr):
                answer.status = NETIF_RSP_ERROR
        elif self.chain.has_extra[XEN_NETIF_EXTRA_TYPE_MCAST_DEL]:
            self.steering.leave(self.chain.extras[XEN_NETIF_EXTRA_TYPE_MCAST_DEL].u.mcast.addr)
        elif not self.make_frame(answer):
            answer.status = NETIF_RSP_ERROR
        if answer.status == NETIF_RSP_ERROR:
            self.counts.sent_errors += 1

    # --- Frames

    cdef bint make_frame(self, Answer *answer) noexcept nogil:
        # False: there is none, and nothing is held for it.
        cdef Frame *frame = &self.batch[self.nr_frames]
        cdef uint32_t held = self.nr_granted
        cdef uint32_t index, copied = 0
        cdef uint32_t own = self.chain.first.size
        cdef bint made
        frame.length = self.chain.first.size
        if frame.length < LEAST_BYTES:
            return False
        frame.parts = &self.parts[self.nr_parts]
        frame.nr_parts = 1
        frame.parts[0].iov_base = self.heads[self.nr_frames]
        frame.parts[0].iov_len = min(frame.length, HEAD)
        for index in range(self.chain.nr_rest):
            own -= self.chain.rest[index].size
        made = self.add_part(frame, &copied, self.chain.first.gref, self.chain.first.offset, own)
        for index in range(self.chain.nr_rest):
            made = made and self.add_part(frame, &copied, self.chain.rest[index].gref, self.chain.rest[index].offset,
                                          self.chain.rest[index].size)
        if not made or not self.describe(frame):
            while self.nr_granted > held:
                self.nr_granted -= 1
                self.frames.release(&self.granted[self.nr_granted])
            return False
        answer.has_frame = True
        answer.nr_granted = self.nr_granted - held
        self.nr_parts += frame.nr_parts
        self.nr_frames += 1
        return True

    cdef bint add_part(self, Frame *frame, uint32_t *copied, uint32_t gref, uint32_t offset,
                       uint32_t size) noexcept nogil:
        # What belongs to the frame's head is copied; a page that is needed for nothing else is not kept.
        cdef iovec *part = &frame.parts[frame.nr_parts]
        cdef uint32_t now = min(size, <uint32_t>frame.parts[0].iov_len - copied[0])
        if size == 0:
            return True
        if self.frames.hold(gref, False, &self.granted[self.nr_granted]):
            return False
        part.iov_base = self.granted[self.nr_granted].memory + offset
        memcpy(<uint8_t *>frame.parts[0].iov_base + copied[0], part.iov_base, now)
        copied[0] += now
        if now == size:
            self.frames.release(&self.granted[self.nr_granted])
            return True
        part.iov_base = <uint8_t *>part.iov_base + now
        part.iov_len = size - now
        frame.nr_parts += 1
        self.nr_granted += 1
        return True

    cdef bint describe(self, Frame *frame) noexcept nogil:
        # What is still to be done to it.  netif.h says no offsets, so they are found in its headers.
        cdef netif_extra_gso_t *gso = NULL
        cdef Headers headers
        cdef uint16_t *place
        memset(&frame.header, 0, sizeof(frame.header))
        if self.chain.has_extra[XEN_NETIF_EXTRA_TYPE_GSO]:
            gso = &self.chain.extras[XEN_NETIF_EXTRA_TYPE_GSO].u.gso
        elif not self.chain.first.flags & NETTXF_csum_blank:
            frame.header.flags = DATA_VALID if self.chain.first.flags & NETTXF_data_validated else 0
            return True
        parse_frame(frame, &headers)
        if (headers.payload == 0 or headers.flags & FRAGMENT
                or headers.protocol != PROTOCOL_TCP and headers.protocol != PROTOCOL_UDP):
            return False
        frame.header.flags = NEEDS_CSUM
        frame.header.csum_start = headers.transport
        frame.header.csum_offset = TCP_CHECKSUM if headers.protocol == PROTOCOL_TCP else UDP_CHECKSUM
        if gso == NULL:
            return True
        if (headers.protocol != PROTOCOL_TCP or gso.size < LEAST_MSS
                or gso.type != (XEN_NETIF_GSO_TYPE_TCPV4 if headers.kind == KIND_IPV4 else XEN_NETIF_GSO_TYPE_TCPV6)):
            return False
        if not self.chain.first.flags & NETTXF_csum_blank:      # what it may leave out for a segment
            place = <uint16_t *>(<uint8_t *>frame.parts[0].iov_base + headers.transport + TCP_CHECKSUM)
            place[0] = fold(sum_pseudo(&headers, headers.end - headers.transport))
        if headers.end - headers.payload > gso.size:
            frame.header.gso_type = GSO_TCPV4 if headers.kind == KIND_IPV4 else GSO_TCPV6
            frame.header.gso_size = gso.size
            frame.header.hdr_len = headers.payload
        return True

    # --- To the network

    cdef void send(self) noexcept nogil:
        cdef uint32_t index, taken, count = self.nr_frames - self.sent
        cdef uint64_t before = self.counts.sent_bytes
        if count == 0:
            return
        # The network may say that it goes on before it has said that it does not.
        flag_store(&self.may_go_on, False)
        if self.steering.swallows(count):
            self.sent += count
            return
        taken = self.port.send(&self.batch[self.sent], count)
        for index in range(self.sent, self.sent + taken):
            self.count(&self.batch[index])
        if taken:
            self.bulk = self.counts.sent_bytes - before >= taken * LARGE
        self.sent += taken
        if taken < count:
            self.counts.held_up += 1

    cdef void count(self, const Frame *frame) noexcept nogil:
        self.counts.sent += 1
        self.counts.sent_bytes += frame.length
        self.counts.sent_gso += frame.header.gso_type != 0
        self.counts.sent_blank += frame.header.flags & NEEDS_CSUM != 0

    # --- Answers

    cdef void answer(self) noexcept nogil:
        # As far as frames were sent.
        cdef netif_tx_response_t response
        cdef Answer *answer
        cdef uint32_t index, number
        memset(&response, 0, sizeof(response))
        while self.answered < self.nr_answers:
            answer = &self.answers[self.answered]
            if answer.has_frame:
                if self.answered_frames == self.sent:
                    return
                self.answered_frames += 1
            for index in range(answer.nr_granted):
                self.frames.release(&self.granted[self.answered_granted + index])
            for index in range(answer.nr_slots):
                number = self.ids[self.answered_ids + index]
                response.id = <uint16_t>number
                response.status = NETIF_RSP_NULL if number == NO_ID else answer.status
                back_put(&self.ring, &response, sizeof(response))
            self.answered_ids += answer.nr_slots
            self.answered_granted += answer.nr_granted
            self.answered += 1

    cdef bint push(self) noexcept nogil:
        if self.ring.rsp_prod == self.ring.rsp_pushed or not back_push(&self.ring):
            return False
        self.counts.notifications += 1
        return True
