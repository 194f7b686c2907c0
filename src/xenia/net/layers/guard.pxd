# Whose frames a card may send.  See guard.pyx.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.net.frame cimport Frame
from xenia.net.layer cimport Layer
from xenia.net.layers.claims cimport MOST_CLAIMS, Claims
from xenia.net.parse cimport Headers

cdef enum:
    MOST_ADDRESSES = 16

cdef struct Prefix:
    uint8_t address[16]             # IPv4: the first four
    uint8_t mask[16]

cdef struct Prefixes:
    uint32_t count
    Prefix of[MOST_ADDRESSES]


cdef class Guard(Layer):
    cdef int direction              # in which the frames go that it looks at
    cdef volatile bint on
    cdef uint64_t mac
    cdef volatile uint32_t changes  # odd while the addresses are being changed
    cdef Prefixes allowed[2]        # IPv4, IPv6; none: not known
    cdef Prefixes reserved[2]
    cdef Claims claims              # of its network; None: not known
    cdef uint8_t own[MOST_CLAIMS + 2][16]
    cdef uint32_t nr_own
    cdef bint uses_mac              # it has claimed the second of these
    cdef dict _allowed
    cdef dict _reserved
    cdef void become(self, Prefixes *allowed, Prefixes *reserved) noexcept nogil
    cdef bint may_have(self, int family, const uint8_t *address) noexcept nogil
    cdef bint may_have6(self, const uint8_t *address) noexcept nogil
    cdef void see_claims(self, const Headers *headers) noexcept nogil
    cdef bint has_own(self, const uint8_t *address) noexcept nogil
    cdef void claim(self, const uint8_t *address) noexcept nogil
    cdef int judge_other(self, Headers *headers) noexcept nogil
    cdef int judge_arp(self, Headers *headers) noexcept nogil
    cdef int judge_ipv4(self, Headers *headers) noexcept nogil
    cdef int judge_ipv6(self, Headers *headers) noexcept nogil
    cdef int judge_discovery(self, Frame *frame, Headers *headers) noexcept nogil
    cdef int judge_udp(self, Headers *headers) noexcept nogil
