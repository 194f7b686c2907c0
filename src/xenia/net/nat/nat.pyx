"""A user-mode network's way out: a port behind which libslirp carries TCP, UDP and echoes to the host's sockets.

What is sent into the port is judged (`gate`), put in one piece, and given to the stack in the caller's thread.  What
the stack makes waits in an outbox until its lock is let go, and is delivered in batches.  Its sockets and timers are a
source of a loop's.

A guest's segments are taken as long as it makes them, up to 64 KB; and the stack's are as long, for guests that take
such (`segments`).  What addresses and names guests have is not the stack's to say: those packets go aside, to Python.
"""

from collections.abc import Mapping

from libc.errno cimport errno
from libc.stdint cimport UINT32_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from xenia.machine.lock cimport RANK_NAT, lock, lock_init, unlock
from xenia.net.frame cimport BATCH, DATA_VALID, MOST_BYTES, NEEDS_CSUM, Frame, iovec
from xenia.net.loop cimport POLLERR, POLLHUP, POLLIN, POLLOUT, PollSet, Source, monotonic
from xenia.net.nat.answer cimport LONGEST_ANSWER, fill_in, refusal
from xenia.net.nat.asides cimport Asides
from xenia.net.nat.endings cimport RESET_BYTES, Endings
from xenia.net.nat.flows cimport Flows
from xenia.net.nat.fragments cimport Fragments
from xenia.net.nat.gate cimport ASIDE, DROPPED, ECHOED, PASSED, SPOOFED, Gate, Verdict
from xenia.net.nat.outbox cimport Parcel, outbox_add, outbox_clear, outbox_fragment, outbox_init, outbox_take
from xenia.net.nat.peek cimport ETHERNET, is_fin, is_udp
from xenia.net.nat.segments cimport SegmentSizes
from xenia.net.nat.slirp cimport (
    HOSTFWD_UDP, IF_MTU_MAX, SLIRP_ERR, SLIRP_HUP, SLIRP_IN, SLIRP_OUT, SLIRP_PRI, SlirpConfig, TimerCallback,
    configured, library, sockaddr, socklen_t,
)
from xenia.net.nat.timers cimport timer_free, timer_mod, timer_new, timers_fill, timers_fire
from xenia.net.parse cimport (
    ETHERTYPE_ARP, FRAGMENT, KIND_IPV4, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, TCP_FIN, TCP_SYN, Headers, big16,
    ip_source, ip_target, parse_frame,
)
from xenia.net.port cimport Port

import os

from xenia.net.nat.plan import Plan
from xenia.net.nat.sockets import socket_address

cdef extern from "<pthread.h>" nogil:
    unsigned long pthread_self()

cdef extern from "<poll.h>" nogil:
    short POLLPRI

cdef enum:
    ARP_BYTES = 42                  # RFC 826, over Ethernet for IPv4
    ARP_REQUEST = 1
    ARP_REPLY = 2
    SMALL = 14 + 20 + 20 + 536      # what no guest needs cut
    OFFER = 32 * 1024               # data of the stack's segments: two of them in the greatest window
    IDLE = 1000                     # ms: how long libslirp sleeps where it waits for nothing
    MS = 1000000                    # in ns


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
    """

    def __cinit__(self):
        lock_init(&self.lock, RANK_NAT)
        outbox_init(&self.outbox)

    def __init__(self, plan: Plan, room: int = 4096, flows: int = 2048) -> None:
        cdef SlirpConfig config
        self.gate = Gate(plan.subnet, plan.gateway, plan.nameserver, plan.subnet6, plan.gateway6, plan.nameserver6)
        self.flows = Flows(room, flows)
        self.fragments = Fragments()
        self.asides = Asides()
        self.segments = SegmentSizes()
        self.endings = Endings()
        self.mtu = plan.mtu
        self.identification = int.from_bytes(os.urandom(4), "little")
        self.whole = <uint8_t *>malloc(MOST_BYTES)
        self.macs = <uint64_t *>calloc(plan.subnet.num_addresses, sizeof(uint64_t))
        if self.whole == NULL or self.macs == NULL:
            raise MemoryError
        memset(&config, 0, sizeof(config))
        config.version = configured()
        self.configure(&config)
        self.slirp = library.slirp_new(&config, &self.callbacks, <void *>self)
        if self.slirp == NULL:
            raise MemoryError
        self.source = NatSource()
        self.source.nat = self

    def __dealloc__(self):
        if self.slirp != NULL:
            library.slirp_cleanup(self.slirp)
        outbox_clear(&self.outbox)
        free(self.whole)
        free(self.macs)

    def close(self) -> None:
        """Reset all connections.  Again does nothing.  Precondition: nobody is at the port, and no loop serves it."""
        with nogil:
            lock(&self.lock)
            if self.slirp != NULL:
                library.slirp_cleanup(self.slirp)
                self.slirp = NULL
            outbox_clear(&self.outbox)
            unlock(&self.lock)
        self.source.nat = None

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
            self.emit(bytes, length)
            unlock(&self.lock)
            self.leave()

    def forward(self, protocol: str, host: tuple[str, int], guest: tuple[str, int]) -> None:
        """Have what connects to `host` reach `guest`: an address and a port each.  OSError where it cannot be had."""
        cdef bytes here = socket_address(*host), there = socket_address(*guest)
        cdef const char *host_bytes = here
        cdef const char *guest_bytes = there
        cdef socklen_t host_size = len(here), guest_size = len(there)
        cdef int failed, number = 0, flags = HOSTFWD_UDP if protocol == "udp" else 0
        with nogil:
            lock(&self.lock)
            failed = library.slirp_add_hostxfwd(self.slirp, <const sockaddr *>host_bytes, host_size,
                                                <const sockaddr *>guest_bytes, guest_size, flags)
            number = errno
            unlock(&self.lock)
        if failed:
            raise OSError(number, os.strerror(number))
        self.source.wake()

    def unforward(self, protocol: str, host: tuple[str, int]) -> bool:
        """Have it no more, nor what is connected by it; whether it was."""
        cdef bytes here = socket_address(*host)
        cdef const char *host_bytes = here
        cdef socklen_t host_size = len(here)
        cdef int ended = 0, flags = HOSTFWD_UDP if protocol == "udp" else 0
        with nogil:
            lock(&self.lock)        # it takes the first socket with this address, which a connection's is too
            while library.slirp_remove_hostxfwd(self.slirp, <const sockaddr *>host_bytes, host_size, flags) == 0:
                ended += 1
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
        return {**counters, "outbox_dropped": self.outbox.nr_dropped, "asides_dropped": self.asides.nr_dropped,
                "sockets": self.flows.count}

    cdef void configure(self, SlirpConfig *config) noexcept nogil:
        config.in_enabled = True
        memcpy(&config.vnetwork, self.gate.network, 4)
        memcpy(&config.vnetmask, self.gate.mask, 4)
        memcpy(&config.vhost, self.gate.gateway, 4)
        memcpy(&config.vdhcp_start, self.gate.gateway, 4)
        memcpy(&config.vnameserver, self.gate.nameserver, 4)
        config.in6_enabled = self.gate.has6
        memcpy(&config.vprefix_addr6, self.gate.prefix6, 8)
        config.vprefix_len = 64
        memcpy(&config.vhost6, self.gate.gateway6, 16)
        memcpy(&config.vnameserver6, self.gate.nameserver6, 16)
        config.if_mtu = config.if_mru = IF_MTU_MAX
        config.disable_dhcp = True
        self.callbacks.send_packet = on_packet
        self.callbacks.guest_error = on_guest_error
        self.callbacks.clock_get_ns = on_clock
        self.callbacks.timer_new = on_timer_new
        self.callbacks.timer_free = timer_free
        self.callbacks.timer_mod = timer_mod
        self.callbacks.register_poll_fd = on_socket
        self.callbacks.unregister_poll_fd = on_socket_gone
        self.callbacks.notify = on_notify

    # --- from the guests ---------------------------------------------------------------------------------------------

    cdef int send(self, Frame *frames, int count) noexcept nogil:
        cdef int index
        cdef int64_t now = monotonic()
        lock(&self.lock)
        if self.slirp != NULL:
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
            return
        for part in range(frame.nr_parts):
            memcpy(self.whole + at, frame.parts[part].iov_base, frame.parts[part].iov_len)
            at += frame.parts[part].iov_len
        headers.bytes, headers.nr_bytes = self.whole, frame.length
        if verdict == ASIDE or verdict == ECHOED:
            self.asides.put(self.whole, headers.end)
        elif verdict == PASSED and headers.flags & FRAGMENT:
            self.take_fragment(&headers, now)
        elif verdict == PASSED:
            self.take_in(&headers, frame, now)
        else:
            self.counters.refused += 1
            self.refuse(&headers)

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
        if not within and not self.flows.admits(headers):
            self.counters.full += 1
            self.refuse(headers)
            return
        if headers.protocol == PROTOCOL_TCP and headers.tcp_flags & TCP_SYN and headers.transport:
            self.segments.widen(self.whole, headers, OFFER)
            fill_in(self.whole, headers)
        elif frame.header.flags & NEEDS_CSUM and headers.transport and (
                headers.protocol == PROTOCOL_TCP or headers.protocol == PROTOCOL_UDP):
            fill_in(self.whole, headers)
        if headers.kind == KIND_IPV4:
            memcpy(&self.macs[self.gate.place_of(ip_source(headers))], headers.bytes + 6, 6)
        self.looked_at = headers
        library.slirp_input(self.slirp, self.whole, headers.end)
        self.looked_at = NULL
        self.send_unsent()
        if headers.protocol == PROTOCOL_TCP and headers.transport and headers.payload == headers.end:
            self.let_end(headers)

    cdef void let_end(self, const Headers *headers) noexcept nogil:
        cdef uint8_t reset[RESET_BYTES]
        cdef uint32_t length = 0
        if headers.transport + 20 <= RESET_BYTES:
            length = self.endings.follow(headers, reset)
        if length:
            library.slirp_input(self.slirp, reset, length)

    cdef void refuse(self, const Headers *headers) noexcept nogil:
        cdef uint8_t answer[LONGEST_ANSWER]
        cdef uint32_t length = refusal(headers, self.whole, answer)
        if length:
            self.emit(answer, length)

    cdef bint resolve(self, const uint8_t *request, uint32_t length) noexcept nogil:
        """Tell the stack who has an address, where that is known: whether it is.  It knows sixteen at once itself."""
        cdef uint8_t reply[ARP_BYTES]
        cdef uint64_t *mac
        if length < ARP_BYTES or big16(request + 12) != ETHERTYPE_ARP or request[21] != ARP_REQUEST:
            return False
        if not self.gate.is_ours(request + 38):
            return False
        mac = &self.macs[self.gate.place_of(request + 38)]
        if mac[0] == 0:
            return False
        memcpy(reply, request, ARP_BYTES)
        reply[21] = ARP_REPLY
        memcpy(reply + 22, mac, 6)
        memcpy(reply + 28, request + 38, 4)
        library.slirp_input(self.slirp, reply, ARP_BYTES)
        self.unsent = True
        return True

    cdef void send_unsent(self) noexcept nogil:
        """Have the stack send what waited for a MAC: it does that, and its timers, where nothing is polled."""
        if self.unsent:
            self.unsent = False
            library.slirp_pollfds_poll(self.slirp, True, on_get_events, NULL)
            self.unsent = False

    # --- to the guests -----------------------------------------------------------------------------------------------

    cdef void emit(self, const uint8_t *bytes, uint32_t length) noexcept nogil:
        cdef Headers headers
        cdef Frame frame
        cdef iovec part
        cdef Parcel *parcel
        headers.protocol = 0
        if length > SMALL or is_udp(bytes, length) or is_fin(bytes, length):
            part.iov_base, part.iov_len = <void *>bytes, length
            frame.length, frame.nr_parts, frame.parts = length, 1, &part
            parse_frame(&frame, &headers)
            if headers.protocol == PROTOCOL_UDP and headers.transport:
                self.gate.notice(&headers, monotonic())
            if headers.protocol == PROTOCOL_TCP and headers.tcp_flags & TCP_FIN:
                self.endings.begin(&headers)
        if length > <uint32_t>self.mtu + ETHERNET and headers.protocol != PROTOCOL_TCP:
            self.identification += 1
            outbox_fragment(&self.outbox, bytes, length, self.mtu, self.identification)
            return
        parcel = outbox_add(&self.outbox, length)
        if parcel == NULL:
            return
        memcpy(parcel.part.iov_base, bytes, length)
        parcel.frame.header.flags = DATA_VALID
        if headers.protocol == PROTOCOL_TCP and headers.transport:
            self.segments.mark(&parcel.frame, <uint8_t *>parcel.part.iov_base, &headers)

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
            count = outbox_take(&self.outbox, parcels)
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
        cdef uint32_t timeout = UINT32_MAX
        lock(&self.lock)
        self.thread = pthread_self()
        if self.slirp != NULL:
            library.slirp_pollfds_fill(self.slirp, &timeout, on_add_poll, <void *>polls)
            if timeout < IDLE:
                polls.wake_at(monotonic() + <int64_t>timeout * MS)
            timers_fill(self.timers, polls)
        unlock(&self.lock)

    cdef void serve(self, PollSet polls) noexcept nogil:
        lock(&self.lock)
        if self.slirp != NULL:
            timers_fire(self.timers)
            library.slirp_pollfds_poll(self.slirp, False, on_get_events, <void *>polls)
            self.send_unsent()
        unlock(&self.lock)
        self.leave()


# --- what the stack calls: with the lock held ------------------------------------------------------------------------

cdef ssize_t on_packet(const void *frame, size_t length, void *opaque) noexcept nogil:
    if not (<Nat>opaque).resolve(<const uint8_t *>frame, length):
        (<Nat>opaque).emit(<const uint8_t *>frame, length)
    return length


cdef void on_guest_error(const char *message, void *opaque) noexcept nogil:
    pass


cdef int64_t on_clock(void *opaque) noexcept nogil:
    return monotonic()


cdef void *on_timer_new(TimerCallback callback, void *cb_opaque, void *opaque) noexcept nogil:
    return timer_new((<Nat>opaque).timers, callback, cb_opaque)


cdef void on_socket(int fd, void *opaque) noexcept nogil:
    (<Nat>opaque).flows.begin(fd, (<Nat>opaque).looked_at, monotonic())


cdef void on_socket_gone(int fd, void *opaque) noexcept nogil:
    (<Nat>opaque).flows.end(fd)


cdef void on_notify(void *opaque) noexcept nogil:
    if (<Nat>opaque).thread != pthread_self():
        (<Nat>opaque).source.wake()


cdef int on_add_poll(int fd, int events, void *polls) noexcept nogil:
    return (<PollSet>polls).add(fd, (POLLIN if events & SLIRP_IN else 0) | (POLLOUT if events & SLIRP_OUT else 0)
                                | (POLLPRI if events & SLIRP_PRI else 0))


cdef int on_get_events(int index, void *polls) noexcept nogil:
    cdef short happened = (<PollSet>polls).happened(index)
    return ((SLIRP_IN if happened & POLLIN else 0) | (SLIRP_OUT if happened & POLLOUT else 0)
            | (SLIRP_PRI if happened & POLLPRI else 0) | (SLIRP_ERR if happened & POLLERR else 0)
            | (SLIRP_HUP if happened & POLLHUP else 0))
