"""Fragments of guests' IPv4 datagrams, put together before anything else is done with them (RFC 791, 3.2).

So a datagram is judged and counted by its ports whatever it came in, and what is begun and never ended stays bounded:
libslirp keeps fragments without end, and looks through all of them for each one that comes.  Of one guest sixteen
datagrams are kept, of all 64, for 30 s; who begins more loses its own oldest one.  One whose fragments overlap is
dropped, as in IPv6 (RFC 8200, 4.5).
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from xenia.net.checksum cimport ipv4_checksum
from xenia.net.parse cimport Headers, big16, big32, ip_source, ip_target, put16

cdef enum:
    MORE = 0x2000                   # flags and offset of an IPv4 header
    OFFSET = 0x1FFF
    UNIT = 8
    LONGEST = 65535                 # an IP datagram

cdef int64_t LASTS = 30000000000    # ns


cdef class Fragments:
    """Those of one network."""

    def __dealloc__(self):
        cdef int index
        for index in range(DATAGRAMS):
            free(self.datagrams[index].bytes)

    cdef const uint8_t *take(self, const Headers *headers, int64_t now, uint32_t *length) noexcept nogil:
        cdef const uint8_t *ip = headers.bytes + headers.network
        cdef uint32_t header = (ip[0] & 15) * 4, size = headers.end - headers.network - header
        cdef uint32_t at = (big16(ip + 6) & OFFSET) * UNIT, unit
        cdef bint more = (big16(ip + 6) & MORE) != 0
        cdef Datagram *datagram
        if size == 0 or more and size % UNIT or at + size + header > LONGEST or headers.network + header > HEAD_ROOM:
            return NULL
        datagram = self.find(headers, now)
        if datagram == NULL:
            return NULL
        datagram.reach = max(datagram.reach, at + size)
        if not more and datagram.length == 0:
            datagram.length = at + size
        elif not more:
            datagram.reach = LONGEST + 1
        if datagram.length and datagram.reach > datagram.length:
            datagram.guest = 0
            return NULL
        for unit in range(at // UNIT, (at + size + UNIT - 1) // UNIT):
            if datagram.blocks[unit // 64] >> (unit % 64) & 1:
                datagram.guest = 0
                return NULL
            datagram.blocks[unit // 64] |= 1ULL << (unit % 64)
        memcpy(datagram.bytes + HEAD_ROOM + at, ip + header, size)
        datagram.held += size
        if at == 0:
            datagram.header = headers.network + header
            memcpy(datagram.bytes + HEAD_ROOM - datagram.header, headers.bytes, datagram.header)
        if datagram.length == 0 or datagram.header == 0 or datagram.held < datagram.length:
            return NULL
        datagram.guest = 0
        if datagram.header - headers.network + datagram.length > LONGEST:
            return NULL
        length[0] = datagram.header + datagram.length
        return unfragmented(datagram, headers.network)

    cdef Datagram *find(self, const Headers *headers, int64_t now) noexcept nogil:
        """The one that a fragment belongs to, begun with it where need be; NULL: there is no memory."""
        cdef const uint8_t *ip = headers.bytes + headers.network
        cdef uint64_t guest = 1 << 48, ends = <uint64_t>big32(ip_source(headers)) << 32 | big32(ip_target(headers))
        cdef uint32_t name = <uint32_t>headers.protocol << 16 | big16(ip + 4)
        cdef Datagram *datagram
        cdef int index
        memcpy(&guest, headers.bytes + 6, 6)
        for index in range(DATAGRAMS):
            datagram = &self.datagrams[index]
            if datagram.guest == guest and datagram.ends == ends and datagram.name == name and datagram.until > now:
                return datagram
        datagram = self.begin(guest, now)
        if datagram != NULL:
            datagram.ends, datagram.name = ends, name
        return datagram

    cdef Datagram *begin(self, uint64_t guest, int64_t now) noexcept nogil:
        """Room for one: where none is, or not for this guest, that of the oldest one."""
        cdef Datagram *oldest = NULL
        cdef Datagram *own = NULL
        cdef Datagram *datagram
        cdef int index, count = 0
        for index in range(DATAGRAMS):
            datagram = &self.datagrams[index]
            if datagram.until <= now:
                datagram.guest = 0
            if datagram.guest == guest:
                count += 1
                if own == NULL or datagram.until < own.until:
                    own = datagram
            if oldest == NULL or datagram.guest == 0 or oldest.guest and datagram.until < oldest.until:
                oldest = datagram
        datagram = own if count >= OF_ONE else oldest
        if datagram.bytes == NULL:
            datagram.bytes = <uint8_t *>malloc(HEAD_ROOM + MOST_DATA)
            if datagram.bytes == NULL:
                return NULL
        datagram.guest, datagram.until = guest, now + LASTS
        datagram.length, datagram.held, datagram.reach, datagram.header = 0, 0, 0, 0
        memset(datagram.blocks, 0, sizeof(datagram.blocks))
        return datagram


cdef const uint8_t *unfragmented(Datagram *datagram, uint32_t network) noexcept nogil:
    cdef uint8_t *frame = datagram.bytes + HEAD_ROOM - datagram.header
    cdef uint8_t *ip = frame + network
    cdef uint16_t checksum
    put16(ip + 2, datagram.header - network + datagram.length)
    memset(ip + 6, 0, 2)
    memset(ip + 10, 0, 2)
    checksum = ipv4_checksum(ip)
    memcpy(ip + 10, &checksum, 2)
    return frame
