"""Where the headers of a frame are: Ethernet, 802.1Q and 802.1ad, ARP, IPv4, IPv6 and its extensions, TCP, UDP, ICMP.

Only the bytes that nobody changes are looked at (frame.pxd), and nothing is believed that contradicts the frame's
length: a header that is told of is there.  Sources: IEEE 802.1Q; RFC 826, 791, 8200, 4302 (AH), 9293, 768.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from xenia.net.frame cimport HEAD, LEAST_BYTES, Frame

cdef enum:
    MOST_EXTENSIONS = 8
    HOP_BY_HOP = 0
    ROUTING = 43
    FRAGMENTATION = 44
    AUTHENTICATION = 51
    NO_NEXT = 59
    DESTINATION = 60
    MOBILITY = 135
    HIP = 139
    SHIM6 = 140


cdef void parse_frame(const Frame *frame, Headers *headers) noexcept nogil:
    cdef uint32_t at = 12
    memset(headers, 0, sizeof(Headers))
    headers.end = frame.length
    headers.nr_bytes = min(frame.length, <uint32_t>HEAD) if frame.nr_parts else 0
    if headers.nr_bytes < LEAST_BYTES:
        headers.flags = BROKEN
        return
    headers.bytes = <const uint8_t *>frame.parts[0].iov_base
    headers.ethertype = big16(headers.bytes + at)
    while headers.nr_tags < 2 and (headers.ethertype == ETHERTYPE_VLAN or headers.ethertype == ETHERTYPE_QINQ):
        if not is_there(headers, at, 6):
            headers.ethertype = 0
            return
        headers.tags[headers.nr_tags] = big16(headers.bytes + at + 2)
        headers.nr_tags += 1
        at += 4
        headers.ethertype = big16(headers.bytes + at)
    headers.network = at + 2
    if headers.ethertype == ETHERTYPE_IPV4:
        headers.kind = KIND_IPV4
        parse_ipv4(headers)
    elif headers.ethertype == ETHERTYPE_IPV6:
        headers.kind = KIND_IPV6
        parse_ipv6(headers)
    elif headers.ethertype == ETHERTYPE_ARP:
        headers.kind = KIND_ARP
        parse_arp(headers)


# Whether so many bytes at `at` belong to the frame's datagram and may be looked at.
cdef bint is_there(Headers *headers, uint32_t at, uint32_t count) noexcept nogil:
    if at + count > headers.end:
        headers.flags |= BROKEN
        return False
    if at + count > headers.nr_bytes:
        headers.flags |= HIDDEN
        return False
    return True


cdef void parse_arp(Headers *headers) noexcept nogil:
    cdef const uint8_t *packet = headers.bytes + headers.network
    if is_there(headers, headers.network, 28) and (
        big16(packet) != 1 or big16(packet + 2) != ETHERTYPE_IPV4 or packet[4] != 6 or packet[5] != 4
    ):
        headers.flags |= BROKEN


cdef void parse_ipv4(Headers *headers) noexcept nogil:
    cdef const uint8_t *header = headers.bytes + headers.network
    cdef uint32_t size, total
    cdef uint16_t fragment
    if not is_there(headers, headers.network, 20):
        return
    size, total = (header[0] & 15) * 4, big16(header + 2)
    if header[0] >> 4 != 4 or size < 20 or total < size or headers.network + total > headers.end:
        headers.flags |= BROKEN
        return
    headers.end = headers.network + total
    headers.protocol = header[9]
    fragment = big16(header + 6)
    if fragment & 0x3FFF:
        headers.flags |= FRAGMENT
    if fragment & 0x1FFF:
        headers.flags |= LATER_FRAGMENT
    elif is_there(headers, headers.network, size):
        parse_transport(headers, headers.network + size)


cdef void parse_ipv6(Headers *headers) noexcept nogil:
    cdef const uint8_t *header = headers.bytes + headers.network
    cdef uint32_t at = headers.network + 40, size, _
    cdef uint8_t next_header
    if not is_there(headers, headers.network, 40):
        return
    if header[0] >> 4 != 6 or at + big16(header + 4) > headers.end:
        headers.flags |= BROKEN
        return
    headers.end = at + big16(header + 4)
    next_header = header[6]
    for _ in range(MOST_EXTENSIONS + 1):
        if not is_extension(next_header):
            headers.protocol = next_header
            if next_header != NO_NEXT:
                parse_transport(headers, at)
            return
        if not is_there(headers, at, 8):
            return
        header = headers.bytes + at
        if next_header == FRAGMENTATION:
            size = 8
            headers.flags |= FRAGMENT
            if big16(header + 2) & 0xFFF8:
                headers.flags |= LATER_FRAGMENT
                headers.protocol = header[0]
                return
        elif next_header == AUTHENTICATION:
            size = (header[1] + 2) * 4
        else:
            size = (header[1] + 1) * 8
        if not is_there(headers, at, size):
            return
        next_header = header[0]
        at += size
    headers.flags |= HIDDEN


cdef bint is_extension(uint8_t protocol) noexcept nogil:
    return (protocol == HOP_BY_HOP or protocol == ROUTING or protocol == FRAGMENTATION or protocol == AUTHENTICATION
            or protocol == DESTINATION or protocol == MOBILITY or protocol == HIP or protocol == SHIM6)


cdef void parse_transport(Headers *headers, uint32_t at) noexcept nogil:
    cdef const uint8_t *header = headers.bytes + at
    cdef uint32_t size = 8
    if headers.protocol == PROTOCOL_TCP:
        if not is_there(headers, at, 20):
            return
        size = (header[12] >> 4) * 4
        if size < 20:
            headers.flags |= BROKEN
            return
    elif headers.protocol not in (PROTOCOL_UDP, PROTOCOL_ICMP, PROTOCOL_ICMPV6):
        if is_there(headers, at, 1):
            headers.transport = at
        return
    if not is_there(headers, at, size):
        return
    headers.transport, headers.payload = at, at + size
    if headers.protocol == PROTOCOL_TCP or headers.protocol == PROTOCOL_UDP:
        headers.source_port, headers.target_port = big16(header), big16(header + 2)
    if headers.protocol == PROTOCOL_TCP:
        headers.tcp_flags = header[13]


cdef inline uint64_t mix(uint64_t value) noexcept nogil:       # the finaliser of SplitMix64
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9ULL
    value = (value ^ value >> 27) * 0x94D049BB133111EBULL
    return value ^ value >> 31


cdef uint64_t mix_bytes(const uint8_t *bytes, uint32_t count, uint64_t key) noexcept nogil:
    cdef uint64_t word
    cdef uint32_t size
    while count:
        word, size = 0, min(count, 8)
        memcpy(&word, bytes, size)
        key = mix(key ^ word)
        bytes += size
        count -= size
    return key


cdef uint32_t flow_hash(const Headers *headers, uint32_t seed) noexcept nogil:
    cdef uint64_t key = mix(<uint64_t>seed << 16 | headers.protocol), one, other
    cdef uint32_t size
    cdef bint ported
    if headers.nr_bytes < LEAST_BYTES:
        return 0
    if headers.kind != KIND_IPV4 and headers.kind != KIND_IPV6:
        one, other = mix_bytes(headers.bytes, 6, key), mix_bytes(headers.bytes + 6, 6, key)
        return <uint32_t>(mix(one + other) >> 32)
    size = 4 if headers.kind == KIND_IPV4 else 16
    if headers.network + (20 if size == 4 else 40) > headers.nr_bytes:
        return 0
    ported = not headers.flags & FRAGMENT
    one = mix_bytes(ip_source(headers), size, key) + (mix(key + headers.source_port) if ported else 0)
    other = mix_bytes(ip_target(headers), size, key) + (mix(key + headers.target_port) if ported else 0)
    return <uint32_t>(mix(mix(one) + mix(other)) >> 32)
