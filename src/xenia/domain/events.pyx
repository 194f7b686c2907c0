"""Event channels (public/event_channel.h): what is bound to what, and how an event gets from one end to the other.

What the guest sees of an event has two ABIs: bits in shared_info (domain/two_level), or queues in pages of its own
(domain/fifo) once it has set them up.  On Xenia's side those words are changed by who has the domain's turn, and by
nobody else; the guest's vcpus change them at the same time, so it is done by atomic operations.  Any other thread that
has something to tell (a backend, another domain) sets the port's bit in the domain's mailbox and sees to it that a
thread of the domain's looks: a vcpu that runs is kicked out of the engine, one that is blocked is woken.  Poster and
sleeper each write their own word first and read the other's afterwards, both in sequentially consistent order, so one
of them sees the other: the poster writes mailbox then reads `blocked`, the sleeper writes `blocked` then reads mailbox.

The mailbox has three levels: a word in each bucket of 64 ports, a bit for each bucket, a flag for all.  It is written
in that order and taken in the other, so that nothing is left in a word that no flag tells of.

A channel with two ends is changed by either of two threads: bound, closed, and sent through, all under the Directory's
lock, so that nobody sends to a domain, or to a backend's eventfd, that is gone.  A backend that can answer at once has
a listener instead, which is called without any lock and without the turn; who takes it away waits until nobody is
inside.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from posix.unistd cimport write
from xenia.abi.errno cimport (
    XEN_EACCES, XEN_EEXIST, XEN_EINVAL, XEN_ENOENT, XEN_ENOMEM, XEN_ENOSPC, XEN_ENOSYS, XEN_ESRCH,
)
from xenia.abi.event_channel cimport EVTCHN_FIFO_NR_CHANNELS, EVTCHN_FIFO_PRIORITY_DEFAULT, EVTCHN_FIFO_PRIORITY_MIN
from xenia.abi.xen cimport DOMID_SELF, NR_EVENT_CHANNELS_2L, NR_VIRQS, VIRQ_DEBUG, VIRQ_TIMER
from xenia.domain.channels cimport channels_grow, event_channel, event_port_in_use, event_port_valid
from xenia.domain.domain cimport NR_DOMIDS, Domain, Vcpu, domain_vcpu
from xenia.domain.event_state cimport (
    ECS_FREE, ECS_INTERDOMAIN, ECS_IPI, ECS_PIRQ, ECS_UNBOUND, ECS_VIRQ, ECS_XENIA, EventBucket, EventChannel,
    EventState, Listener,
)
from xenia.domain.fifo cimport (
    fifo_clear_pending, fifo_end, fifo_is_linked, fifo_is_pending, fifo_set_pending, fifo_unmask,
)
from xenia.domain.observers cimport OBSERVED, observe_event
from xenia.domain.two_level cimport (
    two_level_clear_pending, two_level_is_pending, two_level_set_pending, two_level_unmask,
)
from xenia.domain.turn cimport turn_back, turn_lend
from xenia.domain.upcall cimport vcpu_rouse, vcpu_unblock
from xenia.machine.atomic cimport count_add, flag_set, flag_store, flag_swap, flag_take, word_or, word_take
from xenia.machine.lock cimport lock, unlock

cdef extern from *:
    int count_trailing_zeros "__builtin_ctzll"(uint64_t word) noexcept nogil

cdef extern from "<sched.h>" nogil:
    int sched_yield()

# VIRQ_XENOPROF and VIRQ_XENPMU: with VIRQ_TIMER and VIRQ_DEBUG the virqs that each vcpu has for itself.
cdef enum:
    VIRQ_XENOPROF = 7
    VIRQ_XENPMU = 13


cdef bint virq_is_global(uint32_t virq) noexcept nogil:
    return virq != VIRQ_TIMER and virq != VIRQ_DEBUG and virq != VIRQ_XENOPROF and virq != VIRQ_XENPMU


cdef void event_set_pending(Domain *domain, uint32_t port) noexcept nogil:
    cdef Vcpu *vcpu = domain.vcpus[event_channel(domain, port).notify_vcpu]
    cdef uint64_t i
    if domain.abi.column == OBSERVED:
        observe_event(domain, port, vcpu.id)
    if not (fifo_set_pending(domain, port) if domain.events.fifo else two_level_set_pending(domain, port)):
        return
    if vcpu.events.poll_nr:
        for i in range(vcpu.events.poll_nr):
            if vcpu.events.poll_ports[i] == port:
                vcpu_unblock(vcpu)
                break


cdef void event_post(Domain *domain, uint32_t port) noexcept nogil:
    cdef EventBucket *bucket
    if not event_port_valid(domain, port):
        return
    bucket = domain.events.buckets[port >> 6]
    word_or(&bucket.mailbox, <uint64_t>1 << (port & 63))
    word_or(&domain.links.mailbox[port >> 12], <uint64_t>1 << (port >> 6 & 63))
    flag_set(&domain.links.mailbox_any)
    vcpu_rouse(domain.vcpus[bucket.channels[port & 63].notify_vcpu])


cdef void events_apply_mailbox(Domain *domain) noexcept nogil:
    cdef uint64_t buckets
    cdef uint32_t word, bucket
    if not flag_take(&domain.links.mailbox_any):
        return
    for word in range(sizeof(domain.links.mailbox) // sizeof(uint64_t)):
        if not domain.links.mailbox[word]:
            continue
        buckets = word_take(&domain.links.mailbox[word])
        while buckets:
            bucket = (word << 6) | count_trailing_zeros(buckets)
            buckets &= buckets - 1
            apply(domain, bucket)


cdef void apply(Domain *domain, uint32_t bucket) noexcept nogil:
    cdef uint64_t bits = word_take(&domain.events.buckets[bucket].mailbox)
    cdef uint32_t port
    while bits:
        port = (bucket << 6) | count_trailing_zeros(bits)
        bits &= bits - 1
        if event_port_in_use(domain, port):
            event_set_pending(domain, port)


cdef void virq_send(Vcpu *vcpu, int virq) noexcept nogil:
    if vcpu.events.virq_port[virq]:
        event_set_pending(vcpu.domain, vcpu.events.virq_port[virq])


cdef bint event_port_pending(Domain *domain, uint32_t port) noexcept nogil:
    if not event_port_in_use(domain, port):
        return False
    return fifo_is_pending(domain, port) if domain.events.fifo else two_level_is_pending(domain, port)


cdef int64_t event_send(Domain *domain, uint32_t port) noexcept nogil:
    cdef EventChannel *channel
    cdef Listener *listener
    cdef Vcpu *holder
    cdef bint answered
    cdef int64_t result = 0
    if not event_port_valid(domain, port):
        return -XEN_EINVAL
    channel = event_channel(domain, port)
    if channel.state == ECS_IPI:
        event_set_pending(domain, port)
        return 0
    hold_channels(domain)
    listener = channel.listener
    if listener == NULL:
        result = send(domain, channel)
    else:
        count_add(&listener.inside, 1)
    drop_channels(domain)
    if listener != NULL:
        holder = turn_lend(domain)
        answered = listener.answer(listener.argument)
        turn_back(holder)
        if answered and channel.listener == listener:
            event_set_pending(domain, port)
        count_add(&listener.inside, -1)
    return result


cdef int64_t send(Domain *domain, EventChannel *channel) noexcept nogil:
    cdef uint64_t one = 1
    if channel.state == ECS_XENIA:
        if channel.notify_fd >= 0:
            write(channel.notify_fd, &one, sizeof(one))
    elif channel.state == ECS_INTERDOMAIN:
        if <Domain *>channel.remote == domain:
            event_set_pending(domain, channel.remote_port)
        else:
            event_post(<Domain *>channel.remote, channel.remote_port)
    elif channel.state != ECS_UNBOUND:      # an unbound channel drops what is sent
        return -XEN_EINVAL
    return 0


cdef void hold_channels(Domain *domain) noexcept nogil:
    if domain.directory != NULL:
        lock(&domain.directory.lock)


cdef void drop_channels(Domain *domain) noexcept nogil:
    if domain.directory != NULL:
        unlock(&domain.directory.lock)


# The lowest free port, -XEN_ENOSPC or -XEN_ENOMEM.  Port 0 is never handed out, and none that is on a queue still.
cdef int64_t free_port(Domain *domain) noexcept nogil:
    cdef uint32_t end = EVTCHN_FIFO_NR_CHANNELS if domain.events.fifo else NR_EVENT_CHANNELS_2L
    cdef uint32_t port
    cdef EventState *events = &domain.events
    while events.first_free < events.valid_ports and event_channel(domain, events.first_free).state != ECS_FREE:
        events.first_free += 1
    for port in range(events.first_free, end):
        if not event_port_valid(domain, port) and not channels_grow(domain):
            return -XEN_ENOMEM
        if event_channel(domain, port).state == ECS_FREE and not (domain.events.fifo and fifo_is_linked(domain, port)):
            return port
    return -XEN_ENOSPC


# A channel at a free port, for the caller to say of what kind it is; NULL with free_port's error.
cdef EventChannel *new_channel(Domain *domain, uint32_t vcpu_id, int64_t *port) noexcept nogil:
    cdef EventChannel *channel
    port[0] = free_port(domain)
    if port[0] < 0:
        return NULL
    channel = event_channel(domain, <uint32_t>port[0])
    channel.notify_vcpu = <uint8_t>vcpu_id
    channel.priority = EVTCHN_FIFO_PRIORITY_DEFAULT
    return channel


cdef uint16_t resolved(Domain *domain, uint16_t domid) noexcept nogil:
    return domain.domid if domid == DOMID_SELF else domid


cdef int64_t event_alloc_unbound(Domain *domain, uint16_t remote_domid) noexcept nogil:
    cdef int64_t port
    cdef EventChannel *channel = new_channel(domain, 0, &port)
    if channel != NULL:
        channel.remote_domid = resolved(domain, remote_domid)
        flag_store(&channel.state, ECS_UNBOUND)
    return port


cdef int64_t event_bind_interdomain(Domain *domain, uint16_t remote_domid, uint32_t remote_port) noexcept nogil:
    cdef int64_t port
    cdef EventChannel *local = new_channel(domain, 0, &port)
    hold_channels(domain)
    port = bind_interdomain(domain, local, port, resolved(domain, remote_domid), remote_port)
    drop_channels(domain)
    return port


# `local` is a channel at the free port `port`, or NULL with free_port's error.
cdef int64_t bind_interdomain(Domain *domain, EventChannel *local, int64_t port, uint16_t remote_domid,
                              uint32_t remote_port) noexcept nogil:
    cdef EventChannel *remote
    cdef Domain *other = domain
    cdef bint known
    if remote_domid != domain.domid:
        known = domain.directory != NULL and remote_domid < NR_DOMIDS
        other = domain.directory.domains[remote_domid] if known else NULL
        if other == NULL and remote_domid != 0:
            return -XEN_ESRCH
    if local == NULL:
        return port
    if other == NULL or not event_port_valid(other, remote_port):
        return -XEN_EINVAL              # Xenia, domain 0, binds to its guests' ports; it leaves none unbound for them
    remote = event_channel(other, remote_port)
    if remote.state != ECS_UNBOUND or remote.remote_domid != domain.domid:
        return -XEN_EINVAL
    local.remote = other
    local.remote_domid = remote_domid
    local.remote_port = remote_port
    remote.remote = domain
    remote.remote_port = <uint32_t>port
    flag_store(&remote.state, ECS_INTERDOMAIN)
    flag_store(&local.state, ECS_INTERDOMAIN)
    # What was sent while the other end was unbound is lost, so each new channel starts with one event.
    event_set_pending(domain, <uint32_t>port)
    return port


cdef int64_t event_bind_virq(Domain *domain, uint32_t virq, uint32_t vcpu_id) noexcept nogil:
    cdef EventChannel *channel
    cdef Vcpu *vcpu
    cdef int64_t port
    if virq >= NR_VIRQS or (virq_is_global(virq) and vcpu_id):
        return -XEN_EINVAL
    vcpu = domain_vcpu(domain, vcpu_id)
    if vcpu == NULL:
        return -XEN_ENOENT
    if vcpu.events.virq_port[virq]:
        return -XEN_EEXIST
    channel = new_channel(domain, vcpu_id, &port)
    if channel != NULL:
        channel.virq = <uint8_t>virq
        channel.state = ECS_VIRQ
        vcpu.events.virq_port[virq] = <uint32_t>port
    return port


cdef int64_t event_bind_ipi(Domain *domain, uint32_t vcpu_id) noexcept nogil:
    cdef EventChannel *channel
    cdef int64_t port
    if domain_vcpu(domain, vcpu_id) == NULL:
        return -XEN_ENOENT
    channel = new_channel(domain, vcpu_id, &port)
    if channel != NULL:
        channel.state = ECS_IPI
    return port


cdef int64_t event_bind_vcpu(Domain *domain, uint32_t port, uint32_t vcpu_id) noexcept nogil:
    cdef EventChannel *channel
    if domain_vcpu(domain, vcpu_id) == NULL:
        return -XEN_ENOENT
    if not event_port_valid(domain, port):
        return -XEN_EINVAL
    channel = event_channel(domain, port)
    if channel.state == ECS_VIRQ:
        if not virq_is_global(channel.virq):
            return -XEN_EINVAL
    elif channel.state not in (ECS_UNBOUND, ECS_INTERDOMAIN, ECS_PIRQ, ECS_XENIA):
        return -XEN_EINVAL
    channel.notify_vcpu = <uint8_t>vcpu_id
    return 0


cdef int64_t event_close(Domain *domain, uint32_t port) noexcept nogil:
    if not event_port_in_use(domain, port):
        return -XEN_EINVAL
    hold_channels(domain)
    close(domain, port)
    drop_channels(domain)
    return 0


cdef void close(Domain *domain, uint32_t port) noexcept nogil:
    cdef EventChannel *channel = event_channel(domain, port)
    cdef EventChannel *remote
    if channel.state == ECS_VIRQ:
        domain.vcpus[channel.notify_vcpu if not virq_is_global(channel.virq) else 0].events.virq_port[channel.virq] = 0
    elif channel.state == ECS_INTERDOMAIN:
        remote = event_channel(<Domain *>channel.remote, channel.remote_port)
        remote.remote = NULL
        remote.remote_domid = domain.domid
        flag_store(&remote.state, ECS_UNBOUND)
    flag_store(&channel.state, ECS_FREE)
    channel.remote = NULL
    channel.notify_fd = -1
    channel.listener = NULL
    channel.notify_vcpu = 0
    if domain.events.fifo:
        fifo_clear_pending(domain, port)
    else:
        two_level_clear_pending(domain, port)
    domain.events.first_free = min(domain.events.first_free, port)


cdef int64_t event_unmask(Domain *domain, uint32_t port) noexcept nogil:
    if not event_port_valid(domain, port):
        return -XEN_EINVAL
    if not event_port_in_use(domain, port):
        return 0
    if domain.events.fifo:
        fifo_unmask(domain, port)
    else:
        two_level_unmask(domain, port)
    return 0


cdef int64_t event_set_priority(Domain *domain, uint32_t port, uint32_t priority) noexcept nogil:
    if not event_port_valid(domain, port):
        return -XEN_EINVAL
    if not domain.events.fifo:
        return -XEN_ENOSYS
    if not event_port_in_use(domain, port):
        return -XEN_EACCES
    if priority > EVTCHN_FIFO_PRIORITY_MIN:
        return -XEN_EINVAL
    event_channel(domain, port).priority = <uint8_t>priority
    return 0


cdef int64_t event_reset(Domain *domain) noexcept nogil:
    cdef uint32_t port
    for port in range(1, domain.events.valid_ports):
        event_close(domain, port)
    fifo_end(domain)
    return 0


cdef int64_t event_connect(Domain *domain, uint32_t port, uint16_t remote_domid, int notify_fd) noexcept nogil:
    cdef EventChannel *channel
    cdef int64_t result = -XEN_EINVAL
    if not event_port_valid(domain, port):
        return result
    channel = event_channel(domain, port)
    hold_channels(domain)
    if channel.state == ECS_UNBOUND and channel.remote_domid == remote_domid:
        channel.notify_fd = notify_fd
        if flag_swap(&channel.state, ECS_UNBOUND, ECS_XENIA):
            result = 0
    drop_channels(domain)
    return result


cdef void event_disconnect(Domain *domain, uint32_t port, int notify_fd) noexcept nogil:
    cdef EventChannel *channel
    if not event_port_valid(domain, port):
        return
    channel = event_channel(domain, port)
    hold_channels(domain)
    if channel.state == ECS_XENIA and channel.notify_fd == notify_fd:
        channel.notify_fd = -1
        channel.listener = NULL
        flag_store(&channel.state, ECS_UNBOUND)
    drop_channels(domain)


cdef bint event_listen(Domain *domain, uint32_t port, int notify_fd, Listener *listener) noexcept nogil:
    cdef EventChannel *channel
    cdef bint is_ours
    if not event_port_valid(domain, port):
        return False
    channel = event_channel(domain, port)
    hold_channels(domain)
    is_ours = channel.state == ECS_XENIA and channel.notify_fd == notify_fd
    if is_ours:
        channel.listener = listener
    drop_channels(domain)
    return is_ours


cdef void event_ignore(Domain *domain, uint32_t port, Listener *listener) noexcept nogil:
    cdef EventChannel *channel = event_channel(domain, port)
    hold_channels(domain)
    if channel.listener == listener:
        channel.listener = NULL
    drop_channels(domain)
    while count_add(&listener.inside, 0):
        sched_yield()
