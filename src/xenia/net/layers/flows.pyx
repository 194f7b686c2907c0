"""Which conversations were allowed, so that their answers are: a table of so many and no more.

It has sets of eight; where a set is full, one that was never answered gives way before others, and the one that was
silent longest before those.  Who does not know the secret finds no flows that share a set.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from xenia.net.layer cimport OUTWARD
from xenia.net.parse cimport (
    FRAGMENT, KIND_IPV4, LATER_FRAGMENT, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, TCP_ACK, TCP_FIN,
    TCP_RST, TCP_SYN, Headers, big16, ip_source, ip_target)

cdef enum:                          # seconds
    ESTABLISHED = 7200
    ANSWERED = 180
    UNANSWERED = 60
    BOTH = 3

cdef enum:
    KEY_BYTES = 38                  # up to `seen_from`


# ICMP's messages: 1 asks, 2 answers, 3 tells of an error, 0 others.
cdef int icmp_role(const Headers *headers) noexcept nogil:
    cdef uint8_t kind = headers.bytes[headers.transport]
    if headers.protocol == PROTOCOL_ICMPV6:
        return 1 if kind == 128 else 2 if kind == 129 else 3 if 1 <= kind <= 4 else 0
    return 1 if kind == 8 else 2 if kind == 0 else 3 if kind in (3, 11, 12) else 0


cdef inline bint is_icmp(const Headers *headers) noexcept nogil:
    return headers.protocol == (PROTOCOL_ICMP if headers.kind == KIND_IPV4 else PROTOCOL_ICMPV6)


cdef void set_ends(Flow *flow, const uint8_t *local, const uint8_t *remote, uint8_t version) noexcept nogil:
    cdef size_t size = 4 if version == 4 else 16
    memset(flow, 0, sizeof(Flow))
    memcpy(flow.local, local, size)
    memcpy(flow.remote, remote, size)
    flow.version = version


cdef bint flow_of(const Headers *headers, int direction, Flow *flow) noexcept nogil:
    cdef bint out = direction == OUTWARD
    if headers.flags & LATER_FRAGMENT or headers.transport == 0:
        return False
    set_ends(flow, ip_source(headers) if out else ip_target(headers), ip_target(headers) if out else ip_source(headers),
             4 if headers.kind == KIND_IPV4 else 6)
    flow.protocol = headers.protocol
    if is_icmp(headers):
        if icmp_role(headers) not in (1, 2):
            return False
        flow.local_port = flow.remote_port = big16(headers.bytes + headers.transport + 4)
    else:
        flow.local_port = headers.source_port if out else headers.target_port
        flow.remote_port = headers.target_port if out else headers.source_port
    return True


cdef bint flow_of_error(const Headers *headers, int direction, Flow *flow) noexcept nogil:
    cdef const uint8_t *packet = headers.bytes + headers.payload
    cdef uint32_t size, available = min(headers.end, headers.nr_bytes) - headers.payload
    cdef bint from_local = direction != OUTWARD         # what the guest sent is told to it
    cdef uint16_t source, target
    if headers.flags & FRAGMENT or not is_icmp(headers) or headers.payload == 0 or icmp_role(headers) != 3:
        return False
    if headers.kind == KIND_IPV4:
        size = 4 * (packet[0] & 15) if available >= 20 and packet[0] >> 4 == 4 else 0
        if size < 20 or available < size + 8 or big16(packet + 6) & 0x1fff:
            return False
        set_ends(flow, packet + (12 if from_local else 16), packet + (16 if from_local else 12), 4)
        flow.protocol = packet[9]
    else:
        size = 40
        if available < size + 8 or packet[0] >> 4 != 6:
            return False
        set_ends(flow, packet + (8 if from_local else 24), packet + (24 if from_local else 8), 6)
        flow.protocol = packet[6]
    packet += size
    if flow.protocol in (PROTOCOL_TCP, PROTOCOL_UDP):
        source, target = big16(packet), big16(packet + 2)
        flow.local_port, flow.remote_port = source if from_local else target, target if from_local else source
    elif flow.protocol == headers.protocol:
        flow.local_port = flow.remote_port = big16(packet + 4)
    return True


cdef bint begins(const Headers *headers) noexcept nogil:
    if headers.protocol == PROTOCOL_TCP:
        return headers.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN
    return is_icmp(headers) and headers.transport != 0 and icmp_role(headers) == 1


cdef inline uint64_t mix(uint64_t value) noexcept nogil:       # the finaliser of SplitMix64
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9ULL
    value = (value ^ value >> 27) * 0x94D049BB133111EBULL
    return value ^ value >> 31


cdef Flow *set_of(Flows *flows, const Flow *flow) noexcept nogil:
    cdef uint64_t word, hashed = flows.secret
    cdef int at
    for at in range(0, 40, 8):
        word = 0
        memcpy(&word, <const uint8_t *>flow + at, min(8, KEY_BYTES - at))
        hashed = mix(hashed ^ word)
    return flows.entries + (hashed % NR_SETS) * WAYS


cdef inline bint is_over(const Flow *flow, uint32_t now) noexcept nogil:
    cdef uint32_t silent = now - flow.seen_at
    if flow.protocol == 0 or silent >= ESTABLISHED:
        return True
    if flow.seen_from != BOTH or flow.ended_from:
        return silent >= UNANSWERED
    return flow.protocol != PROTOCOL_TCP and silent >= ANSWERED


cdef Flow *flows_find(Flows *flows, const Flow *flow, uint32_t now) noexcept nogil:
    cdef Flow *entry = set_of(flows, flow)
    cdef int index
    for index in range(WAYS):
        if memcmp(&entry[index], flow, KEY_BYTES) == 0 and not is_over(&entry[index], now):
            return &entry[index]
    return NULL


cdef void flows_remember(Flows *flows, const Flow *flow, uint32_t now) noexcept nogil:
    cdef Flow *entry = set_of(flows, flow)
    cdef Flow *worst = entry
    cdef int index
    cdef uint64_t value, least = <uint64_t>-1
    for index in range(WAYS):
        if is_over(&entry[index], now):
            value = 0
        else:
            value = (<uint64_t>(entry[index].seen_from == BOTH) << 32) + entry[index].seen_at + 1
        if memcmp(&entry[index], flow, KEY_BYTES) == 0:
            worst = &entry[index]
            break
        if value < least:
            worst, least = &entry[index], value
    worst[0] = flow[0]
    worst.seen_at = now


cdef void flow_saw(Flow *flow, const Headers *headers, int direction, uint32_t now) noexcept nogil:
    flow.seen_at = now
    flow.seen_from |= 1 << direction
    if headers.protocol == PROTOCOL_TCP:
        if headers.tcp_flags & (TCP_FIN | TCP_RST):
            flow.ended_from |= 1 << direction
        elif headers.tcp_flags & TCP_SYN:
            flow.ended_from = 0


cdef int flows_count(Flows *flows, uint32_t now) noexcept nogil:
    cdef int index, count = 0
    if flows.entries != NULL:
        for index in range(NR_SETS * WAYS):
            count += not is_over(&flows.entries[index], now)
    return count
