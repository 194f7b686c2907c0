"""The connections that guests have to the world: which there are, and how many one guest may have.

Each is a socket of the host.  libslirp tells when it opens and closes one; a guest's packet that is being looked at
meanwhile is what it was opened for.  So a guest that opens without end is stopped at its share, while all others go on;
and one that opens faster than is of use, or without waiting for answers, sends again, later.
"""

import socket

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from xenia.machine.loop cimport monotonic
from xenia.net.pace cimport pace_allows
from xenia.net.parse cimport (
    PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, TCP_ACK, TCP_SYN, KIND_IPV4, Headers,
    ip_source, ip_target,
)

cdef extern from "<sys/socket.h>" nogil:
    int shutdown(int fd, int how)
    enum:
        SHUT_RDWR

cdef enum:
    NS = 1000000000
    KEPT = 4                        # which part of the descriptors is for cards, forwards, and who connects to them

PROTOCOLS = {PROTOCOL_TCP: "tcp", PROTOCOL_UDP: "udp", PROTOCOL_ICMP: "icmp", PROTOCOL_ICMPV6: "icmp"}


cdef class Flows:
    """What sockets there are.

    room   descriptors of the process at the most; all guests together have three quarters
    most   sockets of one guest
    """

    def __init__(self, room: int, most: int) -> None:
        self.room, self.most = room, most
        self.flows = <Flow *>calloc(room, sizeof(Flow))
        if self.flows == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.flows)

    def listed(self) -> list[dict[str, object]]:
        """Each as its protocol, the guest's end, the other one, and its age in seconds."""
        cdef int fd
        cdef Flow *flow
        cdef int64_t now = monotonic()
        found = []
        for fd in range(self.room):
            flow = &self.flows[fd]
            if flow.protocol:
                family = socket.AF_INET if flow.size == 4 else socket.AF_INET6
                found.append({
                    "protocol": PROTOCOLS[flow.protocol],
                    "guest": endpoint(family, flow.guest[:flow.size], flow.guest_port),
                    "remote": endpoint(family, flow.remote[:flow.size], flow.remote_port),
                    "age": (now - flow.since) // NS,
                })
        return found

    cdef Admission admits(self, const Headers *headers, int64_t now) noexcept nogil:
        cdef Owner *owner
        if headers.protocol == PROTOCOL_TCP:
            if headers.tcp_flags & (TCP_SYN | TCP_ACK) != TCP_SYN:
                return ADMITTED
        elif headers.protocol == PROTOCOL_UDP:
            if self.buckets[self.bucket_of(headers)]:
                return ADMITTED
        elif headers.protocol != PROTOCOL_ICMP:
            return ADMITTED
        owner = &self.owners[self.owner_of(headers.bytes + 6)]
        if owner.count >= self.most or self.count >= <uint32_t>(self.room - self.room // KEPT):
            return FULL
        if headers.protocol == PROTOCOL_TCP and owner.half >= HALF_OPEN:
            return HURRIED
        return ADMITTED if pace_allows(&owner.begun, now, INTERVAL, BURST) else HURRIED

    cdef int owner_of(self, const uint8_t *mac) noexcept nogil:
        """Who has this address: a place of its own, or where all are taken that of others."""
        cdef uint64_t key = 1 << 48
        cdef int first, place, step, unused = -1
        memcpy(&key, mac, 6)
        first = (key * 0x9E3779B97F4A7C15ULL >> 40) % GUESTS
        for step in range(GUESTS):
            place = (first + step) % GUESTS
            if self.owners[place].mac == key:
                return place
            if unused < 0 and self.owners[place].count == 0:
                unused = place
            if self.owners[place].mac == 0:     # its own is no further on
                break
        if unused < 0:
            return first
        self.owners[unused].mac = key
        self.owners[unused].begun.next = 0
        return unused

    cdef uint32_t bucket_of(self, const Headers *headers) noexcept nogil:
        cdef int index, size = 4 if headers.kind == KIND_IPV4 else 16
        cdef uint64_t hash = headers.source_port
        for index in range(size):
            hash = (hash ^ ip_source(headers)[index]) * 0x100000001B3ULL
        return (hash ^ hash >> 32) % BUCKETS

    cdef void begin(self, int fd, const Headers *headers, int64_t now) noexcept nogil:
        cdef Flow *flow
        if not 0 <= fd < self.room:
            return
        flow = &self.flows[fd]
        self.end(fd)
        self.count += 1
        memset(flow, 0, sizeof(Flow))
        flow.there = True
        flow.owner = GUESTS
        if headers == NULL:
            return
        flow.protocol, flow.size, flow.since = headers.protocol, 4 if headers.kind == KIND_IPV4 else 16, now
        memcpy(flow.guest, ip_source(headers), flow.size)
        memcpy(flow.remote, ip_target(headers), flow.size)
        flow.guest_port, flow.remote_port = headers.source_port, headers.target_port
        flow.owner = self.owner_of(headers.bytes + 6)
        self.owners[flow.owner].count += 1
        flow.half = flow.protocol == PROTOCOL_TCP
        self.owners[flow.owner].half += flow.half
        flow.bucket = BUCKETS
        if flow.protocol == PROTOCOL_UDP:
            flow.bucket = self.bucket_of(headers)
            self.buckets[flow.bucket] += 1

    cdef void end(self, int fd) noexcept nogil:
        cdef Flow *flow
        if not 0 <= fd < self.room:
            return
        flow = &self.flows[fd]
        if not flow.there:          # one of those that libslirp does not tell of, such as a forward's of UDP
            return
        self.count -= 1
        flow.there = False
        if flow.protocol:
            self.connected(fd)
            self.owners[flow.owner].count -= 1
            if flow.bucket < BUCKETS:
                self.buckets[flow.bucket] -= 1
            flow.protocol = 0

    cdef void connected(self, int fd) noexcept nogil:
        if 0 <= fd < self.room and self.flows[fd].half:
            self.flows[fd].half = False
            self.owners[self.flows[fd].owner].half -= 1

    cdef void hang_up(self, uint64_t mac) noexcept nogil:
        cdef int fd, place = self.owner_of(<const uint8_t *>&mac)
        if self.owners[place].mac != (mac | 1ULL << 48) or self.owners[place].count == 0:
            return
        for fd in range(self.room):
            if self.flows[fd].protocol == PROTOCOL_TCP and self.flows[fd].owner == place:
                shutdown(fd, SHUT_RDWR)

    cdef bint is_half_open(self, int fd) noexcept nogil:
        return 0 <= fd < self.room and self.flows[fd].half

    cdef Flow *of(self, int fd) noexcept nogil:
        return &self.flows[fd] if 0 <= fd < self.room else NULL


def endpoint(int family, bytes address, int port) -> str:
    """An address and a port as they are written."""
    text = socket.inet_ntop(family, address)
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"
