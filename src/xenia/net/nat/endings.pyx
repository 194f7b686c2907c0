"""Connections that both ends have closed, so that libslirp lets their sockets go at once.

Where the world closes first, libslirp is who waits twice the longest life of a segment (RFC 9293, 3.6), 10 s with
a socket of the host's for each connection: some hundred connections a second would fill a guest's share.  Nothing of
old segments is to be feared between it and a guest, so once each end has acknowledged the other's FIN, it is told by a
reset that the wait is over.  The guest sees nothing of that.
"""

import os

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from xenia.net.nat.answer cimport fill_in
from xenia.net.parse cimport TCP_ACK, TCP_FIN, TCP_RST, Headers, big32, flow_hash, put16, put32

cdef enum:
    TCP = 20


cdef class Endings:
    """Those that one end has closed."""

    def __init__(self) -> None:
        self.seed = int.from_bytes(os.urandom(4), "little")

    cdef uint64_t flow_of(self, const Headers *headers) noexcept nogil:
        return <uint64_t>flow_hash(headers, self.seed) << 32 | flow_hash(headers, ~self.seed) | 1

    cdef void begin(self, const Headers *headers) noexcept nogil:
        cdef uint64_t flow = self.flow_of(headers)
        cdef Ending *ending = &self.endings[(flow >> 1) % ENDINGS]
        if ending.flow != flow:
            memset(ending, 0, sizeof(Ending))
        ending.flow = flow
        ending.ours = big32(headers.bytes + headers.transport + 4) + headers.end - headers.payload + 1

    cdef uint32_t follow(self, const Headers *headers, uint8_t *reset) noexcept nogil:
        cdef uint64_t flow = self.flow_of(headers)
        cdef Ending *ending = &self.endings[(flow >> 1) % ENDINGS]
        cdef const uint8_t *tcp = headers.bytes + headers.transport
        cdef Headers made = headers[0]
        if ending.flow != flow:
            return 0
        if headers.tcp_flags & TCP_FIN:
            ending.theirs = big32(tcp + 4) + headers.end - headers.payload + 1
            ending.both = True
        if not ending.both or not headers.tcp_flags & TCP_ACK or big32(tcp + 8) != ending.ours:
            return 0
        ending.flow = 0
        memcpy(reset, headers.bytes, headers.transport)
        memset(reset + headers.transport, 0, TCP)
        memcpy(reset + headers.transport, tcp, 4)
        put32(reset + headers.transport + 4, ending.theirs)
        reset[headers.transport + 12], reset[headers.transport + 13] = TCP // 4 << 4, TCP_RST
        made.bytes, made.payload, made.end = reset, headers.transport + TCP, headers.transport + TCP
        if reset[12] == 0x08:
            put16(reset + headers.network + 2, made.end - headers.network)
        else:
            put16(reset + headers.network + 4, TCP)
        fill_in(reset, &made)
        return made.end
