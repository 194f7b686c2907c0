# The internet checksum (RFC 1071), over frames.  A sum is of 16-bit words as they lie in memory, and so are its
# checksum and what it is compared with: both are stored as they are.  See checksum.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from xenia.net.frame cimport Frame
from xenia.net.parse cimport Headers

cdef enum Sum:
    SUM_UNKNOWN                     # nothing that has one we know, or it lies where nobody may look
    SUM_RIGHT
    SUM_WRONG


# `sum` and the bytes.  Bytes that follow an odd number of others begin another sum: see sum_parts.
cdef uint64_t sum_bytes(const void *bytes, size_t count, uint64_t sum) noexcept nogil


# In 16 bits.  Its complement is the checksum.
cdef inline uint16_t fold(uint64_t sum) noexcept nogil:
    sum = (sum >> 32) + <uint32_t>sum
    sum = (sum >> 32) + <uint32_t>sum
    sum = (sum >> 16) + <uint16_t>sum
    return <uint16_t>((sum >> 16) + <uint16_t>sum)


# `sum` and the frame's bytes from `start` to before `end`, which lie within it.
cdef uint64_t sum_parts(const Frame *frame, uint32_t start, uint32_t end, uint64_t sum) noexcept nogil
# Of the pseudo header of a TCP, UDP or ICMPv6 message of so many bytes (RFC 9293 3.1, RFC 8200 8.1).
cdef uint64_t sum_pseudo(const Headers *headers, uint32_t length) noexcept nogil
# The checksum that NEEDS_CSUM asks for, and where its two bytes are.  False: it asks for one that is not in the head.
cdef bint checksum_asked(const Frame *frame, uint16_t *checksum, uint32_t *at) noexcept nogil
# Whether TCP's or UDP's checksum, and the IPv4 header's, are those of the bytes.
cdef Sum checksum_verify(const Frame *frame, const Headers *headers) noexcept nogil
# Of an IPv4 header with its options: the one it ought to have.
cdef uint16_t ipv4_checksum(const uint8_t *header) noexcept nogil
