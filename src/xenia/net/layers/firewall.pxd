# Who may speak with whom.  See firewall.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from xenia.net.frame cimport Frame
from xenia.net.layer cimport Layer
from xenia.net.layers.flows cimport Flows
from xenia.net.parse cimport Headers

cdef enum:                          # End.kind
    END_ANY = 0
    END_IPV4 = 4
    END_IPV6 = 6
    END_MAC = 48

cdef struct End:
    int kind
    uint8_t address[16]
    uint8_t mask[16]

cdef struct FirewallRule:
    int directions                  # a bit for each
    bint allow
    int protocol                    # of IP; ANY_PROTOCOL, ARP_PROTOCOL
    bint has_ports
    bint has_source_ports
    uint16_t ports[2]               # the first and the last
    uint16_t source_ports[2]
    End source
    End target


cdef class Firewall(Layer):
    cdef FirewallRule *rules
    cdef int nr_rules
    cdef Flows flows
    cdef object said
    cdef uint32_t now(self) noexcept nogil          # s
    cdef int decide(self, const Headers *headers, int direction) noexcept nogil
    cdef int judge_by_rules(self, const Headers *headers, int direction) noexcept nogil
