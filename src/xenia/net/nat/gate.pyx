"""What becomes of each packet of a guest's at the edge of a user-mode network.

Guests have addresses of the network's; two more of those are the gateway's and the name server's.  Of the gateway a
guest reaches an echo, and what ports of the host's loopback the operator named; of the name server its port; in the
world all that is not the host's (`guard`).  The rest is refused, and the guest told so.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy
from xenia.net.nat.guard cimport HostGuard
from xenia.net.nat.invitations cimport Invitations
from xenia.net.parse cimport (
    BROKEN, FRAGMENT, HIDDEN, KIND_ARP, KIND_IPV4, KIND_IPV6, LATER_FRAGMENT, PROTOCOL_ICMP, PROTOCOL_ICMPV6,
    PROTOCOL_TCP, PROTOCOL_UDP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, TCP_URG, Headers, big32, ip_source, ip_target,
)

cdef enum:
    ECHO4 = 8                       # types of ICMP and ICMPv6
    ECHO6 = 128
    ROUTER_SOLICITATION = 133
    NEIGHBOUR_SOLICITATION = 135
    NEIGHBOUR_ADVERTISEMENT = 136
    DHCPV6_SERVER = 547             # ports
    DNS = 53

# All DHCP relay agents and servers (RFC 8415, 7.1).
cdef const uint8_t *DHCPV6_SERVERS = [0xFF, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2]


cdef class Gate:
    """The rules of one network."""

    def __init__(self, subnet: IPv4Network, gateway: IPv4Address, nameserver: IPv4Address,
                 subnet6: IPv6Network | None, gateway6: IPv6Address | None, nameserver6: IPv6Address | None) -> None:
        self.guard = HostGuard()
        self.invitations = Invitations()
        put(self.network, subnet.network_address.packed)
        put(self.mask, subnet.netmask.packed)
        put(self.gateway, gateway.packed)
        put(self.nameserver, nameserver.packed)
        self.has6 = subnet6 is not None
        if subnet6 is not None and gateway6 is not None and nameserver6 is not None:
            put(self.prefix6, subnet6.network_address.packed[:8])
            put(self.gateway6, gateway6.packed)
            put(self.nameserver6, nameserver6.packed)

    def reach_host(self, port: int, reached: bool) -> None:
        """Whether guests may reach that port of the host's loopback, TCP and UDP."""
        cdef int number = port
        cdef uint8_t bit = 1 << (number & 7)
        if reached:
            self.tcp_ports[number >> 3] |= bit
            self.udp_ports[number >> 3] |= bit
        else:
            self.tcp_ports[number >> 3] &= ~bit
            self.udp_ports[number >> 3] &= ~bit

    def reached_host(self) -> list[int]:
        """The ports of the host's loopback that guests may reach."""
        cdef int port
        return [port for port in range(65536) if self.tcp_ports[port >> 3] >> (port & 7) & 1]

    cdef Verdict judge(self, const Headers *headers, int64_t now) noexcept nogil:
        cdef Verdict verdict
        if headers.flags & (BROKEN | HIDDEN) or headers.nr_tags:
            return DROPPED
        if not (headers.bytes[0] & 1 or headers.bytes[0] == 0x52 and headers.bytes[1] in (0x55, 0x56)):
            return DROPPED
        if headers.kind == KIND_IPV4:
            verdict = self.judge4(headers, now)
        elif headers.kind == KIND_IPV6 and self.has6:
            verdict = self.judge6(headers, now)
        else:
            verdict = ADDRESSED if headers.kind == KIND_ARP else DROPPED
        return PASSED if verdict == REFUSED and self.is_answer(headers, now) else verdict

    cdef bint is_answer(self, const Headers *headers, int64_t now) noexcept nogil:
        """Whether a packet for the host begins nothing: what the stack does not know of, it refuses itself."""
        if headers.transport == 0 or headers.flags & FRAGMENT:
            return False
        if headers.protocol == PROTOCOL_TCP:
            return headers.tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST | TCP_URG | TCP_ACK) != TCP_SYN
        return headers.protocol == PROTOCOL_UDP and self.invitations.has(headers, now)

    cdef void notice(self, const Headers *headers, int64_t now) noexcept nogil:
        cdef int size = 4 if headers.kind == KIND_IPV4 else 16
        cdef const uint8_t *source = ip_source(headers)
        cdef const uint8_t *gateway = self.gateway6
        if size == 4:
            gateway = self.gateway
        if memcmp(source, gateway, size) == 0 or self.guard.forbids(source, size, now):
            self.invitations.note(headers, now)

    cdef bint is_gateway(self, const Headers *headers) noexcept nogil:
        if headers.kind == KIND_IPV4:
            return memcmp(ip_target(headers), self.gateway, 4) == 0
        return memcmp(ip_target(headers), self.gateway6, 16) == 0

    cdef bint is_ours(self, const uint8_t *address) noexcept nogil:
        cdef int index
        for index in range(4):
            if address[index] & self.mask[index] != self.network[index]:
                return False
        return True

    cdef uint32_t place_of(self, const uint8_t *address) noexcept nogil:
        return big32(address) & ~big32(self.mask)

    cdef Verdict judge4(self, const Headers *headers, int64_t now) noexcept nogil:
        cdef const uint8_t *target = ip_target(headers)
        cdef bint group = headers.bytes[0] & 1
        if headers.protocol == PROTOCOL_UDP and headers.target_port == DHCP_SERVER and not headers.flags & FRAGMENT:
            if target[0] == 0xFF and memcmp(target, target + 1, 3) == 0 or memcmp(target, self.gateway, 4) == 0:
                return ASIDE
        if group or target[0] >> 4 == 14 or big32(target) == 0xFFFFFFFFU:
            return DROPPED
        if not self.is_ours(ip_source(headers)):
            return SPOOFED
        if headers.protocol == PROTOCOL_ICMP and not headers.flags & LATER_FRAGMENT:
            if headers.transport == 0 or headers.bytes[headers.transport] != ECHO4:
                return DROPPED
        if memcmp(target, self.nameserver, 4) == 0:
            return self.to_nameserver(headers)
        if memcmp(target, self.gateway, 4) == 0:
            return self.to_gateway(headers)
        if self.is_ours(target) or self.guard.forbids(target, 4, now):
            return REFUSED
        if headers.protocol in (PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP):
            return PASSED
        return REFUSED

    cdef Verdict judge6(self, const Headers *headers, int64_t now) noexcept nogil:
        cdef const uint8_t *target = ip_target(headers)
        cdef uint8_t kind = headers.bytes[headers.transport] if headers.transport else 0
        cdef bint control = headers.protocol == PROTOCOL_ICMPV6
        if headers.flags & FRAGMENT or headers.transport != headers.network + 40:
            return DROPPED          # the stack puts no fragments together and knows no extensions
        if control and kind in (ROUTER_SOLICITATION, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT):
            return ADDRESSED
        if headers.protocol == PROTOCOL_UDP and headers.target_port == DHCPV6_SERVER:
            if memcmp(target, DHCPV6_SERVERS, 16) == 0:
                return ADDRESSED    # what goes to other groups, the stack would hand to the host's
        if headers.bytes[0] & 1 or target[0] == 0xFF or control and kind != ECHO6:
            return DROPPED
        if target[0] == 0xFE and target[1] >> 6 == 2:
            return PASSED if control else REFUSED
        if memcmp(ip_source(headers), self.prefix6, 8) != 0:
            return SPOOFED
        if memcmp(target, self.nameserver6, 16) == 0:
            return self.to_nameserver(headers)
        if memcmp(target, self.gateway6, 16) == 0:
            return self.to_gateway(headers)
        if memcmp(target, self.prefix6, 8) == 0 or self.guard.forbids(target, 16, now):
            return REFUSED
        if control:
            return ECHOED
        return PASSED if headers.protocol in (PROTOCOL_TCP, PROTOCOL_UDP) else REFUSED

    cdef Verdict to_nameserver(self, const Headers *headers) noexcept nogil:
        if headers.flags & FRAGMENT:
            return DROPPED
        if headers.protocol == PROTOCOL_UDP and headers.target_port == DNS:
            return ASIDE
        if headers.protocol == PROTOCOL_TCP and headers.target_port == DNS:
            return PASSED
        return PASSED if headers.protocol in (PROTOCOL_ICMP, PROTOCOL_ICMPV6) else REFUSED

    cdef Verdict to_gateway(self, const Headers *headers) noexcept nogil:
        cdef uint16_t port = headers.target_port
        if headers.flags & FRAGMENT:
            return DROPPED
        if headers.protocol == PROTOCOL_TCP:
            return PASSED if self.tcp_ports[port >> 3] >> (port & 7) & 1 else REFUSED
        if headers.protocol == PROTOCOL_UDP:
            return PASSED if self.udp_ports[port >> 3] >> (port & 7) & 1 else REFUSED
        return PASSED if headers.protocol in (PROTOCOL_ICMP, PROTOCOL_ICMPV6) else REFUSED


cdef put(uint8_t *at, bytes data):
    memcpy(at, <const char *>data, len(data))
