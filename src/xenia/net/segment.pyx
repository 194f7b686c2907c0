"""Frames cut to what a link or a guest takes: TCP segments out of a GSO frame, checksums filled in.

Each segment has the frame's headers, its own lengths, IPv4 identification (one more each), sequence number and
checksums; FIN and PSH are the last one's, CWR is the first one's (RFC 3168, 6.1.2; Linux's tcp_gso_segment).  A taker
of GSO gets frames of several segments, each as a GSO frame of its own.

What the frame's virtio_net_hdr says is held against its headers: lengths and offsets are those of the headers, and the
size of a segment has a lower bound.  The payload may change while it is summed; then the checksum is wrong, which is
its guest's affair.  So a frame costs 1,400 frames at the most, made BATCH at a time in memory that the caller has.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from xenia.net.checksum cimport fold, ipv4_checksum, sum_parts, sum_pseudo
from xenia.net.frame cimport (
    BATCH, DATA_VALID, GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, HEAD, MOST_PARTS, NEEDS_CSUM, Frame, iovec,
)
from xenia.net.head cimport copy_parts, own_checksum, own_frame, slice_parts
from xenia.net.parse cimport (
    BROKEN, FRAGMENT, HIDDEN, KIND_IPV4, KIND_IPV6, PROTOCOL_TCP, TCP_CWR, TCP_FIN, TCP_PSH, Headers, big16, big32,
    parse_frame, put16, put32,
)


cdef bint segment_begin(Segments *it, const Frame *frame, uint32_t most_bytes, uint32_t takes) noexcept nogil:
    cdef uint32_t most
    if takes & TAKES_GSO:
        takes |= TAKES_NEEDS_CSUM
    it.source, it.takes, it.number, it.at, it.mss, it.count = frame, takes, 0, 0, 0, 0
    if most_bytes == 0:
        most_bytes = <uint32_t>-1
    if frame.header.gso_type == GSO_NONE or (takes & TAKES_GSO and frame.length <= most_bytes):
        return frame.length <= most_bytes and begin_whole(it)
    parse_frame(frame, &it.headers)
    if not can_segment(frame, &it.headers) or most_bytes <= it.headers.payload:
        return False
    most = most_bytes - it.headers.payload
    it.mss = min(most, frame.header.gso_size)
    if it.mss < LEAST_MSS:
        return False
    it.payload = most - most % it.mss if takes & TAKES_GSO else it.mss
    it.at = it.headers.payload
    return True


# Of a frame that is not cut: itself, or with its checksum.
cdef bint begin_whole(Segments *it) noexcept nogil:
    if it.takes & TAKES_NEEDS_CSUM or not it.source.header.flags & NEEDS_CSUM:
        it.frames = <Frame *>it.source
    else:
        if not own_frame(&it.own, it.source) or not own_checksum(&it.own):
            return False
        it.frames = &it.own.frame
    return True


cdef bint can_segment(const Frame *frame, const Headers *headers) noexcept nogil:
    cdef uint8_t kind = frame.header.gso_type & ~GSO_ECN
    if headers.flags & (BROKEN | HIDDEN | FRAGMENT) or headers.protocol != PROTOCOL_TCP or not headers.payload:
        return False
    if frame.header.gso_size < LEAST_MSS:
        return False
    if headers.kind == KIND_IPV4:
        return kind == GSO_TCPV4
    return headers.kind == KIND_IPV6 and kind == GSO_TCPV6


cdef int segment_next(Segments *it) noexcept nogil:
    cdef iovec *parts = it.parts
    it.count = 0
    if it.mss == 0:
        if it.number == 0:
            it.count = it.number = 1
        return it.count
    it.frames = it.made
    while it.count < BATCH and (it.at < it.headers.end or it.number == 0):
        parts = make(it, &it.made[it.count], it.heads[it.count], parts)
        if parts == NULL:
            it.at, it.number = it.headers.end, 1
            break
        it.count += 1
    return it.count


# The next frame.  Behind its parts, which begin at `parts`; NULL: it would be of too many.
cdef iovec *make(Segments *it, Frame *frame, uint8_t *head, iovec *parts) noexcept nogil:
    cdef Headers *headers = &it.headers
    cdef uint32_t start = it.at, end = min(it.at + it.payload, headers.end)
    cdef uint32_t copied = min(end - start, <uint32_t>HEAD - headers.payload)
    cdef int room = <int>(it.parts + 2 * BATCH + MOST_PARTS - parts) - 1, count
    count = slice_parts(it.source, start + copied, end, parts + 1, min(room, MOST_PARTS - 1))
    if count < 0:
        return NULL
    memcpy(head, headers.bytes, headers.payload)
    copy_parts(it.source, start, start + copied, head + headers.payload)
    memset(frame, 0, sizeof(Frame))
    frame.length = headers.payload + end - start
    frame.nr_parts, frame.parts = count + 1, parts
    parts[0].iov_base, parts[0].iov_len = head, headers.payload + copied
    change_ip(it, head, frame.length)
    change_tcp(it, frame, head, end)
    it.number += 1 if end - start <= it.mss else (end - start + it.mss - 1) // it.mss
    it.at = end
    return parts + count + 1


cdef void change_ip(Segments *it, uint8_t *head, uint32_t length) noexcept nogil:
    cdef uint8_t *ip = head + it.headers.network
    cdef uint16_t checksum
    if it.headers.kind == KIND_IPV6:
        put16(ip + 4, length - it.headers.network - 40)
        return
    put16(ip + 2, length - it.headers.network)
    put16(ip + 4, big16(ip + 4) + it.number)
    checksum = ipv4_checksum(ip)
    memcpy(ip + 10, &checksum, 2)


cdef void change_tcp(Segments *it, Frame *frame, uint8_t *head, uint32_t end) noexcept nogil:
    cdef Headers *headers = &it.headers
    cdef uint8_t *tcp = head + headers.transport
    cdef bint several = end - it.at > it.mss
    cdef uint64_t pseudo = sum_pseudo(headers, frame.length - headers.transport)
    cdef uint16_t checksum = fold(pseudo)
    put32(tcp + 4, big32(tcp + 4) + it.at - headers.payload)
    if end < headers.end:
        tcp[13] &= ~(TCP_FIN | TCP_PSH)
    if it.number:
        tcp[13] &= ~TCP_CWR
    if several or it.takes & TAKES_NEEDS_CSUM:
        frame.header.flags = NEEDS_CSUM
        frame.header.csum_start, frame.header.csum_offset = headers.transport, 16
        if several:
            frame.header.gso_type = GSO_TCPV4 if headers.kind == KIND_IPV4 else GSO_TCPV6
            frame.header.gso_type |= GSO_ECN if tcp[13] & TCP_CWR else 0
            frame.header.gso_size, frame.header.hdr_len = it.mss, headers.payload
        memcpy(tcp + 16, &checksum, 2)
    else:
        tcp[16], tcp[17] = 0, 0
        checksum = ~fold(sum_parts(frame, headers.transport, frame.length, pseudo))
        memcpy(tcp + 16, &checksum, 2)
        frame.header.flags = DATA_VALID
