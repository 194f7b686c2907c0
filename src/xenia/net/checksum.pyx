"""The internet checksum: of bytes, of a frame's parts, as a frame asks for it, and whether it is right.

Eight bytes are added at a time, with the carry, in four chains that do not wait for each other; a sum of 64 bits folds
to the same 16 as one of 16-bit words does (RFC 1071, 2).
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from xenia.net.frame cimport HEAD, NEEDS_CSUM, Frame
from xenia.net.parse cimport FRAGMENT, KIND_IPV4, KIND_IPV6, PROTOCOL_TCP, PROTOCOL_UDP, Headers, ip_source

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    static inline uint64_t sum_word(uint64_t sum, const uint8_t *bytes)
    {
        uint64_t word;
        memcpy(&word, bytes, 8);
        sum += word;
        return sum + (sum < word);
    }
    static inline uint64_t sum_add(uint64_t sum, uint64_t other)
    {
        sum += other;
        return sum + (sum < other);
    }
    static inline uint64_t sum_chains(const uint8_t *bytes, size_t blocks, uint64_t sum)
    {
        uint64_t one = 0, two = 0, three = 0;
        for (; blocks; blocks--, bytes += 64) {
            sum = sum_word(sum_word(sum, bytes), bytes + 32);
            one = sum_word(sum_word(one, bytes + 8), bytes + 40);
            two = sum_word(sum_word(two, bytes + 16), bytes + 48);
            three = sum_word(sum_word(three, bytes + 24), bytes + 56);
        }
        return sum_add(sum_add(sum, one), sum_add(two, three));
    }
    """
    uint64_t sum_word(uint64_t sum, const uint8_t *bytes) noexcept nogil
    uint64_t sum_add(uint64_t sum, uint64_t other) noexcept nogil
    uint64_t sum_chains(const uint8_t *bytes, size_t blocks, uint64_t sum) noexcept nogil

cdef extern from "<arpa/inet.h>" nogil:
    uint16_t htons(uint16_t value)


cdef uint64_t sum_bytes(const void *start, size_t count, uint64_t sum) noexcept nogil:
    cdef const uint8_t *bytes = <const uint8_t *>start
    cdef uint64_t last = 0
    if count >= 64:
        sum = sum_chains(bytes, count // 64, sum)
        bytes += count & ~<size_t>63
        count &= 63
    while count >= 8:
        sum = sum_word(sum, bytes)
        bytes += 8
        count -= 8
    memcpy(&last, bytes, count)
    return sum_add(sum, last)


cdef uint64_t sum_parts(const Frame *frame, uint32_t start, uint32_t end, uint64_t sum) noexcept nogil:
    cdef uint32_t part, at = 0, first, size, done = 0
    cdef uint64_t found
    for part in range(frame.nr_parts):
        if at >= end:
            break
        size = <uint32_t>frame.parts[part].iov_len
        if at + size > start:
            first = start - at if start > at else 0
            found = fold(sum_bytes(<uint8_t *>frame.parts[part].iov_base + first, min(size, end - at) - first, 0))
            if done & 1:
                found = found >> 8 | (found & 0xFF) << 8
            sum = sum_add(sum, found)
            done += min(size, end - at) - first
        at += size
    return sum


cdef uint64_t sum_pseudo(const Headers *headers, uint32_t length) noexcept nogil:
    cdef uint64_t sum = sum_bytes(ip_source(headers), 8 if headers.kind == KIND_IPV4 else 32, 0)
    return sum_add(sum, htons(headers.protocol) + htons(length & 0xFFFF) + htons(length >> 16))


cdef bint checksum_asked(const Frame *frame, uint16_t *checksum, uint32_t *at) noexcept nogil:
    at[0] = <uint32_t>frame.header.csum_start + frame.header.csum_offset
    if not frame.header.flags & NEEDS_CSUM or at[0] + 2 > min(frame.length, <uint32_t>HEAD):
        return False
    checksum[0] = ~fold(sum_parts(frame, frame.header.csum_start, frame.length, 0))
    if not checksum[0]:
        checksum[0] = 0xFFFF        # UDP's 0 says that there is none (RFC 768); elsewhere both are the same
    return True


cdef Sum checksum_verify(const Frame *frame, const Headers *headers) noexcept nogil:
    cdef const uint8_t *header = headers.bytes + headers.transport
    cdef uint32_t length = headers.end - headers.transport
    if (headers.kind != KIND_IPV4 and headers.kind != KIND_IPV6) or not headers.payload or headers.flags & FRAGMENT:
        return SUM_UNKNOWN
    if headers.kind == KIND_IPV4 and fold(sum_bytes(headers.bytes + headers.network,
                                                    (headers.bytes[headers.network] & 15) * 4, 0)) != 0xFFFF:
        return SUM_WRONG
    if headers.protocol == PROTOCOL_UDP:
        if header[4] << 8 | header[5] != length:
            return SUM_UNKNOWN
        if not header[6] and not header[7]:
            return SUM_RIGHT if headers.kind == KIND_IPV4 else SUM_WRONG
    elif headers.protocol != PROTOCOL_TCP:
        return SUM_UNKNOWN
    if fold(sum_parts(frame, headers.transport, headers.end, sum_pseudo(headers, length))) == 0xFFFF:
        return SUM_RIGHT
    return SUM_WRONG


cdef uint16_t ipv4_checksum(const uint8_t *header) noexcept nogil:
    return ~fold(sum_bytes(header + 12, (header[0] & 15) * 4 - 12, sum_bytes(header, 10, 0)))
