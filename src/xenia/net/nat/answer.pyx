"""Checksums, and what a guest is told of a packet that goes no further.

Nobody waits for something that will not be: TCP gets a reset, as of a port where nothing listens (RFC 9293, 3.10.7.1),
UDP "port unreachable", and everything else "administratively prohibited" (RFC 1812, 5.2.7.1; RFC 4443, 3.1).
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from xenia.net.checksum cimport fold, ipv4_checksum, sum_bytes, sum_pseudo
from xenia.net.parse cimport (
    KIND_IPV4, LATER_FRAGMENT, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, TCP_ACK,
    TCP_FIN, TCP_RST, TCP_SYN, Headers, big32, ip_source, ip_target, put16, put32,
)

cdef enum:
    ETHERNET = 14
    IPV4 = 20
    IPV6 = 40
    TCP = 20
    UNREACHABLE4 = 3                # types of ICMP and ICMPv6
    UNREACHABLE6 = 1
    ECHO4 = 8
    ECHO6 = 128
    PORT4 = 3                       # codes
    PROHIBITED4 = 13
    PORT6 = 4
    PROHIBITED6 = 1
    QUOTED4 = 548                   # bytes of the refused datagram in an error of 576 (RFC 1812, 4.3.2.3)
    QUOTED6 = 1184                  # in one of 1232 of 1280 (RFC 4443, 2.4 (c)), less what HEAD may not hold
    LIFETIME = 64


cdef void store(uint8_t *at, uint16_t sum) noexcept nogil:
    memcpy(at, &sum, 2)


cdef void fill_in(uint8_t *frame, const Headers *headers) noexcept nogil:
    cdef uint32_t length = headers.end - headers.transport
    cdef uint8_t *field = frame + headers.transport + (16 if headers.protocol == PROTOCOL_TCP else 6)
    cdef uint16_t checksum
    if headers.kind == KIND_IPV4:
        store(frame + headers.network + 10, ipv4_checksum(frame + headers.network))
    memset(field, 0, 2)
    checksum = ~fold(sum_bytes(frame + headers.transport, length, sum_pseudo(headers, length)))
    store(field, checksum if checksum or headers.protocol == PROTOCOL_TCP else 0xFFFF)


cdef void sum_for_hardware(uint8_t *frame, const Headers *headers) noexcept nogil:
    store(frame + headers.transport + 16, fold(sum_pseudo(headers, headers.end - headers.transport)))


cdef uint32_t refusal(const Headers *headers, const uint8_t *frame, uint8_t *answer) noexcept nogil:
    cdef bint four = headers.kind == KIND_IPV4
    cdef const uint8_t *transport = frame + headers.transport
    cdef uint8_t *header = answer + ETHERNET
    cdef uint32_t length
    if headers.flags & LATER_FRAGMENT or frame[0] & 1 or headers.transport == 0:
        return 0
    memcpy(answer, frame + 6, 6)
    memcpy(answer + 6, frame, 6)
    memcpy(answer + 12, frame + 12, 2)
    if headers.protocol == PROTOCOL_TCP:
        if headers.tcp_flags & TCP_RST:
            return 0
        length = reset(headers, transport, header + (IPV4 if four else IPV6))
    else:
        if headers.protocol == PROTOCOL_ICMP and transport[0] != ECHO4:
            return 0
        if headers.protocol == PROTOCOL_ICMPV6 and transport[0] != ECHO6:
            return 0
        length = unreachable(headers, frame, header + (IPV4 if four else IPV6))
    return ETHERNET + address(headers, header, length)


cdef uint32_t reset(const Headers *headers, const uint8_t *theirs, uint8_t *ours) noexcept nogil:
    cdef uint32_t data = headers.end - headers.payload
    memset(ours, 0, TCP)
    memcpy(ours, theirs + 2, 2)
    memcpy(ours + 2, theirs, 2)
    ours[12] = TCP // 4 << 4
    if headers.tcp_flags & TCP_ACK:
        memcpy(ours + 4, theirs + 8, 4)
        ours[13] = TCP_RST
    else:
        data += (1 if headers.tcp_flags & TCP_SYN else 0) + (1 if headers.tcp_flags & TCP_FIN else 0)
        put32(ours + 8, big32(theirs + 4) + data)
        ours[13] = TCP_RST | TCP_ACK
    return TCP


cdef uint32_t unreachable(const Headers *headers, const uint8_t *frame, uint8_t *ours) noexcept nogil:
    cdef bint four = headers.kind == KIND_IPV4, to_port = headers.protocol == PROTOCOL_UDP
    cdef uint32_t quoted = min(headers.end, headers.nr_bytes) - headers.network
    quoted = min(quoted, <uint32_t>(QUOTED4 if four else QUOTED6))
    memset(ours, 0, 8)
    if four:
        ours[0], ours[1] = UNREACHABLE4, PORT4 if to_port else PROHIBITED4
    else:
        ours[0], ours[1] = UNREACHABLE6, PORT6 if to_port else PROHIBITED6
    memcpy(ours + 8, frame + headers.network, quoted)
    return 8 + quoted


cdef uint32_t address(const Headers *headers, uint8_t *header, uint32_t length) noexcept nogil:
    """Put an IP header before what is in its place, back to whom `headers` came from; the length of both."""
    cdef bint four = headers.kind == KIND_IPV4
    cdef Headers ours = headers[0]
    cdef uint8_t *transport = header + (IPV4 if four else IPV6)
    cdef uint64_t pseudo = 0
    if headers.protocol != PROTOCOL_TCP:
        ours.protocol = PROTOCOL_ICMP if four else PROTOCOL_ICMPV6
    memset(header, 0, IPV4 if four else IPV6)
    if four:
        header[0], header[8], header[9] = 0x45, LIFETIME, ours.protocol
        put16(header + 2, IPV4 + length)
        memcpy(header + 12, ip_target(headers), 4)
        memcpy(header + 16, ip_source(headers), 4)
        store(header + 10, ipv4_checksum(header))
    else:
        header[0], header[6], header[7] = 0x60, ours.protocol, LIFETIME
        put16(header + 4, length)
        memcpy(header + 8, ip_target(headers), 16)
        memcpy(header + 24, ip_source(headers), 16)
    if ours.protocol != PROTOCOL_ICMP:
        pseudo = sum_pseudo(&ours, length)      # the same for both directions
    store(transport + (16 if ours.protocol == PROTOCOL_TCP else 2), ~fold(sum_bytes(transport, length, pseudo)))
    return (IPV4 if four else IPV6) + length
