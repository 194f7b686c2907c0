"""Segments made one GSO frame again: what Linux's GRO does, within one batch.

A guest under emulation pays for each frame, and for each byte that it must sum.  So consecutive TCP segments of a flow
become one frame of up to 64 KB, in which their payloads stay where they are; and whatever checksum was verified here is
not verified again.

The rules are those of Linux (net/ipv4/tcp_offload.c, tcp_gro_receive; af_inet.c, inet_gro_receive): everything of the
headers is alike but lengths, checksums, the identification (which counts up, or stays where fragmenting is forbidden;
or is always 0, as passt's is, which Linux would leave alone),
sequence numbers (which follow) and PSH and FIN.  A segment that is shorter, or has one of these, is the last of its
frame; one with SYN, RST, URG or CWR is nobody's, nor is one of less than
HEAD bytes.  Cutting such a frame makes the same segments again (segment.pyx), but
for identifications that stayed.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset
from xenia.net.checksum cimport SUM_RIGHT, checksum_verify, fold, ipv4_checksum, sum_pseudo
from xenia.net.frame cimport (
    BATCH, DATA_VALID, GSO_NONE, GSO_TCPV4, GSO_TCPV6, HEAD, MOST_PARTS, NEEDS_CSUM, Frame, iovec,
)
from xenia.net.head cimport copy_parts, slice_parts
from xenia.net.parse cimport (
    FRAGMENT, KIND_IPV4, KIND_IPV6, PROTOCOL_TCP, TCP_ACK, TCP_ECE, TCP_FIN, TCP_PSH, Headers, big16, big32,
    ip_source, parse_frame, put16,
)
from xenia.net.segment cimport LEAST_MSS

cdef enum:
    MOST_DATAGRAM = 65535           # bytes, header and all
    LAST = TCP_FIN | TCP_PSH        # flags of the last segment


cdef void coalesce(Coalesced *it, const Frame *frames, int count) noexcept nogil:
    cdef int index
    it.frames, it.count, it.nr_parts = it.made, 0, 0
    for index in range(count):
        add(it, frames, index)
    for index in range(it.count):
        if it.trains[index].count > 1:
            join(it, frames, &it.trains[index], &it.made[index], it.heads[index])


# Puts a frame at the end of the train that it follows, or makes it the first of another.
cdef void add(Coalesced *it, const Frame *frames, int index) noexcept nogil:
    cdef const Frame *frame = &frames[index]
    cdef Headers *headers = &it.headers[index]
    cdef Train *train
    cdef Frame *alone
    cdef bint fit
    parse_frame(frame, headers)
    fit = frame.header.gso_type == GSO_NONE and not frame.header.flags & NEEDS_CSUM and (
        frame.header.flags & DATA_VALID or checksum_verify(frame, headers) == SUM_RIGHT)
    train = train_of(it, headers) if headers.protocol == PROTOCOL_TCP else NULL
    if train != NULL:
        if fit and follows(it, train, headers, frame):
            append(it, train, headers, frame, index)
            return
        train.open = False
    alone = &it.made[it.count]
    alone[0] = frame[0]
    if fit:
        alone.header.flags |= DATA_VALID
    train = &it.trains[it.count]
    train.first = train.last = index
    train.count, train.nr_parts, train.fixed = 1, frame.nr_parts + 1, False
    train.mss = train.payload = headers.end - headers.payload
    train.open = fit and may_begin(headers)
    it.count += 1


# The open train of the frame's flow.
cdef Train *train_of(Coalesced *it, const Headers *headers) noexcept nogil:
    cdef const Headers *first
    cdef int index
    if not headers.transport:
        return NULL
    for index in range(it.count - 1, -1, -1):
        if it.trains[index].open:
            first = &it.headers[it.trains[index].first]
            if (first.source_port == headers.source_port and first.target_port == headers.target_port
                    and first.network == headers.network and first.kind == headers.kind
                    and not memcmp(first.bytes, headers.bytes, headers.network)
                    and not memcmp(ip_source(first), ip_source(headers), 8 if headers.kind == KIND_IPV4 else 32)):
                return &it.trains[index]
    return NULL


cdef bint may_begin(const Headers *headers) noexcept nogil:
    cdef uint32_t ip = 20 if headers.kind == KIND_IPV4 else 40
    return (headers.protocol == PROTOCOL_TCP and headers.transport == headers.network + ip
            and not headers.flags & FRAGMENT and headers.end - headers.payload >= LEAST_MSS and headers.end >= HEAD
            and headers.tcp_flags & ~TCP_ECE == TCP_ACK)


# Whether a segment with the right checksum follows the last of `train`.
cdef bint follows(Coalesced *it, Train *train, const Headers *headers, const Frame *frame) noexcept nogil:
    cdef const Headers *first = &it.headers[train.first]
    cdef const uint8_t *one = first.bytes + first.transport
    cdef const uint8_t *other = headers.bytes + headers.transport
    cdef uint32_t payload = headers.end - headers.payload
    if headers.payload != first.payload or headers.transport != first.transport or headers.flags & FRAGMENT:
        return False
    if payload == 0 or payload > train.mss or big32(other + 4) != big32(one + 4) + train.payload:
        return False
    if (headers.tcp_flags ^ first.tcp_flags) & ~LAST or memcmp(one + 8, other + 8, 5):
        return False
    if memcmp(one + 14, other + 14, 2):
        return False
    if memcmp(one + 18, other + 18, headers.payload - headers.transport - 18) or not ip_follows(train, first, headers):
        return False
    return (headers.payload - headers.network + train.payload + payload <= MOST_DATAGRAM
            and train.nr_parts + frame.nr_parts <= MOST_PARTS
            and it.nr_parts + train.nr_parts + frame.nr_parts <= 4 * BATCH)


cdef bint ip_follows(Train *train, const Headers *first, const Headers *headers) noexcept nogil:
    cdef const uint8_t *one = first.bytes + first.network
    cdef const uint8_t *other = headers.bytes + headers.network
    cdef uint16_t before = big16(one + 4), now = big16(other + 4)
    if headers.kind == KIND_IPV6:
        return not memcmp(one, other, 4) and one[7] == other[7]
    if one[1] != other[1] or one[6] != other[6] or one[8] != other[8]:
        return False
    if train.count == 1:
        train.fixed = before == now and (one[6] & 0x40 or now == 0)
    return now == before if train.fixed else now == <uint16_t>(before + train.count)


cdef void append(Coalesced *it, Train *train, const Headers *headers, const Frame *frame, int index) noexcept nogil:
    cdef uint32_t payload = headers.end - headers.payload
    it.nr_parts += frame.nr_parts if train.count > 1 else train.nr_parts + frame.nr_parts
    it.next[train.last] = index
    train.last = index
    train.count += 1
    train.nr_parts += frame.nr_parts
    train.payload += payload
    if payload < train.mss or headers.tcp_flags & LAST:
        train.open = False


# One frame of a train.
cdef void join(Coalesced *it, const Frame *frames, Train *train, Frame *made, uint8_t *head) noexcept nogil:
    cdef const Headers *headers = &it.headers[train.first]
    cdef uint32_t copied = min(headers.end, <uint32_t>HEAD), start = copied
    cdef iovec *parts
    cdef int index = train.first, _
    it.nr_parts -= train.nr_parts
    parts = it.parts + it.nr_parts
    copy_parts(&frames[index], 0, copied, head)
    parts[0].iov_base, parts[0].iov_len = head, copied
    made.parts, made.nr_parts = parts, 1
    for _ in range(train.count):
        headers = &it.headers[index]
        made.nr_parts += slice_parts(&frames[index], start, headers.end, parts + made.nr_parts,
                                     frames[index].nr_parts)
        if index != train.last:
            index = it.next[index]
            start = it.headers[index].payload
    headers = &it.headers[train.first]
    made.length = headers.payload + train.payload
    change(headers, &it.headers[train.last], made, head)
    made.header.gso_size = train.mss


# Its headers are the first one's, with the length of all and the last one's PSH and FIN.
cdef void change(const Headers *first, const Headers *last, Frame *made, uint8_t *head) noexcept nogil:
    cdef uint8_t *ip = head + first.network
    cdef uint8_t *tcp = head + first.transport
    cdef uint16_t checksum
    tcp[13] |= last.tcp_flags & LAST
    memset(&made.header, 0, sizeof(made.header))
    made.header.flags = NEEDS_CSUM
    made.header.hdr_len, made.header.csum_start, made.header.csum_offset = first.payload, first.transport, 16
    if first.kind == KIND_IPV6:
        made.header.gso_type = GSO_TCPV6
        put16(ip + 4, made.length - first.network - 40)
    else:
        made.header.gso_type = GSO_TCPV4
        put16(ip + 2, made.length - first.network)
        checksum = ipv4_checksum(ip)
        memcpy(ip + 10, &checksum, 2)
    checksum = fold(sum_pseudo(first, made.length - first.transport))
    memcpy(tcp + 16, &checksum, 2)
