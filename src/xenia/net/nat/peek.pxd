# What a frame of the stack's is, by bytes at their usual places: before it is worth parsing.
from libc.stdint cimport uint8_t, uint32_t
from xenia.net.parse cimport ETHERTYPE_IPV4, PROTOCOL_TCP, PROTOCOL_UDP, TCP_FIN, big16

cdef enum:
    ETHERNET = 14


cdef inline bint is_udp(const uint8_t *frame, uint32_t length) noexcept nogil:
    if length < ETHERNET + 20:
        return False
    return frame[ETHERNET + 9 if big16(frame + 12) == ETHERTYPE_IPV4 else ETHERNET + 6] == PROTOCOL_UDP


cdef inline bint is_fin(const uint8_t *frame, uint32_t length) noexcept nogil:
    cdef uint32_t header = 20 if big16(frame + 12) == ETHERTYPE_IPV4 else 40
    if length < ETHERNET + header + 20 or frame[ETHERNET + (9 if header == 20 else 6)] != PROTOCOL_TCP:
        return False
    return frame[ETHERNET + header + 13] & TCP_FIN
