"""A user-mode network's way out: a port behind which libslirp carries TCP, UDP and echoes to the host's sockets.

What is sent into the port is judged (`gate`), put in one piece, and given to the stack of the guest that it came from
(`stack`), in the caller's thread.  What stacks make waits in an outbox until the lock is let go, and is delivered in
batches.  Their sockets and timers are a source of a loop's.

A guest's segments are taken as long as it makes them, up to 64 KB; and a stack's are as long, for guests that take such
(`segments`).  What addresses and names guests have is not the stacks' to say: those packets go aside, to Python.
"""

from collections.abc import Mapping

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove, memset
from xenia.machine.lock cimport RANK_NAT, lock, lock_init, unlock
from xenia.net.frame cimport BATCH, MOST_BYTES, Frame, iovec
from xenia.machine.loop cimport PollSet, Source, monotonic
from xenia.net.nat.answer cimport LONGEST_ANSWER, refusal
from xenia.net.nat.asides cimport Asides
from xenia.net.nat.flows cimport ADMITTED, FULL, HURRIED, Admission, Flows
from xenia.net.nat.fragments cimport Fragments
from xenia.net.nat.gate cimport ADDRESSED, DROPPED, PASSED, REFUSED, SPOOFED, Gate, Verdict
from xenia.net.nat.outbox cimport Parcel, outbox_clear, outbox_init, outbox_take
from xenia.net.nat.slirp cimport HOSTFWD_UDP, library, sockaddr, socklen_t
from xenia.net.nat.stack cimport MOST_PINS, Common, Stack
from xenia.net.parse cimport (
    FRAGMENT, KIND_IPV4, KIND_IPV6, PROTOCOL_ICMP, PROTOCOL_UDP, Headers, ip_source, ip_target, parse_frame,
)
from xenia.net.port cimport Port
from xenia.net.share cimport Share, waste

import os
import socket

from xenia.net.nat.plan import Plan
from xenia.net.nat.sockets import socket_address

cdef extern from "<pthread.h>" nogil:
    unsigned long pthread_self()


cdef enum:
    ONE_GUEST = 2                   # stacks: its own, and that of those who have none
    DATAGRAM = 20000                # ns between two of a guest's to servers of the host's by UDP, in the long run


cdef class NatSource(Source):
    """The network's sockets and timers."""

    cdef void fill(self, PollSet polls) noexcept nogil:
        self.nat.fill(polls)

    cdef void serve(self, PollSet polls) noexcept nogil:
        self.nat.serve(polls)


cdef class Nat(Port):
    """The way out of the network of this plan.  Precondition: libslirp is loaded (`slirp.load`).

    room    descriptors that the process may have
    flows   connections that one guest may have
    share   of the loop's time that those have together who have none of their own; None: as much as they like
    """

    def __cinit__(self):
        lock_init(&self.lock, RANK_NAT)
        outbox_init(&self.common.outbox)

    def __init__(self, plan: Plan, room: int = 4096, flows: int = 2048, Share share = None) -> None:
        self.gate = Gate(plan.subnet, plan.gateway, plan.nameserver, plan.subnet6, plan.gateway6, plan.nameserver6)
        self.flows = Flows(room, flows)
        self.fragments = Fragments()
        self.asides = Asides()
        self.common.mtu = plan.mtu
        self.common.identification = int.from_bytes(os.urandom(4), "little")
        self.common.macs = <uint64_t *>calloc(plan.subnet.num_addresses, sizeof(uint64_t))
        self.whole = <uint8_t *>malloc(MOST_BYTES)
        if self.whole == NULL or self.common.macs == NULL:
            raise MemoryError
        self.led = {}
        self.become({0: self.new_stack(0, share)})
        self.source = NatSource()
        self.source.nat = self

    def __dealloc__(self):
        cdef Stack stack
        for stack in (self.stacks_by_mac or {}).values():
            stack.end()
        outbox_clear(&self.common.outbox)
        free(self.stacks)
        free(self.whole)
        free(self.common.macs)

    def close(self) -> None:
        """Reset all connections.  Again does nothing.  Precondition: nobody is at the port, and no loop serves it."""
        cdef int index
        with nogil:
            lock(&self.lock)
            for index in range(self.nr_stacks):
                (<Stack>self.stacks[index]).end()
            outbox_clear(&self.common.outbox)
            unlock(&self.lock)
        self.source.nat = None

    def enter(self, mac: bytes, Share share = None) -> None:
        """Have a guest with a stack, and a share of the loop's time, of its own; those beyond 1023 share one.

        OSError: the process has no descriptor left.
        """
        cdef uint64_t key = int.from_bytes(mac, "little")
        if key not in self.stacks_by_mac and len(self.stacks_by_mac) < MOST_STACKS:
            self.become({**self.stacks_by_mac, key: self.new_stack(key, share)})
            self.source.wake()

    def forget(self, mac: bytes) -> None:
        """It is gone: end its connections, and the forwards to it that are its own stack's."""
        cdef uint64_t key = int.from_bytes(mac, "little")
        cdef Stack stack = self.stacks_by_mac.get(key) if key else None
        if stack is not None:
            self.become({other: kept for other, kept in self.stacks_by_mac.items() if other != key})
            with nogil:
                lock(&self.lock)
                stack.end()
                unlock(&self.lock)
            self.source.wake()
        if key:                                 # what it has in the first one
            with nogil:
                lock(&self.lock)
                self.flows.hang_up(key)
                unlock(&self.lock)

    def pinned_addresses(self, mac: bytes) -> list[str]:
        """The IPv4 addresses which that guest used, and to which forwards lead though it was not known to have them."""
        cdef uint64_t key = int.from_bytes(mac, "little")
        return [each for each in set(self.led.values()) if ":" not in each and self.heard_from(each) == key]

    cdef uint64_t heard_from(self, str address):
        """The MAC of who sent from an IPv4 address; 0: nobody did."""
        cdef bytes packed = socket.inet_aton(address)
        return self.common.macs[self.gate.place_of(<const uint8_t *><const char *>packed)]

    cdef new_stack(self, uint64_t mac, Share share):
        cdef Stack stack = Stack(self.gate, self.flows, share)
        stack.begin(&self.common, mac)
        return stack

    cdef become(self, dict stacks):
        cdef int index, at, count = len(stacks)
        cdef void **entries = <void **>malloc(count * sizeof(void *))
        cdef void **before
        if entries == NULL:
            raise MemoryError
        for index, stack in enumerate(stacks.values()):
            entries[index] = <void *>stack
        with nogil:
            lock(&self.lock)
            before, self.stacks, self.nr_stacks = self.stacks, entries, count
            memset(self.places, 0, sizeof(self.places))
            for index in range(1, count):
                at = place_for((<Stack>entries[index]).mac)
                while self.places[at] != NULL:
                    at = (at + 1) % PLACES
                self.places[at] = entries[index]
            unlock(&self.lock)
            free(before)
        self.stacks_by_mac = stacks

    cdef Stack stack_of(self, bytes mac, str address):
        """Of who has that MAC; None: who sent from that address."""
        cdef uint64_t key = int.from_bytes(mac or b"", "little")
        if not key and ":" not in address:
            key = self.heard_from(address)
        return self.stacks_by_mac.get(key, self.stacks_by_mac[0])

    @property
    def asides_descriptor(self) -> int:
        """Readable where there are packets for our own servers."""
        return self.asides.descriptor

    def take_asides(self) -> list[bytes]:
        """Those packets, each a frame."""
        with nogil:
            lock(&self.lock)
        try:
            return self.asides.take()
        finally:
            unlock(&self.lock)

    def put(self, frame: bytes) -> None:
        """Send a frame to the guests, whole and summed."""
        cdef const uint8_t *bytes = <const uint8_t *><const char *>frame
        cdef uint32_t length = len(frame)
        with nogil:
            lock(&self.lock)
            (<Stack>self.stacks[0]).emit(bytes, length)
            unlock(&self.lock)
            self.leave()

    def forward(self, protocol: str, host: tuple[str, int], guest: tuple[str, int], mac: bytes | None = None) -> None:
        """Have what connects to `host` reach `guest`: an address and a port each; it has that MAC, where that is known.
        OSError where it cannot be had."""
        cdef bytes here = socket_address(*host), there = socket_address(*guest)
        cdef const char *host_bytes = here
        cdef const char *guest_bytes = there
        cdef socklen_t host_size = len(here), guest_size = len(there)
        cdef int failed, number = 0, flags = HOSTFWD_UDP if protocol == "udp" else 0
        cdef Stack stack = self.stack_of(mac, guest[0])
        cdef bytes packed = packed_address(guest[0])
        cdef const char *address = packed
        cdef int size = len(packed)
        cdef bint pinned = stack is self.stacks_by_mac[0]
        with nogil:
            lock(&self.lock)
            failed = library.slirp_add_hostxfwd(stack.slirp, <const sockaddr *>host_bytes, host_size,
                                                <const sockaddr *>guest_bytes, guest_size, flags)
            number = errno
            stack.touched = True
            if pinned and not failed:
                self.pin(address, size, True)
            unlock(&self.lock)
        if failed:
            raise OSError(number, os.strerror(number))
        if pinned:
            self.led[protocol, host] = guest[0]
        self.source.wake()

    def unforward(self, protocol: str, host: tuple[str, int]) -> bool:
        """Have it no more, nor what is connected by it; whether it was."""
        cdef bytes here = socket_address(*host)
        cdef const char *host_bytes = here
        cdef socklen_t host_size = len(here)
        cdef int index, ended = 0, flags = HOSTFWD_UDP if protocol == "udp" else 0
        cdef str led = self.led.pop((protocol, host), None)
        cdef bint unpinned = led is not None and led not in self.led.values()
        cdef bytes packed = packed_address(led) if unpinned else b""
        cdef const char *address = packed
        cdef int size = len(packed)
        with nogil:
            lock(&self.lock)        # it takes the first socket with this address, which a connection's is too
            for index in range(self.nr_stacks):
                while library.slirp_remove_hostxfwd((<Stack>self.stacks[index]).slirp, <const sockaddr *>host_bytes,
                                                    host_size, flags) == 0:
                    (<Stack>self.stacks[index]).touched = True
                    ended += 1
            if unpinned:
                self.pin(address, size, False)
            unlock(&self.lock)
        self.source.wake()
        return ended > 0

    def list_flows(self) -> list[dict[str, object]]:
        """The connections that guests have."""
        with nogil:
            lock(&self.lock)
        try:
            return self.flows.listed()
        finally:
            unlock(&self.lock)

    @property
    def statistics(self) -> Mapping[str, int]:
        """What came and went, and what did not get through."""
        counters = self.counters
        return {**counters, "outbox_dropped": self.common.outbox.nr_dropped, "asides_dropped": self.asides.nr_dropped,
                "sockets": self.flows.count}

    cdef void *place_of(self, const Headers *headers) noexcept nogil:
        """The stack of who sent this."""
        cdef uint64_t key = 0
        cdef int at
        cdef int size = 16 if headers.kind == KIND_IPV6 else 4 if headers.kind == KIND_IPV4 else 0
        for at in range(self.common.nr_pins):
            if self.common.pin_sizes[at] == size and memcmp(self.common.pins[at], ip_source(headers), size) == 0:
                return self.stacks[0]
        memcpy(&key, headers.bytes + 6, 6)
        at = place_for(key)
        while self.places[at] != NULL:
            if (<Stack>self.places[at]).mac == key:
                return self.places[at]
            at = (at + 1) % PLACES
        return self.stacks[0]

    cdef void pin(self, const void *address, int size, bint pinned) noexcept nogil:
        """Whether all that this address sends goes to the first stack, as the forwards to it do."""
        cdef int index = 0
        cdef Common *common = &self.common
        while index < common.nr_pins and (common.pin_sizes[index] != size
                                          or memcmp(common.pins[index], address, size) != 0):
            index += 1
        if index < common.nr_pins and not pinned:
            common.nr_pins -= 1
            common.pin_sizes[index] = common.pin_sizes[common.nr_pins]
            memmove(common.pins[index], common.pins[common.nr_pins], 16)
        elif index == common.nr_pins < MOST_PINS and pinned:
            memcpy(common.pins[index], address, size)
            common.pin_sizes[index] = size
            common.nr_pins += 1

    # --- from the guests ---------------------------------------------------------------------------------------------

    cdef int send(self, Frame *frames, int count) noexcept nogil:
        cdef int index
        cdef int64_t now = monotonic()
        lock(&self.lock)
        for index in range(count):
            self.counters.frames_in += 1
            self.counters.bytes_in += frames[index].length
            self.take(&frames[index], now)
        unlock(&self.lock)
        self.leave()
        if self.thread != pthread_self():
            self.source.wake()
        return count

    cdef void take(self, Frame *frame, int64_t now) noexcept nogil:
        cdef Headers headers
        cdef Verdict verdict
        cdef uint32_t part, at = 0
        parse_frame(frame, &headers)
        verdict = self.gate.judge(&headers, now)
        if verdict == DROPPED or verdict == SPOOFED or frame.length > MOST_BYTES:
            self.counters.dropped += verdict == DROPPED
            self.counters.spoofed += verdict == SPOOFED
            waste(1)
            return
        for part in range(frame.nr_parts):
            memcpy(self.whole + at, frame.parts[part].iov_base, frame.parts[part].iov_len)
            at += frame.parts[part].iov_len
        headers.bytes, headers.nr_bytes = self.whole, frame.length
        if verdict == PASSED and headers.flags & FRAGMENT:
            self.take_fragment(&headers, now)
        elif verdict == PASSED:
            self.take_in(&headers, frame, now)
        else:
            self.answer(&headers, frame, verdict, now)

    cdef void answer(self, Headers *headers, const Frame *frame, Verdict verdict, int64_t now) noexcept nogil:
        """What the network answers itself, to each guest only so often."""
        cdef void *stack = self.place_of(headers)
        self.counters.refused += verdict == REFUSED
        if not (<Stack>stack).may_ask(headers, verdict, now):
            self.counters.hurried += 1
            waste(1)
        elif verdict == REFUSED:
            self.refuse(headers)
        elif verdict == ADDRESSED:
            (<Stack>stack).take(self.whole, headers, frame, now)
        elif not self.asides.put(self.whole, headers.end):
            waste(1)

    cdef void take_fragment(self, const Headers *headers, int64_t now) noexcept nogil:
        cdef Frame frame
        cdef iovec part
        part.iov_base = <void *>self.fragments.take(headers, now, &frame.length)
        if part.iov_base != NULL:
            part.iov_len = frame.length
            memset(&frame.header, 0, sizeof(frame.header))
            frame.nr_parts, frame.parts = 1, &part
            self.take(&frame, now)

    cdef void take_in(self, Headers *headers, const Frame *frame, int64_t now) noexcept nogil:
        cdef bint within = headers.protocol == PROTOCOL_ICMP and self.gate.is_ours(ip_target(headers))
        cdef Admission admitted = ADMITTED if within else self.flows.admits(headers, now)
        cdef void *stack
        if admitted == ADMITTED:
            stack = self.place_of(headers)
            (<Stack>stack).take(self.whole, headers, frame, now)
            if headers.protocol == PROTOCOL_UDP and self.gate.is_gateway(headers):
                self.meter(stack, now)
            return
        waste(1)
        self.counters.full += admitted == FULL
        self.counters.hurried += admitted == HURRIED
        if admitted == FULL and (<Stack>self.place_of(headers)).may_ask(headers, REFUSED, now):
            self.refuse(headers)

    cdef void meter(self, void *stack, int64_t now) noexcept nogil:
        """A datagram to a server of the host's: one guest could fill its socket for all, and nobody would be told."""
        if self.nr_stacks > ONE_GUEST and (<Stack>stack).share is not None:
            (<Stack>stack).share.hold(now, DATAGRAM)

    cdef void refuse(self, const Headers *headers) noexcept nogil:
        cdef uint8_t answer[LONGEST_ANSWER]
        cdef uint32_t length = refusal(headers, self.whole, answer)
        if length:
            (<Stack>self.place_of(headers)).emit(answer, length)

    # --- to the guests -----------------------------------------------------------------------------------------------

    cdef void leave(self) noexcept nogil:
        """Deliver what waits, in order: by one thread at a time, and with no lock held."""
        cdef Parcel *parcels[BATCH]
        cdef Frame frames[BATCH]
        cdef int index, count
        while True:
            lock(&self.lock)
            if self.leaving:
                unlock(&self.lock)
                return
            count = outbox_take(&self.common.outbox, parcels)
            self.leaving = count > 0
            unlock(&self.lock)
            if count == 0:
                return
            for index in range(count):
                frames[index] = parcels[index].frame
                self.counters.bytes_out += frames[index].length
            self.counters.frames_out += count
            self.deliver(frames, count)
            for index in range(count):
                free(parcels[index])
            lock(&self.lock)
            self.leaving = False
            unlock(&self.lock)

    # --- its sockets and timers: on the loop's thread ----------------------------------------------------------------

    cdef void fill(self, PollSet polls) noexcept nogil:
        cdef int index
        cdef int64_t now
        lock(&self.lock)
        now = monotonic()
        self.thread = pthread_self()
        for index in range(self.nr_stacks):
            (<Stack>self.stacks[index]).fill(polls, now)
        unlock(&self.lock)

    cdef void serve(self, PollSet polls) noexcept nogil:
        cdef int index
        cdef int64_t now
        lock(&self.lock)
        now = monotonic()
        for index in range(self.nr_stacks):
            now = (<Stack>self.stacks[index]).serve(polls, now)
        unlock(&self.lock)
        self.leave()


cdef bytes packed_address(str address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


cdef int place_for(uint64_t mac) noexcept nogil:
    return (mac * 0x9E3779B97F4A7C15ULL >> 40) % PLACES
