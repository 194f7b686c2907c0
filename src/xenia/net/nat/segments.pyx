"""How much data each connection's guest takes in one segment.

libslirp makes a segment of as much as the guest's SYN allows (RFC 9293, 3.7.1), and each costs it a turn of its loops
and the guest an interrupt.  So it is told that the guest takes tens of kilobytes, and what it makes is marked as
segments that are still to be cut to what the guest said, as a real card's are: a guest that can takes them uncut, and
for one that cannot, the network cuts them.

What a guest said is kept for as many connections as there may be, the latest of those that fall on one place.  Of one
that was forgotten the least is assumed that every host takes.
"""

import os

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from xenia.net.frame cimport DATA_VALID, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, Frame
from xenia.net.nat.answer cimport sum_for_hardware
from xenia.net.parse cimport KIND_IPV4, Headers, big16, flow_hash, put16

cdef enum:
    END_OF_OPTIONS = 0
    NO_OPERATION = 1
    MAXIMUM_SEGMENT_SIZE = 2
    UNSAID = 536                    # what a SYN without the option says, and the least (RFC 9293, 3.7.1)
    UNSAID6 = 1220
    LEAST = 88                      # below it Linux takes no segments that are to be cut


cdef class SegmentSizes:
    """What guests said."""

    def __init__(self) -> None:
        self.seed = int.from_bytes(os.urandom(4), "little")

    cdef uint64_t flow_of(self, const Headers *headers) noexcept nogil:
        return <uint64_t>flow_hash(headers, self.seed) << 32 | flow_hash(headers, ~self.seed) | 1

    cdef Known *find(self, uint64_t flow) noexcept nogil:
        cdef Known *ways = self.known[flow >> 8 & (SETS - 1)]
        cdef int way
        self.clock += 1
        for way in range(WAYS):
            if ways[way].flow == flow:
                ways[way].used = self.clock
                return &ways[way]
        return NULL

    cdef void widen(self, uint8_t *frame, const Headers *headers, uint16_t offer) noexcept nogil:
        cdef uint64_t flow = self.flow_of(headers)
        cdef Known *entry = self.find(flow)
        cdef Known *ways = self.known[flow >> 8 & (SETS - 1)]
        cdef uint8_t *option = frame + headers.transport + 20
        cdef uint8_t *end = frame + headers.payload
        cdef int way
        if entry == NULL:
            entry = ways
            for way in range(1, WAYS):
                if self.clock - ways[way].used > self.clock - entry.used:
                    entry = &ways[way]
        entry.flow, entry.used, entry.most = flow, self.clock, UNSAID if headers.kind == KIND_IPV4 else UNSAID6
        while option < end and option[0] != END_OF_OPTIONS:
            if option[0] == NO_OPERATION:
                option += 1
                continue
            if option + 2 > end or option[1] < 2 or option + option[1] > end:
                return
            if option[0] == MAXIMUM_SEGMENT_SIZE and option[1] == 4:
                entry.most = max(big16(option + 2), <uint16_t>LEAST)
                put16(option + 2, max(offer, entry.most))
                return
            option += option[1]

    cdef void mark(self, Frame *frame, uint8_t *bytes, const Headers *headers) noexcept nogil:
        cdef uint32_t data = headers.end - headers.payload
        cdef Known *entry
        cdef uint16_t most = UNSAID if headers.kind == KIND_IPV4 else UNSAID6
        frame.header.flags = DATA_VALID
        if data <= most:
            return
        entry = self.find(self.flow_of(headers))
        if entry != NULL:
            most = entry.most
        if data <= most:
            return
        sum_for_hardware(bytes, headers)
        frame.header.flags = NEEDS_CSUM
        frame.header.gso_type = GSO_TCPV4 if headers.kind == KIND_IPV4 else GSO_TCPV6
        frame.header.gso_size = most
        frame.header.hdr_len = headers.payload
        frame.header.csum_start = headers.transport
        frame.header.csum_offset = 16
