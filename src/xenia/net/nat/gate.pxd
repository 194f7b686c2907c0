# What becomes of each packet of a guest's at the edge of a user-mode network.  See gate.pyx.
from libc.stdint cimport int64_t, uint8_t, uint32_t
from xenia.net.nat.guard cimport HostGuard
from xenia.net.nat.invitations cimport Invitations
from xenia.net.parse cimport Headers

cdef enum:
    DHCP_SERVER = 67                # a port

cdef enum Verdict:
    DROPPED                         # not for us, or nonsense
    SPOOFED                         # from an address that is not of this network
    REFUSED                         # whoever sent it is told
    PASSED                          # to the stack
    ADDRESSED                       # to it, too: who has which address (ARP, neighbour discovery, DHCPv6)
    ASIDE                           # to our own servers of addresses and names
    ECHOED                          # an ICMPv6 echo to the world, which the stack does not do


cdef class Gate:
    cdef readonly HostGuard guard
    cdef Invitations invitations
    cdef uint8_t network[4]
    cdef uint8_t mask[4]
    cdef uint8_t gateway[4]
    cdef uint8_t nameserver[4]
    cdef bint has6
    cdef uint8_t prefix6[8]
    cdef uint8_t gateway6[16]
    cdef uint8_t nameserver6[16]
    cdef uint8_t tcp_ports[8192]    # of the host's loopback that guests may reach, a bit each
    cdef uint8_t udp_ports[8192]
    cdef Verdict judge(self, const Headers *headers, int64_t now) noexcept nogil
    # UDP that is sent to a guest: where it comes from the host, the guest may answer.
    cdef void notice(self, const Headers *headers, int64_t now) noexcept nogil
    cdef bint is_answer(self, const Headers *headers, int64_t now) noexcept nogil
    cdef Verdict judge4(self, const Headers *headers, int64_t now) noexcept nogil
    cdef Verdict judge6(self, const Headers *headers, int64_t now) noexcept nogil
    cdef Verdict to_nameserver(self, const Headers *headers) noexcept nogil
    cdef Verdict to_gateway(self, const Headers *headers) noexcept nogil
    cdef bint is_gateway(self, const Headers *headers) noexcept nogil       # it goes there
    cdef bint is_ours(self, const uint8_t *address) noexcept nogil
    # Of one of ours, how many come before it.
    cdef uint32_t place_of(self, const uint8_t *address) noexcept nogil
