# Fragments of guests' IPv4 datagrams, until each is whole.  See fragments.pyx.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from xenia.net.parse cimport Headers

cdef enum:
    DATAGRAMS = 64                  # that wait for fragments at once
    OF_ONE = 16                     # of them, those of one guest
    HEAD_ROOM = 80                  # before a datagram's data: an Ethernet header and IPv4's, with its options
    MOST_DATA = 65536
    WORDS = MOST_DATA // 8 // 64


cdef struct Datagram:
    uint64_t guest                  # its MAC; 0: nothing is here
    uint64_t ends                   # from where to where it goes: both addresses
    uint32_t name                   # protocol and identification
    int64_t until
    uint32_t length                 # of its data; 0: the last fragment has not come
    uint32_t held                   # bytes of it that have
    uint32_t reach                  # where what has come ends
    uint32_t header                 # bytes before its data; 0: the first fragment has not come
    uint64_t blocks[WORDS]          # which units of 8 bytes have come
    uint8_t *bytes                  # the header ends, and the data begins, at HEAD_ROOM


cdef class Fragments:
    cdef Datagram datagrams[DATAGRAMS]
    # Take one, which is whole at headers.bytes.  Where its datagram is complete with it: the datagram, as a frame whose
    # length is put into `length`, which lasts until the next call; else NULL.
    cdef const uint8_t *take(self, const Headers *headers, int64_t now, uint32_t *length) noexcept nogil
    cdef Datagram *find(self, const Headers *headers, int64_t now) noexcept nogil
    cdef Datagram *begin(self, uint64_t guest, int64_t now) noexcept nogil
