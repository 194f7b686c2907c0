# Checksums filled in, and what a guest is told of a packet that goes no further.  See answer.pyx.
from libc.stdint cimport uint8_t, uint32_t
from xenia.net.parse cimport Headers

cdef enum:
    LONGEST_ANSWER = 14 + 40 + 8 + 1232     # an ICMPv6 error of the least MTU


# Make the checksum of the TCP or UDP of a frame that lies in one piece (`headers` are of it), and of its IPv4 header.
cdef void fill_in(uint8_t *frame, const Headers *headers) noexcept nogil
# Leave TCP's checksum to whoever sends the frame: its field holds the sum of the pseudo header alone.
cdef void sum_for_hardware(uint8_t *frame, const Headers *headers) noexcept nogil
# The frame that tells the sender of another one that it was refused: a reset for TCP, an ICMP error for all else.  Its
# length; 0 where nobody may be told (RFC 1122, 3.2.2).
cdef uint32_t refusal(const Headers *headers, const uint8_t *frame, uint8_t *answer) noexcept nogil
