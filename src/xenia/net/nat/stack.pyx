"""One guest's stack of protocols: a libslirp of its own, so that what it keeps is looked through for that guest only.

libslirp finds a packet's connection by looking through all of them, and goes through all when one has something to do.
Where guests shared one, a guest with two thousand made each packet of the others slow.

Its sockets are asked for again only after something happened to it.  A few are polled by the loop; many by an epoll,
which the loop polls.  A turn ends when its share of the loop's time is used up: sockets that did not have theirs are
the first ones of the next turn.

What a stack says to everybody, it says to its guest only (RFC 6085), be it in fragments or not.
"""

import select

from libc.stdint cimport INT64_MAX, UINT32_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset
from xenia.net.frame cimport DATA_VALID, NEEDS_CSUM, Frame, iovec
from xenia.machine.loop cimport POLLERR, POLLHUP, POLLIN, POLLOUT, PollSet, monotonic, pollfd
from xenia.net.nat.answer cimport fill_in
from xenia.net.nat.endings cimport RESET_BYTES, Endings
from xenia.net.nat.flows cimport Flow, Flows
from xenia.net.nat.gate cimport ADDRESSED, DHCP_SERVER, REFUSED, Gate, Verdict
from xenia.net.nat.outbox cimport Parcel, outbox_add, outbox_fragment
from xenia.net.nat.peek cimport ETHERNET, is_fin, is_udp
from xenia.net.nat.segments cimport SegmentSizes
from xenia.net.nat.slirp cimport (
    IF_MTU_MAX, SLIRP_ERR, SLIRP_HUP, SLIRP_IN, SLIRP_OUT, SLIRP_PRI, SlirpConfig, TimerCallback, configured, library,
)
from xenia.net.nat.timers cimport timer_free, timer_mod, timer_new, timers_fire, timers_next
from xenia.net.pace cimport pace_allows
from xenia.net.parse cimport (
    ETHERTYPE_ARP, KIND_IPV4, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, TCP_FIN, TCP_SYN, Headers, big16, ip_source,
    parse_frame,
)
from xenia.net.share cimport Share, waste

cdef extern from "<poll.h>" nogil:
    short POLLPRI

cdef extern from *:
    """
    #include <sys/epoll.h>
    """
    union epoll_data:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data data
    int epoll_ctl(int epoll, int operation, int fd, epoll_event *event) nogil
    int epoll_wait(int epoll, epoll_event *events, int count, int timeout) nogil
    enum:
        EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD

cdef enum:
    ARP_BYTES = 42                  # RFC 826, over Ethernet for IPv4
    ARP_REQUEST = 1
    ARP_REPLY = 2
    SMALL = 14 + 20 + 20 + 536      # what no guest needs cut
    OFFER = 32 * 1024               # data of the stack's segments: two of them in the greatest window
    IDLE = 1000                     # ms: how long libslirp sleeps where it waits for nothing
    MS = 1000000                    # in ns
    LAG = 20000000                  # ns
    ADVICE = 133                    # types of ICMPv6 from here on say who has which MAC (RFC 4861, 4)
    FEW = 64                        # sockets that the loop polls itself
    # ns between two in the long run, and how many may come at once:
    REFUSALS = 1000000
    QUESTIONS = 1000000
    BURST = 1000
    LEASES = 20000000
    FEW_LEASES = 50
    EVENTS = 64                     # of an epoll's that are looked at in one round


cdef class Stack:
    """A guest's, or that of all who have none of their own.  Precondition: libslirp is loaded (`slirp.load`)."""

    def __cinit__(self):
        self.epoll = self.first = self.polled = self.stopped_at = -1
        self.touched = True

    def __init__(self, Gate gate, Flows flows, Share share) -> None:
        self.gate, self.flows, self.share = gate, flows, share
        self.segments = SegmentSizes()
        self.endings = Endings()
        self.poll = select.epoll()
        self.epoll = self.poll.fileno()

    cdef begin(self, Common *common, uint64_t mac):
        cdef SlirpConfig config
        self.common, self.mac = common, mac
        memset(&config, 0, sizeof(config))
        config.version = configured()
        self.configure(&config)
        self.slirp = library.slirp_new(&config, &self.callbacks, <void *>self)
        if self.slirp == NULL:
            raise MemoryError

    def __dealloc__(self):
        self.end()
        free(self.sockets)

    cdef void end(self) noexcept nogil:
        """All connections."""
        if self.slirp != NULL:
            library.slirp_cleanup(self.slirp)
            self.slirp = NULL

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

    # --- from the guest ----------------------------------------------------------------------------------------------

    cdef void take(self, uint8_t *whole, Headers *headers, const Frame *frame, int64_t now) noexcept nogil:
        if self.slirp == NULL:
            return
        if headers.protocol == PROTOCOL_TCP and headers.tcp_flags & TCP_SYN and headers.transport:
            self.segments.widen(whole, headers, OFFER)
            fill_in(whole, headers)
        elif frame.header.flags & NEEDS_CSUM and headers.transport and (
                headers.protocol == PROTOCOL_TCP or headers.protocol == PROTOCOL_UDP):
            fill_in(whole, headers)
        if headers.kind == KIND_IPV4:
            memcpy(&self.common.macs[self.gate.place_of(ip_source(headers))], headers.bytes + 6, 6)
        if self.common.told + LAG < now:        # libslirp knows the time as of when one was polled last
            self.common.told = now
            library.slirp_pollfds_poll(self.slirp, True, on_no_events, NULL)
        self.looked_at = headers
        self.touched = True
        library.slirp_input(self.slirp, whole, headers.end)
        self.looked_at = NULL
        if headers.protocol == PROTOCOL_ICMPV6 and headers.transport and headers.bytes[headers.transport] >= ADVICE:
            self.unsent = True
        self.send_unsent()
        if headers.protocol == PROTOCOL_TCP and headers.transport and headers.payload == headers.end:
            self.let_end(headers)

    cdef bint may_ask(self, const Headers *headers, Verdict verdict, int64_t now) noexcept nogil:
        if verdict == REFUSED:
            return pace_allows(&self.refused, now, REFUSALS, BURST)
        if verdict == ADDRESSED:
            return pace_allows(&self.addressed, now, QUESTIONS, BURST)
        if headers.protocol == PROTOCOL_UDP and headers.target_port == DHCP_SERVER:
            return pace_allows(&self.leased, now, LEASES, FEW_LEASES)
        return pace_allows(&self.asked_us, now, QUESTIONS, BURST)

    cdef void let_end(self, const Headers *headers) noexcept nogil:
        cdef uint8_t reset[RESET_BYTES]
        cdef uint32_t length = 0
        if headers.transport + 20 <= RESET_BYTES:
            length = self.endings.follow(headers, reset)
        if length:
            library.slirp_input(self.slirp, reset, length)

    cdef bint resolve(self, const uint8_t *request, uint32_t length) noexcept nogil:
        """Tell the stack who has an address, where that is known: whether it is.  It knows sixteen at once itself."""
        cdef uint8_t reply[ARP_BYTES]
        cdef uint64_t *mac
        if length < ARP_BYTES or big16(request + 12) != ETHERTYPE_ARP or request[21] != ARP_REQUEST:
            return False
        if not self.gate.is_ours(request + 38):
            return False
        mac = &self.common.macs[self.gate.place_of(request + 38)]
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
            library.slirp_pollfds_poll(self.slirp, True, on_no_events, NULL)
            self.unsent = False

    # --- to the guest ------------------------------------------------------------------------------------------------

    cdef void emit(self, const uint8_t *bytes, uint32_t length) noexcept nogil:
        cdef Headers headers
        cdef Frame frame
        cdef iovec part
        cdef Parcel *parcel
        cdef const uint8_t *to = <const uint8_t *>&self.mac if self.mac and bytes[0] & 1 else bytes
        headers.protocol = 0
        if length > SMALL or is_udp(bytes, length) or is_fin(bytes, length):
            part.iov_base, part.iov_len = <void *>bytes, length
            frame.length, frame.nr_parts, frame.parts = length, 1, &part
            parse_frame(&frame, &headers)
            if headers.protocol == PROTOCOL_UDP and headers.transport:
                self.gate.notice(&headers, monotonic())
            if headers.protocol == PROTOCOL_TCP and headers.tcp_flags & TCP_FIN:
                self.endings.begin(&headers)
        if length > <uint32_t>self.common.mtu + ETHERNET and headers.protocol != PROTOCOL_TCP:
            self.common.identification += 1
            outbox_fragment(&self.common.outbox, to, bytes, length, self.common.mtu, self.common.identification)
            return
        parcel = outbox_add(&self.common.outbox, length)
        if parcel == NULL:
            waste(1)
            return
        memcpy(parcel.part.iov_base, bytes, length)
        parcel.frame.header.flags = DATA_VALID
        if length >= ETHERNET:
            memcpy(parcel.part.iov_base, to, 6)
        if headers.protocol == PROTOCOL_TCP and headers.transport:
            self.segments.mark(&parcel.frame, <uint8_t *>parcel.part.iov_base, &headers)

    # --- its sockets and timers: on the loop's thread ----------------------------------------------------------------

    cdef void fill(self, PollSet polls, int64_t now) noexcept nogil:
        cdef int index, at
        cdef int64_t began
        self.first = self.polled = -1
        if self.slirp == NULL:
            return
        if self.share is not None and not self.share.earn(now):
            polls.wake_at(self.share.due())
            return
        if self.touched:
            began = monotonic()
            self.ask()
            if self.nr_sockets > FEW:
                self.listen()
                if self.share is not None:
                    self.share.charge(monotonic() - began, 0)
        polls.wake_at(min(self.due, timers_next(self.timers)))
        if self.nr_sockets > FEW:
            self.polled = polls.add(self.epoll, POLLIN)
            return
        for index in range(self.nr_sockets):
            at = polls.add(self.sockets[index].fd, self.sockets[index].events)
            if index == 0:
                self.first = at

    cdef void ask(self) noexcept nogil:
        """What the stack waits for."""
        cdef uint32_t timeout = UINT32_MAX
        self.touched, self.nr_sockets = False, 0
        self.asked += 1
        library.slirp_pollfds_fill(self.slirp, &timeout, on_add_poll, <void *>self)
        self.due = monotonic() + <int64_t>timeout * MS if timeout < IDLE else INT64_MAX

    cdef void listen(self) noexcept nogil:
        """Tell the epoll of all that changed.  One that is not waited for any more is found out when it is told of."""
        cdef int index
        cdef pollfd *each
        cdef Flow *flow
        cdef epoll_event event
        for index in range(self.nr_sockets):
            each = &self.sockets[index]
            flow = self.flows.of(each.fd)
            if flow == NULL:
                continue
            flow.asked, flow.index = self.asked, index
            if flow.polled != each.events:
                event.events, event.data.fd = each.events, each.fd
                if (epoll_ctl(self.epoll, EPOLL_CTL_MOD, each.fd, &event) == 0
                        or epoll_ctl(self.epoll, EPOLL_CTL_ADD, each.fd, &event) == 0):
                    flow.polled = each.events

    cdef bint look(self, PollSet polls) noexcept nogil:
        """Whether a socket has something; what it is stands with it."""
        cdef epoll_event events[EVENTS]
        cdef Flow *flow
        cdef int index, count
        cdef bint any_happened = False
        for index in range(self.nr_sockets):
            self.sockets[index].revents = polls.happened(self.first + index) if self.first >= 0 else 0
            any_happened |= self.sockets[index].revents != 0
        if polls.happened(self.polled):
            count = epoll_wait(self.epoll, events, EVENTS, 0)
            for index in range(count):
                flow = self.flows.of(events[index].data.fd)
                if flow != NULL and flow.asked == self.asked:
                    self.sockets[flow.index].revents = events[index].events
                    any_happened = True
                elif flow != NULL:      # until it is asked for again: what has hung up says so without being asked
                    flow.polled = 0
                    epoll_ctl(self.epoll, EPOLL_CTL_DEL, events[index].data.fd, NULL)
        return any_happened

    cdef int add(self, int fd, short events) noexcept nogil:
        cdef pollfd *larger
        if self.nr_sockets == self.room:
            larger = <pollfd *>realloc(self.sockets, (2 * self.room + 16) * sizeof(pollfd))
            if larger == NULL:
                return -1
            self.sockets, self.room = larger, 2 * self.room + 16
        self.sockets[self.nr_sockets] = pollfd(fd, events, 0)
        self.nr_sockets += 1
        return self.nr_sockets - 1

    cdef short happened(self, int index) noexcept nogil:
        """Of a socket whose turn it is; after that it is the stack's."""
        cdef short happened
        if not self.resumes_at <= index < self.nr_sockets or self.stopped_at >= 0:
            return 0
        happened = self.sockets[index].revents
        if happened and self.until != INT64_MAX and monotonic() >= self.until:
            self.stopped_at = index
            return 0
        if happened & (POLLERR | POLLHUP) and self.flows.is_half_open(self.sockets[index].fd):
            # libslirp reads before it asks whether the connection was made, and where it failed would end it politely:
            # a guest that was never answered does not hear that.
            happened = POLLOUT
        if happened & (POLLOUT | POLLERR | POLLHUP):
            self.flows.connected(self.sockets[index].fd)
        return happened

    cdef int64_t serve(self, PollSet polls, int64_t now) noexcept nogil:
        cdef int64_t allowed, ended
        cdef bint timed
        if self.slirp == NULL or self.touched:
            return now
        timed = now >= min(self.due, timers_next(self.timers))
        if not timed and self.first < 0 and not polls.happened(self.polled):
            return now
        if not self.look(polls) and not timed:
            return now
        self.until, self.stopped_at = INT64_MAX, -1
        if self.share is not None:
            allowed = self.share.begin(now)
            if allowed == 0:
                return now
            self.until = now + allowed
        timers_fire(self.timers)
        self.touched, self.common.told = True, now
        library.slirp_pollfds_poll(self.slirp, False, on_get_events, <void *>self)
        self.send_unsent()
        self.resumes_at = max(self.stopped_at, 0)
        ended = monotonic()
        if self.share is not None:
            self.share.charge(ended - now, 0)
        return ended


# --- what the stack calls: with the way out's lock held, or before anybody else has it (slirp_new) --------------------

cdef ssize_t on_packet(const void *frame, size_t length, void *opaque) noexcept nogil:
    if not (<Stack>opaque).resolve(<const uint8_t *>frame, length):
        (<Stack>opaque).emit(<const uint8_t *>frame, length)
    return length


cdef void on_guest_error(const char *message, void *opaque) noexcept nogil:
    pass


cdef int64_t on_clock(void *opaque) noexcept nogil:
    return monotonic()


cdef void *on_timer_new(TimerCallback callback, void *cb_opaque, void *opaque) noexcept nogil:
    return timer_new((<Stack>opaque).timers, callback, cb_opaque)


cdef void on_socket(int fd, void *opaque) noexcept nogil:
    (<Stack>opaque).flows.begin(fd, (<Stack>opaque).looked_at, monotonic())


cdef void on_socket_gone(int fd, void *opaque) noexcept nogil:
    (<Stack>opaque).flows.end(fd)


cdef void on_notify(void *opaque) noexcept nogil:
    pass


cdef int on_add_poll(int fd, int events, void *opaque) noexcept nogil:
    return (<Stack>opaque).add(fd, (POLLIN if events & SLIRP_IN else 0) | (POLLOUT if events & SLIRP_OUT else 0)
                               | (POLLPRI if events & SLIRP_PRI else 0))


cdef int on_get_events(int index, void *opaque) noexcept nogil:
    cdef short happened = (<Stack>opaque).happened(index)
    return ((SLIRP_IN if happened & POLLIN else 0) | (SLIRP_OUT if happened & POLLOUT else 0)
            | (SLIRP_PRI if happened & POLLPRI else 0) | (SLIRP_ERR if happened & POLLERR else 0)
            | (SLIRP_HUP if happened & POLLHUP else 0))


cdef int on_no_events(int index, void *nothing) noexcept nogil:
    return 0
