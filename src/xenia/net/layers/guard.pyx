"""A guest sends under its own addresses only, and is nobody's router or DHCP server unless it is allowed to.

Of a frame that a card sends, its own have to be: the Ethernet source; ARP's sender; IP's source, where the card's
addresses are known; in neighbour discovery, the link-layer addresses and the target that is advertised; the hardware
address in a DHCP request.  Addresses that are reserved (the gateway's, the name server's) are nobody's.  Dropped are
also answers of DHCP servers, router advertisements and redirects, frames to a switch itself (01:80:c2:00:00:0x), and
all that hides what it is: more than two VLAN tags, headers that are no headers, extension headers that do not end
within a frame's head, neighbour discovery in fragments (RFC 6980, 7112, 7113).

What is checked is what a receiver would act on, so tags are looked through; IP in SNAP is dropped.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset
from xenia.machine.lock cimport lock, unlock
from xenia.net.frame cimport Frame
from xenia.net.layer cimport INWARD, OUTWARD, PASS, Layer
from xenia.net.layers.claims cimport MOST_CLAIMS, Claims, address_of_mac
from xenia.machine.loop cimport monotonic
from xenia.net.parse cimport (
    BROKEN, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, FRAGMENT,
    HIDDEN as IS_HIDDEN, KIND_ARP, KIND_IPV4, KIND_IPV6, LATER_FRAGMENT, LEAST_ETHERTYPE, PROTOCOL_ICMPV6,
    PROTOCOL_UDP, Headers, big16, big32, ip_source, parse_frame)
from xenia.net.port cimport Port

from xenia.errors import ConfigError

cdef extern from *:
    """
    #include <stdint.h>
    static inline uint32_t guard_began(volatile uint32_t *changes)
    { return __atomic_load_n(changes, __ATOMIC_ACQUIRE); }
    static inline int guard_changed(volatile uint32_t *changes, uint32_t began)
    {
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        return began & 1 || __atomic_load_n(changes, __ATOMIC_RELAXED) != began;
    }
    static inline void guard_change(volatile uint32_t *changes)
    { __atomic_fetch_add(changes, 1, __ATOMIC_SEQ_CST); __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    """
    uint32_t guard_began(volatile uint32_t *changes) noexcept nogil
    bint guard_changed(volatile uint32_t *changes, uint32_t began) noexcept nogil
    void guard_change(volatile uint32_t *changes) noexcept nogil

cdef enum:                          # reasons
    MALFORMED = 1
    MAC
    SWITCH
    ARP_MAC
    ARP_ADDRESS
    IPV4
    IPV6
    NEIGHBOUR
    DHCP_SERVER
    DHCP_MAC
    ROUTER
    HIDDEN

REASONS: tuple[str, ...] = ("malformed", "mac", "switch", "arp-mac", "arp-address", "ipv4", "ipv6", "neighbour",
                            "dhcp-server", "dhcp-mac", "router", "hidden")

cdef enum:
    FAMILY4 = 0
    FAMILY6 = 1
    BPDU = 0x0180c2000000           # and the fifteen after it, which no bridge passes on (IEEE 802.1D)
    DHCP_SERVER_PORT = 67
    DHCP_CLIENT_PORT = 68
    DHCPV6_CLIENT_PORT = 546
    IGMP = 2
    ROUTER_SOLICITATION = 133       # messages of neighbour discovery (RFC 4861)
    ROUTER_ADVERTISEMENT = 134
    NEIGHBOUR_SOLICITATION = 135
    NEIGHBOUR_ADVERTISEMENT = 136
    REDIRECT = 137
    SNAP = 0xaaaa
    OLD_QINQ = 0x9100
    SOURCE_LINK_LAYER = 1           # options of neighbour discovery
    TARGET_LINK_LAYER = 2

cdef const uint8_t *ZERO = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]


cdef class Guard(Layer):
    """Over a port at which one card is."""

    def __init__(self, Port lower not None, mac: str, addresses: Iterable[str] = (), reserved: Iterable[str] = (),
                 on: bool = True, inward: bool = False, claims: Claims | None = None) -> None:
        """mac         the card's
        addresses   what it may have, each an address or a prefix; none of a family: any
        reserved    what it may not have, the network's own
        on          whether anything is dropped
        inward      the card is below: frames that come from there are looked at
        claims      which IPv6 addresses cards of its network have made themselves; None: it may have any, unless
                    `addresses` has some
        """
        Layer.__init__(self, lower)
        self.mac = int(mac.replace(":", ""), 16)
        self.direction = INWARD if inward else OUTWARD
        self.on = on
        self._allowed, self._reserved = {}, {}
        self.change(addresses, reserved)
        if claims is not None:
            given = [each.network_address.packed for each in self._allowed.values() if each.prefixlen == 128]
            claims.enter(<void *>self, self.mac, b"".join(given))
            self.claims = claims
            address_of_mac(NULL, self.mac, self.own[0])
            address_of_mac(claims.prefix_bytes, self.mac, self.own[1])
            self.nr_own = 2

    def close(self) -> None:
        """See Layer.close; its addresses are free again."""
        if self.claims is not None:
            with nogil:
                self.claims.leave(<void *>self)
        Layer.close(self)

    @property
    def kind(self) -> str:
        """See Layer.kind."""
        return "guard"

    @property
    def reasons(self) -> tuple[str, ...]:
        """See Layer.reasons."""
        return REASONS

    @property
    def enabled(self) -> bool:
        """Whether anything is dropped."""
        return self.on

    @enabled.setter
    def enabled(self, on: bool) -> None:
        self.on = on

    @property
    def addresses(self) -> tuple[str, ...]:
        """What the card may have; none of a family: any."""
        return tuple(self._allowed)

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """The IPv6 addresses that the card claimed so far, that of its MAC first if it uses it."""
        cdef uint8_t own[MOST_CLAIMS + 2][16]
        cdef uint32_t count, first, index
        with nogil:
            lock(&self.lock)
            memcpy(own, self.own, sizeof(own))
            count, first = self.nr_own, 1 if self.uses_mac else 2
            unlock(&self.lock)
        packed = [bytes(own[index][:16]) for index in range(first, count)]
        return tuple(str(IPv6Address(each)) for each in packed)

    def allow(self, address: str) -> None:
        """The card may have that one too, an address or a prefix: it was given it.

        ConfigError where it has too many already.
        """
        self.change([*self._allowed, address], self._reserved)

    def forget(self, address: str) -> None:
        """It may have it no more."""
        gone = written(prefix_of(address))
        self.change([each for each in self._allowed if each != gone], self._reserved)

    def disclaim(self, address: str) -> None:
        """Another card was given that IPv6 address, whether or not this one claimed it before."""
        cdef bytes packed = IPv6Address(address).packed
        cdef const char *gone = packed
        cdef uint32_t index = 2
        with nogil:
            lock(&self.lock)
            guard_change(&self.changes)
            while index < self.nr_own and memcmp(self.own[index], gone, 16) != 0:
                index += 1
            if index < self.nr_own:
                self.nr_own -= 1
                memmove(self.own[index], self.own[self.nr_own], 16)
            guard_change(&self.changes)
            unlock(&self.lock)

    def change(self, addresses: Iterable[str], reserved: Iterable[str]) -> None:
        """From now on those, and no others.  ConfigError."""
        cdef Prefixes allowed_now[2]
        cdef Prefixes reserved_now[2]
        allowed = {written(each): each for each in map(prefix_of, addresses)}
        kept = {written(each): each for each in map(prefix_of, reserved)}
        fill_prefixes(allowed_now, allowed.values())
        fill_prefixes(reserved_now, kept.values())
        with nogil:
            self.become(allowed_now, reserved_now)
        self._allowed, self._reserved = allowed, kept

    def counts(self) -> dict[str, Any]:
        """See Layer.counts; and its addresses, as far as they are known."""
        return {**Layer.counts(self), "enabled": self.enabled, "addresses": list(self.addresses),
                "claimed": list(self.own_addresses)}

    cdef void become(self, Prefixes *allowed, Prefixes *reserved) noexcept nogil:
        lock(&self.lock)
        guard_change(&self.changes)
        memcpy(self.allowed, allowed, sizeof(self.allowed))
        memcpy(self.reserved, reserved, sizeof(self.reserved))
        guard_change(&self.changes)
        unlock(&self.lock)

    cdef bint looks_inward(self) noexcept nogil:
        return self.direction == INWARD

    cdef int judge(self, Frame *frame, int direction) noexcept nogil:
        cdef Headers headers
        cdef int reason
        if direction != self.direction or not self.on:
            return PASS
        parse_frame(frame, &headers)
        if headers.bytes == NULL:
            return MALFORMED
        if big48(headers.bytes + 6) != self.mac:
            return MAC
        if headers.bytes[0] == 1 and big48(headers.bytes) & ~<uint64_t>15 == BPDU:
            return SWITCH
        if headers.flags & (BROKEN | IS_HIDDEN):
            return MALFORMED if headers.flags & BROKEN else HIDDEN
        if headers.kind == KIND_IPV4:
            return self.judge_ipv4(&headers)
        if headers.kind == KIND_IPV6:
            if self.claims is not None and headers.protocol == PROTOCOL_ICMPV6:
                self.see_claims(&headers)
            reason = self.judge_ipv6(&headers)
            return reason if reason != PASS else self.judge_discovery(frame, &headers)
        return self.judge_arp(&headers) if headers.kind == KIND_ARP else self.judge_other(&headers)

    # An address of a family that is not known may be any, but none that is reserved.
    cdef bint may_have(self, int family, const uint8_t *address) noexcept nogil:
        cdef uint32_t began
        cdef bint may
        while True:
            began = guard_began(&self.changes)
            may = ((self.allowed[family].count == 0 or is_among(&self.allowed[family], family, address))
                   and not is_among(&self.reserved[family], family, address))
            if not guard_changed(&self.changes, began):
                return may

    # What the parser did not look through, some receiver may: more tags, and SNAP with an EtherType (RFC 1042).
    cdef int judge_other(self, Headers *headers) noexcept nogil:
        cdef const uint8_t *llc = headers.bytes + headers.network
        cdef uint16_t ethertype = headers.ethertype
        if ethertype < LEAST_ETHERTYPE and headers.network + 8u <= headers.nr_bytes and big16(llc) == SNAP:
            ethertype = big16(llc + 6)
        if ethertype in (ETHERTYPE_VLAN, ETHERTYPE_QINQ, OLD_QINQ) or ethertype != headers.ethertype and ethertype in (
                ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP):
            return HIDDEN
        return PASS

    # RFC 826; a probe's sender has no address (RFC 5227).
    cdef int judge_arp(self, Headers *headers) noexcept nogil:
        cdef const uint8_t *arp = headers.bytes + headers.network
        if big48(arp + 8) != self.mac:
            return ARP_MAC
        return PASS if big32(arp + 14) == 0 or self.may_have(FAMILY4, arp + 14) else ARP_ADDRESS

    cdef int judge_ipv4(self, Headers *headers) noexcept nogil:
        cdef const uint8_t *source = ip_source(headers)
        if big32(source) == 0:                  # before it has one
            if headers.protocol != IGMP and not (
                    headers.protocol == PROTOCOL_UDP and headers.target_port == DHCP_SERVER_PORT):
                return IPV4
        elif not self.may_have(FAMILY4, source):
            return IPV4
        return self.judge_udp(headers) if headers.protocol == PROTOCOL_UDP else PASS

    cdef int judge_ipv6(self, Headers *headers) noexcept nogil:
        cdef const uint8_t *source = ip_source(headers)
        if memcmp(source, ZERO, 16) == 0:       # before it has one: who has this, who routes, whom do I listen to
            if headers.protocol != PROTOCOL_ICMPV6:
                return IPV6
        elif not self.may_have6(source):
            return IPV6
        return self.judge_udp(headers) if headers.protocol == PROTOCOL_UDP else PASS

    # No guest is a DHCP server: clients look at nothing but the port that an answer goes to.
    cdef int judge_udp(self, Headers *headers) noexcept nogil:
        cdef uint32_t chaddr = headers.payload + 28
        if headers.flags & LATER_FRAGMENT:
            return PASS                         # without its first one nobody takes it
        if headers.target_port == (DHCP_CLIENT_PORT if headers.kind == KIND_IPV4 else DHCPV6_CLIENT_PORT):
            return DHCP_SERVER
        if headers.kind == KIND_IPV4 and headers.target_port == DHCP_SERVER_PORT:
            if chaddr + 6 > headers.nr_bytes or headers.flags & FRAGMENT or big48(headers.bytes + chaddr) != self.mac:
                return DHCP_MAC
        return PASS

    cdef int judge_discovery(self, Frame *frame, Headers *headers) noexcept nogil:
        cdef const uint8_t *bytes = headers.bytes
        cdef uint32_t at = headers.payload
        cdef uint8_t kind
        if headers.protocol != PROTOCOL_ICMPV6 or headers.flags & LATER_FRAGMENT:
            return PASS
        kind = bytes[headers.transport]
        if kind < ROUTER_SOLICITATION or kind > REDIRECT:
            return PASS
        if kind == ROUTER_ADVERTISEMENT or kind == REDIRECT:
            return ROUTER
        if headers.flags & FRAGMENT or frame.length > headers.nr_bytes:
            return NEIGHBOUR
        if kind != ROUTER_SOLICITATION:
            if at + 16 > headers.end or (kind == NEIGHBOUR_ADVERTISEMENT and not self.may_have6(bytes + at)):
                return NEIGHBOUR
            at += 16
        while at + 8 <= headers.end:            # RFC 4861, 4.6: kind, length in units of 8
            if bytes[at + 1] == 0:
                return NEIGHBOUR
            if bytes[at] in (SOURCE_LINK_LAYER, TARGET_LINK_LAYER) and big48(bytes + at + 2) != self.mac:
                return NEIGHBOUR
            at += 8 * <uint32_t>bytes[at + 1]
        return PASS

    # What neighbour discovery says that is its own: what it asks whether anybody has it, answers for, and asks from.
    cdef void see_claims(self, const Headers *headers) noexcept nogil:
        cdef const uint8_t *source = ip_source(headers)
        cdef uint8_t kind
        if headers.transport == 0 or headers.flags & FRAGMENT or headers.payload + 16 > headers.end:
            return
        kind = headers.bytes[headers.transport]
        if kind != NEIGHBOUR_SOLICITATION and kind != NEIGHBOUR_ADVERTISEMENT:
            return
        if memcmp(source, ZERO, 16) != 0:
            self.claim(source)
        if kind == NEIGHBOUR_ADVERTISEMENT or memcmp(source, ZERO, 16) == 0:
            self.claim(headers.bytes + headers.payload)

    cdef void claim(self, const uint8_t *address) noexcept nogil:
        cdef uint8_t gone[16]
        cdef uint32_t index
        if self.has_own(address):
            self.uses_mac = self.uses_mac or memcmp(address, self.own[1], 16) == 0
            return
        if address[11] == 0xFF and address[12] == 0xFE:     # of another's MAC, be that one there yet or not
            return
        if not self.claims.covers(address) or is_among(&self.reserved[FAMILY6], FAMILY6, address):
            return
        if not self.claims.take(<void *>self, address, monotonic(), gone):
            return
        lock(&self.lock)
        guard_change(&self.changes)
        index = 2
        while index < self.nr_own and memcmp(self.own[index], gone, 16) != 0 and memcmp(
                self.own[index], address, 16) != 0:
            index += 1
        if index < MOST_CLAIMS + 2:
            memcpy(self.own[index], address, 16)
            self.nr_own = max(self.nr_own, index + 1)
        guard_change(&self.changes)
        unlock(&self.lock)

    cdef bint has_own(self, const uint8_t *address) noexcept nogil:
        cdef uint32_t began, index
        cdef bint has
        while True:
            began, has = guard_began(&self.changes), False
            for index in range(min(self.nr_own, <uint32_t>(MOST_CLAIMS + 2))):
                has = has or memcmp(self.own[index], address, 16) == 0
            if not guard_changed(&self.changes, began):
                return has

    # A link-local address is made by a guest itself (RFC 4291, 7217): any that is not reserved, unless it is known
    # which card has which.
    cdef bint may_have6(self, const uint8_t *address) noexcept nogil:
        cdef uint32_t began
        cdef bint may
        if self.claims is not None:
            if self.has_own(address):
                return True
            while True:
                began = guard_began(&self.changes)
                may = (is_among(&self.allowed[FAMILY6], FAMILY6, address)
                       and not is_among(&self.reserved[FAMILY6], FAMILY6, address))
                if not guard_changed(&self.changes, began):
                    return may
        if address[0] != 0xfe or address[1] & 0xc0 != 0x80:
            return self.may_have(FAMILY6, address)
        while True:
            began = guard_began(&self.changes)
            may = not is_among(&self.reserved[FAMILY6], FAMILY6, address)
            if not guard_changed(&self.changes, began):
                return may


cdef inline uint64_t big48(const uint8_t *bytes) noexcept nogil:
    return <uint64_t>big16(bytes) << 32 | big32(bytes + 2)


cdef bint is_among(Prefixes *prefixes, int family, const uint8_t *address) noexcept nogil:
    cdef Prefix *prefix
    cdef uint32_t index, byte, different, size = 16 if family == FAMILY6 else 4
    for index in range(min(prefixes.count, <uint32_t>MOST_ADDRESSES)):
        prefix, different = &prefixes.of[index], 0
        for byte in range(size):
            different |= (address[byte] ^ prefix.address[byte]) & prefix.mask[byte]
        if different == 0:
            return True
    return False


def prefix_of(text: str) -> IPv4Network | IPv6Network:
    """An address, or a prefix, as it is written.  ConfigError."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(f"'{text}' is no address: write one such as 10.0.2.15 or fd00::2, or a prefix, fd00::/64"
                          ) from None


cdef str written(object network):
    return str(network.network_address) if network.num_addresses == 1 else str(network)


cdef int fill_prefixes(Prefixes *prefixes, object networks) except -1:
    cdef Prefixes *family
    cdef bytes address, mask
    memset(prefixes, 0, 2 * sizeof(Prefixes))
    for network in networks:
        family = &prefixes[FAMILY4 if network.version == 4 else FAMILY6]
        if family.count == MOST_ADDRESSES:
            raise ConfigError(f"a card has {MOST_ADDRESSES} addresses of a kind at the most; write a prefix")
        address, mask = network.network_address.packed, network.netmask.packed
        memcpy(family.of[family.count].address, <const char *>address, len(address))
        memcpy(family.of[family.count].mask, <const char *>mask, len(mask))
        family.count += 1
    return 0
