"""Who may speak with whom: rules, of which the first that matches decides; what none matches is allowed.

Unless it is told to be stateless, answers to what was allowed are allowed, whatever the rules for the way back say:
those of the same addresses and ports, and ICMP errors about them.  What begins something, a SYN or an echo request, is
always judged by the rules.

A rule for ports is asked of packets that hide theirs too, a later fragment, or headers that do not end within a
frame's head: where all else of it matches, whatever it says, the packet is dropped as `hidden`.  So is what hides its
protocol from a rule for protocols.

What a guest needs to keep its addresses is judged by no rule: neighbour discovery, MLD, and DHCP as a client; and ARP
by such alone as name it.
"""

import os
import re
from ipaddress import ip_network
from typing import Any

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from xenia.machine.lock cimport lock, unlock
from xenia.net.frame cimport Frame
from xenia.net.layer cimport INWARD, OUTWARD, PASS, Layer
from xenia.net.layers.flows cimport (
    NR_SETS, WAYS, Flow, begins, flow_of, flow_of_error, flow_saw, flows_count, flows_find, flows_remember)
from xenia.machine.loop cimport monotonic
from xenia.net.parse cimport (
    BROKEN, FRAGMENT, HIDDEN as IS_HIDDEN, KIND_ARP, KIND_IPV4, KIND_IPV6, LATER_FRAGMENT, PROTOCOL_ICMPV6,
    PROTOCOL_UDP, Headers, ip_source, ip_target, parse_frame)
from xenia.net.port cimport Port

from xenia.net.layers.rules import ANY, ARP, Rules

cdef enum:                          # reasons
    RULE = 1
    HIDDEN = 2
    MALFORMED = 3

cdef enum:                          # whether a rule is about a frame
    NO = 0
    YES = 1
    CANNOT_TELL = 2

cdef enum:
    ANY_PROTOCOL = -1
    ARP_PROTOCOL = 256

assert ANY == ANY_PROTOCOL and ARP == ARP_PROTOCOL


cdef class Firewall(Layer):
    """Over a port, with these rules; without any it is not there."""

    def __init__(self, Port lower not None, rules: Rules) -> None:
        Layer.__init__(self, lower)
        self.flows.secret = int.from_bytes(os.urandom(8))
        self.configure(rules)

    def __dealloc__(self):
        free(self.rules)
        free(self.flows.entries)

    @property
    def kind(self) -> str:
        """See Layer.kind."""
        return "firewall"

    @property
    def reasons(self) -> tuple[str, ...]:
        """See Layer.reasons."""
        return ("rule", "hidden", "malformed")

    def configure(self, rules: Rules) -> None:
        """From now on those: what was allowed before is judged anew."""
        cdef FirewallRule *now = <FirewallRule *>calloc(max(len(rules.rules), 1), sizeof(FirewallRule))
        cdef FirewallRule *before
        cdef Flow *entries = NULL
        cdef Flow *entries_before
        cdef int index, count = len(rules.rules)
        if rules.stateful and count:
            entries = <Flow *>calloc(NR_SETS * WAYS, sizeof(Flow))
        if now == NULL or (rules.stateful and count and entries == NULL):
            free(now)
            free(entries)
            raise MemoryError
        for index in range(count):
            fill_rule(&now[index], rules.rules[index])
        with nogil:
            lock(&self.lock)
            before, self.rules, self.nr_rules = self.rules, now, count
            entries_before, self.flows.entries = self.flows.entries, entries
            self.off = count == 0
            unlock(&self.lock)
            free(before)
            free(entries_before)
        self.said = rules

    def counts(self) -> dict[str, Any]:
        """See Layer.counts; and how many rules there are, and flows that are remembered."""
        cdef int count
        with nogil:
            lock(&self.lock)
            count = flows_count(&self.flows, self.now())
            unlock(&self.lock)
        return {**Layer.counts(self), "rules": self.nr_rules, "flows": count}

    cdef uint32_t now(self) noexcept nogil:
        return <uint32_t>(monotonic() // 1000000000)

    cdef int judge(self, Frame *frame, int direction) noexcept nogil:
        cdef Headers headers
        cdef int verdict
        parse_frame(frame, &headers)
        if headers.flags & BROKEN:
            return MALFORMED
        if keeps_addresses(&headers, direction):
            return PASS
        lock(&self.lock)
        verdict = self.decide(&headers, direction)
        unlock(&self.lock)
        return verdict

    cdef int decide(self, const Headers *headers, int direction) noexcept nogil:
        cdef Flow flow
        cdef Flow *known = NULL
        cdef bint has_flow
        cdef uint32_t now
        cdef int verdict
        if self.flows.entries == NULL or (headers.kind != KIND_IPV4 and headers.kind != KIND_IPV6):
            return self.judge_by_rules(headers, direction)
        now = self.now()
        if flow_of_error(headers, direction, &flow) and flows_find(&self.flows, &flow, now) != NULL:
            return PASS
        has_flow = flow_of(headers, direction, &flow)
        if has_flow:
            known = flows_find(&self.flows, &flow, now)
        if known == NULL or begins(headers):
            verdict = self.judge_by_rules(headers, direction)
            if verdict != PASS or not has_flow:
                return verdict
            if known == NULL:
                flow.seen_from, flow.ended_from = 0, 0
                flows_remember(&self.flows, &flow, now)
                known = flows_find(&self.flows, &flow, now)
        if known != NULL:
            flow_saw(known, headers, direction, now)
        return PASS

    cdef int judge_by_rules(self, const Headers *headers, int direction) noexcept nogil:
        cdef int index, about
        for index in range(self.nr_rules):
            if not self.rules[index].directions & (1 << direction):
                continue
            about = is_about(&self.rules[index], headers)
            if about == CANNOT_TELL:
                return HIDDEN
            if about == YES:
                return PASS if self.rules[index].allow else RULE
        return PASS


# Neighbour discovery, MLD, and DHCP as a client.
cdef bint keeps_addresses(const Headers *headers, int direction) noexcept nogil:
    cdef uint8_t kind
    cdef uint16_t client, server
    if headers.flags & (FRAGMENT | IS_HIDDEN) or headers.transport == 0:
        return False
    if headers.protocol == PROTOCOL_ICMPV6 and headers.kind == KIND_IPV6:
        kind = headers.bytes[headers.transport]
        return 130 <= kind <= 137 or kind == 143
    if headers.protocol != PROTOCOL_UDP:
        return False
    client = 68 if headers.kind == KIND_IPV4 else 546
    server = client - 1 if headers.kind == KIND_IPV4 else client + 1
    if direction == OUTWARD:
        return headers.source_port == client and headers.target_port == server
    return headers.source_port == server and headers.target_port == client


cdef int is_about(const FirewallRule *rule, const Headers *headers) noexcept nogil:
    cdef bint ip = headers.kind == KIND_IPV4 or headers.kind == KIND_IPV6
    if not is_end(&rule.source, headers, True) or not is_end(&rule.target, headers, False):
        return NO
    if rule.protocol == ANY_PROTOCOL:
        return NO if headers.kind == KIND_ARP else YES
    if rule.protocol == ARP_PROTOCOL:
        return YES if headers.kind == KIND_ARP else NO
    if not ip:
        return NO
    if hides_protocol(headers):
        return CANNOT_TELL
    if rule.protocol != headers.protocol:
        return NO
    if not rule.has_ports and not rule.has_source_ports:
        return YES
    if headers.flags & (LATER_FRAGMENT | IS_HIDDEN) or headers.transport == 0:
        return CANNOT_TELL
    if rule.has_ports and not rule.ports[0] <= headers.target_port <= rule.ports[1]:
        return NO
    if rule.has_source_ports and not rule.source_ports[0] <= headers.source_port <= rule.source_ports[1]:
        return NO
    return YES


# A later fragment of IPv6 may begin with anything (RFC 7112); the headers before others may not end in the head.
cdef inline bint hides_protocol(const Headers *headers) noexcept nogil:
    if headers.kind == KIND_IPV4:
        return False
    if headers.flags & LATER_FRAGMENT:
        return headers.protocol in (0, 43, 44, 51, 60, 135, 139, 140)
    return headers.flags & IS_HIDDEN and headers.transport == 0


cdef bint is_end(const End *end, const Headers *headers, bint source) noexcept nogil:
    cdef const uint8_t *address
    cdef uint32_t size, index, different = 0
    if end.kind == END_ANY:
        return True
    if end.kind == END_MAC:
        address, size = headers.bytes + (6 if source else 0), 6
    elif headers.kind != (KIND_IPV4 if end.kind == END_IPV4 else KIND_IPV6):
        return False
    else:
        address, size = ip_source(headers) if source else ip_target(headers), 4 if end.kind == END_IPV4 else 16
    for index in range(size):
        different |= (address[index] ^ end.address[index]) & end.mask[index]
    return different == 0


cdef int fill_rule(FirewallRule *rule, object said) except -1:
    rule.directions = {"in": 1 << INWARD, "out": 1 << OUTWARD, "any": 1 << INWARD | 1 << OUTWARD}[said.direction]
    rule.allow, rule.protocol = said.allow, said.protocol
    if said.ports is not None:
        rule.has_ports = True
        rule.ports[0], rule.ports[1] = said.ports
    if said.source_ports is not None:
        rule.has_source_ports = True
        rule.source_ports[0], rule.source_ports[1] = said.source_ports
    fill_end(&rule.source, said.source)
    fill_end(&rule.target, said.destination)
    return 0


cdef int fill_end(End *end, object text) except -1:
    cdef bytes address, mask
    if text is None:
        return 0
    if re.fullmatch("[0-9a-f:]{17}", text) and text.count(":") == 5:
        end.kind, address, mask = END_MAC, bytes.fromhex(text.replace(":", "")), b"\xff" * 6
    else:
        network = ip_network(text)
        end.kind = END_IPV4 if network.version == 4 else END_IPV6
        address, mask = network.network_address.packed, network.netmask.packed
    memcpy(end.address, <const char *>address, len(address))
    memcpy(end.mask, <const char *>mask, len(mask))
    return 0
