"""What a queue's guest is given: from the network into the pages that it posted.

Whoever has a frame for the guest copies it, on its own thread, straight into the guest's pages.  Where there are too
few of them, a bounded number of bytes is kept until the guest posts more (kept.pyx); the rest is dropped, and whoever
sends loses no time to a guest that does not take.

A guest whose card has an XDP program wants room before each frame, and drops all that have more pages than one: it is
given none of these.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.unistd cimport write

from xenia.abi.netif cimport (
    NETIF_RSP_ERROR, NETRXF_csum_blank, NETRXF_data_validated, NETRXF_extra_info, NETRXF_more_data,
    XEN_NETIF_CTRL_HASH_ALGORITHM_NONE, XEN_NETIF_EXTRA_FLAG_MORE, XEN_NETIF_EXTRA_TYPE_GSO, XEN_NETIF_EXTRA_TYPE_HASH,
    XEN_NETIF_EXTRA_TYPE_XDP, XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6, netif_extra_info_t,
    netif_rx_request_t, netif_rx_response_t,
)
from xenia.backends.vif.depth cimport depth_heard, depth_shared, depth_wanted
from xenia.backends.vif.kept cimport Kept, line_drop, line_first, line_keep, line_thin, sender_of
from xenia.foreign.frames cimport Granted
from xenia.machine.clock cimport monotonic
from xenia.machine.lock cimport RANK_RECEIVE, lock, lock_init, unlock
from xenia.machine.paging cimport PAGE_SIZE
from xenia.net.frame cimport DATA_VALID, GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, Frame
from xenia.net.parse cimport KIND_IPV4, Headers, parse_frame
from xenia.net.segment cimport segment_begin, segment_next
from xenia.rings.request cimport RING_FAULT, back_push, back_put, back_take, back_waiting, back_want

cdef enum:
    MOST_EXTRAS = 3
    MOST_HEADROOM = PAGE_SIZE // 2


cdef class Receive:
    """One receive ring."""

    def __cinit__(self):
        self.wake_fd = -1
        lock_init(&self.lock, RANK_RECEIVE)

    def __dealloc__(self):
        self.end()

    cdef void deliver(self, const Frame *frames, const Hash *hashes, int count, int filtered) noexcept nogil:
        cdef bint notify = False
        cdef int index
        lock(&self.lock)
        self.counts.filtered += filtered
        if self.fault == NULL:
            self.now = monotonic()
            for index in range(count):
                depth_heard(&self.depth, sender_of(&frames[index]), self.now)
            if self.line.nonempty:
                notify = self.drain_now()
            for index in range(count):
                self.take(&frames[index], &hashes[index])
            notify |= self.push()
        else:
            self.counts.received_dropped += count
        unlock(&self.lock)
        if notify:
            self.frames.notify(self.event_port)

    cdef bint drain(self) noexcept nogil:
        if not self.line.nonempty:
            return False
        self.now = monotonic()
        return self.drain_now()

    cdef bint drain_now(self) noexcept nogil:
        cdef bint shared = depth_shared(&self.depth)
        cdef Kept *kept = line_first(&self.line)
        while kept != NULL:
            if shared:
                self.counts.received_dropped += line_thin(&self.line)
                kept = line_first(&self.line)
            if not self.put(&kept.frame, &kept.hash):
                break
            line_drop(&self.line)
            self.counts.received_late += 1
            kept = line_first(&self.line)
        return self.push()

    cdef void end(self) noexcept nogil:
        while line_first(&self.line) != NULL:
            line_drop(&self.line)
            self.counts.received_dropped += 1

    # --- What the guest can take

    cdef void take(self, const Frame *frame, const Hash *hash) noexcept nogil:
        cdef uint8_t gso = frame.header.gso_type & ~GSO_ECN
        cdef bint one_page = not self.abilities.sg or self.abilities.headroom != 0
        if ((gso == GSO_NONE or self.abilities.headroom == 0
                and (gso == GSO_TCPV4 and self.abilities.gso_tcpv4 or gso == GSO_TCPV6 and self.abilities.gso_tcpv6))
                and (not one_page or frame.length <= PAGE_SIZE - self.abilities.headroom)
                and (not frame.header.flags & NEEDS_CSUM or self.can_sum(frame))):
            self.put_or_keep(frame, hash)
        else:
            self.cut(frame, hash, PAGE_SIZE - self.abilities.headroom if one_page else 0)

    cdef void leave_headroom(self, uint32_t bytes) noexcept nogil:
        lock(&self.lock)
        self.abilities.headroom = min(bytes, <uint32_t>MOST_HEADROOM)
        unlock(&self.lock)

    cdef bint can_sum(self, const Frame *frame) noexcept nogil:
        # Whether the guest takes the frame without its checksum.
        cdef Headers headers
        if self.abilities.checksum_ipv4 and self.abilities.checksum_ipv6:
            return True
        parse_frame(frame, &headers)
        return self.abilities.checksum_ipv4 if headers.kind == KIND_IPV4 else self.abilities.checksum_ipv6

    cdef void cut(self, const Frame *frame, const Hash *hash, uint32_t most_bytes) noexcept nogil:
        cdef bint is_segment = frame.header.gso_type != GSO_NONE
        cdef int index
        if not segment_begin(&self.segments, frame, most_bytes, 0):
            self.counts.received_dropped += 1
            return
        while segment_next(&self.segments):
            if is_segment:
                self.counts.received_cut += self.segments.count
            else:
                self.counts.received_summed += 1
            for index in range(self.segments.count):
                if frame.header.flags & NEEDS_CSUM:     # it was filled in
                    self.segments.frames[index].header.flags |= DATA_VALID
                self.put_or_keep(&self.segments.frames[index], hash)

    cdef void put_or_keep(self, const Frame *frame, const Hash *hash) noexcept nogil:
        if not self.line.nonempty and self.put(frame, hash):
            return
        if self.fault != NULL or not line_keep(&self.line, frame, hash):
            self.counts.received_dropped += 1

    # --- Into the guest's pages

    cdef bint put(self, const Frame *frame, const Hash *hash) noexcept nogil:
        # False: the guest has too few pages for it, and notifies when it has enough.
        cdef netif_extra_info_t extras[MOST_EXTRAS]
        cdef uint32_t nr_extras = extra_infos(frame, hash, self.abilities.headroom, extras)
        cdef uint32_t room = PAGE_SIZE - self.abilities.headroom
        cdef int needed = nr_extras + (frame.length + room - 1) // room
        cdef int waiting = back_waiting(&self.ring)
        cdef int wanted = depth_wanted(&self.depth, waiting, needed, self.now)
        if waiting != RING_FAULT and waiting < wanted:
            waiting = back_want(&self.ring, wanted)
        if waiting == RING_FAULT:
            self.fail("the receive ring has more requests than it can hold")
        if waiting < wanted:
            if waiting >= needed:
                self.hold_back()
            return False
        self.fill(frame, extras, nr_extras)
        self.depth.put_at = self.now
        return True

    cdef void hold_back(self) noexcept nogil:
        # Until the guest has taken more; the queue's thread looks whether it does.
        cdef uint64_t one = 1
        self.holds_back = True
        if not self.looks:
            self.looks = True
            write(self.wake_fd, &one, 8)

    cdef bint look(self) noexcept nogil:
        cdef bint notify
        self.looks, self.holds_back = True, False
        notify = self.drain()
        self.looks = self.holds_back
        return notify

    cdef void fill(self, const Frame *frame, const netif_extra_info_t *extras, uint32_t nr_extras) noexcept nogil:
        cdef netif_rx_response_t response
        cdef netif_rx_request_t request
        cdef Cursor cursor
        cdef uint32_t left = frame.length
        cdef uint32_t index, count
        cdef bint failed = False
        cursor.part = frame.parts
        cursor.at = 0
        response.offset = self.abilities.headroom
        response.flags = NETRXF_data_validated if frame.header.flags & (NEEDS_CSUM | DATA_VALID) else 0
        if frame.header.flags & NEEDS_CSUM:
            response.flags |= NETRXF_csum_blank
        if nr_extras:
            response.flags |= NETRXF_extra_info
        while left:
            count = min(left, PAGE_SIZE - self.abilities.headroom)
            left -= count
            back_take(&self.ring, &request, sizeof(request))
            response.id = request.id
            response.status = count
            if left:
                response.flags |= NETRXF_more_data
            if not self.fill_page(request.gref, &cursor, count):
                response.status = NETIF_RSP_ERROR
                failed = True
            back_put(&self.ring, &response, sizeof(response))
            response.flags = 0
            for index in range(nr_extras):      # each takes the place of a request
                back_take(&self.ring, &request, sizeof(request))
                back_put(&self.ring, &extras[index], sizeof(extras[index]))
            nr_extras = 0
        self.count(frame, failed)

    cdef bint fill_page(self, uint32_t gref, Cursor *cursor, uint32_t count) noexcept nogil:
        # The cursor moves on even where the guest did not grant its page.
        cdef Granted granted
        cdef bint held = self.frames.hold(gref, True, &granted) == 0
        cdef uint32_t now, at = 0
        while at < count:
            now = min(count - at, <uint32_t>cursor.part.iov_len - cursor.at)
            if held:
                memcpy(granted.memory + self.abilities.headroom + at, <uint8_t *>cursor.part.iov_base + cursor.at, now)
            at += now
            cursor.at += now
            if cursor.at == cursor.part.iov_len:
                cursor.part += 1
                cursor.at = 0
        if held:
            self.frames.release(&granted)
        return held

    cdef void count(self, const Frame *frame, bint failed) noexcept nogil:
        if failed:
            self.counts.received_errors += 1
            return
        self.counts.received += 1
        self.counts.received_bytes += frame.length
        self.counts.received_gso += frame.header.gso_type != GSO_NONE
        self.counts.received_blank += frame.header.flags & NEEDS_CSUM != 0

    cdef bint push(self) noexcept nogil:
        if self.ring.rsp_prod == self.ring.rsp_pushed or not back_push(&self.ring):
            return False
        self.counts.notifications += 1
        return True

    cdef void fail(self, const char *reason) noexcept nogil:
        cdef uint64_t one = 1
        self.fault = reason
        write(self.wake_fd, &one, 8)


cdef uint32_t extra_infos(const Frame *frame, const Hash *hash, uint32_t headroom,
                          netif_extra_info_t *extras) noexcept nogil:
    # How many there are.
    cdef uint32_t count = 0, index
    memset(extras, 0, MOST_EXTRAS * sizeof(netif_extra_info_t))
    if frame.header.gso_type:
        extras.type = XEN_NETIF_EXTRA_TYPE_GSO
        extras.u.gso.size = frame.header.gso_size
        extras.u.gso.type = (XEN_NETIF_GSO_TYPE_TCPV4 if frame.header.gso_type & ~GSO_ECN == GSO_TCPV4
                             else XEN_NETIF_GSO_TYPE_TCPV6)
        count = 1
    if hash.algorithm != XEN_NETIF_CTRL_HASH_ALGORITHM_NONE:
        extras[count].type = XEN_NETIF_EXTRA_TYPE_HASH
        extras[count].u.hash.type = hash.type
        extras[count].u.hash.algorithm = hash.algorithm
        memcpy(extras[count].u.hash.value, &hash.value, 4)
        count += 1
    if headroom:
        extras[count].type = XEN_NETIF_EXTRA_TYPE_XDP
        extras[count].u.xdp.headroom = headroom
        count += 1
    for index in range(1, count):
        extras[index - 1].flags = XEN_NETIF_EXTRA_FLAG_MORE
    return count
