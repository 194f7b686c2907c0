"""A link to passt, by which no guest reaches the host.

passt opens a socket of the host's to wherever a guest sends, and takes for granted that the guest may reach all that
the host's own programs do: its loopback, which a guest needs only write as an address, and whatever listens at the
host's own addresses.  So what is for these, or for nobody but those on the host's links (link-local addresses, and with
them the metadata of clouds; groups), is dropped before passt sees it.  What guests need of passt itself passes: DHCP,
neighbour discovery, and names from a link-local name server; and segments of a connection that there is, for the host
may have begun it by a forward.

passt knows no VLANs, so an IP header is behind the Ethernet header or nowhere.
"""

from collections.abc import Sequence
from ipaddress import ip_address

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset
from xenia.net.frame cimport LEAST_BYTES, Frame
from xenia.net.link cimport Link
from xenia.net.parse cimport (
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, TCP_ACK, TCP_SYN, big16, big32,
)

cdef enum:
    IPV4_BYTES = 20
    IPV6_BYTES = 40
    TCP_BYTES = 20
    FRAGMENTS = 0x3FFF              # that more follow, and the offset
    HOP_BY_HOP = 0                  # before a group's listeners tell of themselves
    HOP_BY_HOP_BYTES = 8            # with what they say there: who forwards is to look
    ECHO_REQUEST = 128              # types of ICMPv6
    LISTENER_REPORT = 131
    LISTENER_DONE = 132
    LISTENER_REPORT_2 = 143
    DNS = 53                        # ports
    DHCP_SERVER = 67
    DHCPV6_SERVER = 547
    BROADCAST = 0xFFFFFFFF


cdef class PasstLink(StreamLink):
    """Over the socket to passt, which belongs to it.

    own     the host's addresses
    """

    def __init__(self, descriptor: int, own: Sequence[str]) -> None:
        cdef bytes packed
        StreamLink.__init__(self, descriptor)
        self.own = <uint8_t (*)[16]>calloc(len(own) + 1, 16)
        if self.own == NULL:
            raise MemoryError
        for address in own:
            packed = ip_address(address).packed
            if len(packed) == 4:
                map4(self.own[self.nr_own], <const uint8_t *><const char *>packed)
            else:
                memcpy(self.own[self.nr_own], <const char *>packed, 16)
            self.nr_own += 1

    def __dealloc__(self):
        free(self.own)

    @property
    def statistics(self) -> dict[str, int]:
        """See Link.statistics; and frames that were for the host."""
        return {**super().statistics, "closed": self.nr_closed}

    cdef int send(self, Frame *frames, int count) noexcept nogil:
        cdef int first = 0, end
        while first < count:
            if self.is_closed_to(&frames[first]):
                self.nr_closed += 1
                first += 1
                continue
            end = first + 1
            while end < count and not self.is_closed_to(&frames[end]):
                end += 1
            first += Link.send(self, frames + first, end - first)
            if first < end:
                return first
        return count

    cdef bint is_closed_to(self, const Frame *frame) noexcept nogil:
        cdef const uint8_t *bytes = <const uint8_t *>frame.parts[0].iov_base
        cdef size_t size = frame.parts[0].iov_len
        cdef int kind
        if size < LEAST_BYTES:
            return False
        kind = big16(bytes + 12)
        bytes += LEAST_BYTES
        size -= LEAST_BYTES
        if kind == ETHERTYPE_IPV4:
            return size < IPV4_BYTES + 4 or self.is_closed_to4(bytes, size)
        return kind == ETHERTYPE_IPV6 and (size < IPV6_BYTES + 4 or self.is_closed_to6(bytes, size))

    cdef bint is_closed_to4(self, const uint8_t *ip, size_t size) noexcept nogil:
        cdef const uint8_t *target = ip + 16
        cdef uint8_t mapped[16]
        if big32(target) == <uint32_t>BROADCAST:
            return ip[9] != PROTOCOL_UDP or ip[0] != 0x45 or big16(ip + IPV4_BYTES + 2) != DHCP_SERVER
        if target[0] == 0 or target[0] == 127 or target[0] >= 224 or target[0] == 169 and target[1] == 254:
            return True
        map4(mapped, target)
        if not self.is_own(mapped):
            return False
        return ip[9] != PROTOCOL_TCP or big16(ip + 6) & FRAGMENTS or may_begin(ip, size, 4 * (ip[0] & 15))

    cdef bint is_closed_to6(self, const uint8_t *ip, size_t size) noexcept nogil:
        cdef const uint8_t *target = ip + 24
        cdef int protocol = ip[6], port = big16(ip + IPV6_BYTES + 2)
        cdef int index = 0
        if target[0] == 0xFF:
            if protocol == HOP_BY_HOP:
                return not tells_of_listeners(ip, size)
            return not is_signal(ip) and not (protocol == PROTOCOL_UDP and port == DHCPV6_SERVER)
        if self.is_own(target):
            return protocol != PROTOCOL_TCP or may_begin(ip, size, IPV6_BYTES)
        if target[0] == 0xFE and target[1] >> 6 == 2:
            return not is_signal(ip) and not (
                protocol == PROTOCOL_UDP and port in (DNS, DHCPV6_SERVER) or protocol == PROTOCOL_TCP and port == DNS)
        while index < 10 and target[index] == 0:        # an IPv4 address, or the loopback's, or none
            index += 1
        return index == 10 and (big16(target + 10) == 0 or big16(target + 10) == 0xFFFF)

    cdef bint is_own(self, const uint8_t *address) noexcept nogil:
        cdef int index
        for index in range(self.nr_own):
            if memcmp(self.own[index], address, 16) == 0:
                return True
        return False


cdef bint may_begin(const uint8_t *ip, size_t size, uint32_t header) noexcept nogil:
    # Whether a segment begins a connection, as passt sees it.
    return size < header + TCP_BYTES or ip[header + 13] & (TCP_SYN | TCP_ACK) == TCP_SYN


cdef bint is_signal(const uint8_t *ip) noexcept nogil:
    # Of neighbour discovery, say; passt sends what asks for an echo on.
    return ip[6] == PROTOCOL_ICMPV6 and ip[IPV6_BYTES] != ECHO_REQUEST


cdef bint tells_of_listeners(const uint8_t *ip, size_t size) noexcept nogil:
    # Behind a header of options that has no more than that needs.
    cdef const uint8_t *options = ip + IPV6_BYTES
    return (size > IPV6_BYTES + HOP_BY_HOP_BYTES and options[0] == PROTOCOL_ICMPV6 and options[1] == 0
            and options[HOP_BY_HOP_BYTES] in (LISTENER_REPORT, LISTENER_DONE, LISTENER_REPORT_2))


cdef void map4(uint8_t *mapped, const uint8_t *address) noexcept nogil:
    memset(mapped, 0, 10)
    mapped[10] = mapped[11] = 0xFF
    memcpy(mapped + 12, address, 4)
