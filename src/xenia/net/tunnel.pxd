# Frames within UDP datagrams, to other hosts.  See tunnel.pyx.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.net.coalesce cimport Coalesced
from xenia.net.frame cimport Frame
from xenia.net.link cimport Link
from xenia.net.segment cimport Segments

cdef enum:
    MOST_REMOTES = 32
    LEARNED = 4096                  # places for addresses
    ADDRESS_BYTES = 16              # of IPv6; an IPv4 address is in the last 4, behind ::ffff

cdef struct Remote:
    int descriptor                  # connected with it
    uint8_t address[ADDRESS_BYTES]
    int polled                      # index of this round
    bint full                       # it took none

cdef struct Place:                  # where an Ethernet address was last seen
    uint64_t mac                    # 0: nothing
    int remote


cdef class TunnelLink(Link):
    cdef Remote remotes[MOST_REMOTES]
    cdef int nr_remotes
    cdef uint8_t header[8]
    cdef uint32_t most_bytes        # of a frame that is cut; longer ones leave as several IP fragments
    cdef Place *places
    cdef uint8_t *arrived
    cdef Segments *cut              # of a frame that leaves
    cdef Coalesced *joined          # of frames that came
    cdef int polled                 # index of this round
    cdef bint put_one(self, Frame *frame) noexcept nogil
    cdef bint put_to(self, Frame *frame, Remote *remote) noexcept nogil
    cdef int write_datagram(self, Frame *frame, Remote *remote) noexcept nogil
    cdef int find_remote(self, const uint8_t *address) noexcept nogil
    cdef void learn(self, const uint8_t *frame, int remote) noexcept nogil
    cdef bint receive(self) noexcept nogil
    cdef ssize_t take_datagram(self, uint8_t *at, int *remote) noexcept nogil
