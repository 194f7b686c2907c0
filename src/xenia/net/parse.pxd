# Where the headers of a frame are, by its first HEAD bytes.  See parse.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from xenia.net.frame cimport Frame

cdef enum:                          # ethertypes (linux/if_ether.h)
    ETHERTYPE_IPV4 = 0x0800
    ETHERTYPE_ARP = 0x0806
    ETHERTYPE_VLAN = 0x8100         # 802.1Q
    ETHERTYPE_QINQ = 0x88A8         # 802.1ad
    ETHERTYPE_IPV6 = 0x86DD
    LEAST_ETHERTYPE = 0x600         # below it, an 802.3 length

cdef enum:                          # IP protocols (IANA)
    PROTOCOL_ICMP = 1
    PROTOCOL_TCP = 6
    PROTOCOL_UDP = 17
    PROTOCOL_ICMPV6 = 58

cdef enum:                          # TCP's flags, the byte at 13 of its header
    TCP_FIN = 0x01
    TCP_SYN = 0x02
    TCP_RST = 0x04
    TCP_PSH = 0x08
    TCP_ACK = 0x10
    TCP_URG = 0x20
    TCP_ECE = 0x40
    TCP_CWR = 0x80

cdef enum:                          # Headers.kind
    KIND_OTHER = 0
    KIND_ARP
    KIND_IPV4
    KIND_IPV6

cdef enum:                          # Headers.flags
    FRAGMENT = 1                    # of an IP datagram
    LATER_FRAGMENT = 2              # and not its first: it has no transport header
    BROKEN = 4                      # a header is cut off, or contradicts the length: what follows is not told
    HIDDEN = 8                      # a header lies beyond HEAD: what follows is not told

# Offsets are from the frame's first byte and what they name lies within it and HEAD, as far as it is said.  Whoever
# must not be deceived drops what is BROKEN or HIDDEN.
cdef struct Headers:
    const uint8_t *bytes            # the first bytes: target's address, sender's, ...
    uint32_t nr_bytes               # how many may be looked at
    uint8_t kind                    # of the network's header; what `ethertype` says
    uint8_t flags
    uint8_t nr_tags                 # VLAN tags, 2 at the most
    uint8_t protocol                # IP's, behind extension headers; 0 where it is not known
    uint16_t tags[2]                # their TCI (PCP, DEI, VID), the outermost first
    uint16_t ethertype              # behind the tags, or an 802.3 length; 0 where the frame is shorter
    uint16_t network                # an ARP packet of Ethernet and IPv4 (28 bytes); an IP header, whole without options
    uint16_t transport              # its header: all of TCP's, 8 bytes of UDP and ICMP, 1 of others; 0: it is not known
    uint16_t payload                # behind the header of ICMP, UDP or TCP; 0 where `transport` is, or for others
    uint32_t end                    # behind the IP datagram: what follows is padding.  The frame's, where it is no IP
    uint16_t source_port            # of TCP and UDP, else 0
    uint16_t target_port
    uint8_t tcp_flags               # of TCP, else 0


cdef inline uint16_t big16(const uint8_t *bytes) noexcept nogil:
    return <uint16_t>(bytes[0] << 8 | bytes[1])


cdef inline uint32_t big32(const uint8_t *bytes) noexcept nogil:
    return <uint32_t>bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3]


cdef inline void put16(uint8_t *bytes, uint16_t value) noexcept nogil:
    bytes[0], bytes[1] = value >> 8, value & 0xFF


cdef inline void put32(uint8_t *bytes, uint32_t value) noexcept nogil:
    put16(bytes, value >> 16)
    put16(bytes + 2, value & 0xFFFF)


# The addresses of an IP header: 4 bytes each, or 16.
cdef inline const uint8_t *ip_source(const Headers *headers) noexcept nogil:
    return headers.bytes + headers.network + (12 if headers.kind == KIND_IPV4 else 8)


cdef inline const uint8_t *ip_target(const Headers *headers) noexcept nogil:
    return headers.bytes + headers.network + (16 if headers.kind == KIND_IPV4 else 24)


# Looks at nothing but the first min(length, HEAD) bytes of the first part.
cdef void parse_frame(const Frame *frame, Headers *headers) noexcept nogil
# The same for both directions of a flow (addresses, protocol, ports), of all fragments of a datagram too; and of other
# frames by their Ethernet addresses.  Who knows no `seed` finds no flows that meet.
cdef uint32_t flow_hash(const Headers *headers, uint32_t seed) noexcept nogil
