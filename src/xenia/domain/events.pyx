"""Event channels: Xen's two-level ABI (public/event_channel.h).

A port's pending and mask bits live in shared_info, one selector bit per 64 ports and the upcall flag in the vcpu's vcpu_info.
Raising a port sets its pending bit; if it was clear and the port is not masked, the selector bit; if that was clear, the upcall
flag, which is what the guest is interrupted for.  The guest clears them from the other end.

Those words are changed by the thread that runs the domain, and by nobody else, so they need no atomic operation.  Any other thread
that has something to tell (a backend, another domain) sets the port's bit in the domain's mailbox and sees to it that the
domain's thread looks: a vcpu that runs is kicked out of the engine, one that is blocked is woken through wake_fd.  Poster and
sleeper each write their own word first and read the other's afterwards, both in sequentially consistent order, so one of them sees
the other: the poster writes mailbox then reads `blocked`, the sleeper writes `blocked` then reads mailbox.

A channel with two ends is changed by either of two threads: bound, closed, and sent through, all under the Directory's lock, so that nobody
sends to a domain, or to a backend's eventfd, that is gone.  A backend that can answer at once has a listener instead, which is called without
that lock; who takes it away waits until nobody is inside.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from posix.unistd cimport write
from xenia.abi.errno cimport XEN_EEXIST, XEN_EINVAL, XEN_ENOENT, XEN_ENOSPC, XEN_ESRCH
from xenia.abi.xen cimport DOMID_SELF, NR_EVENT_CHANNELS_2L, NR_VIRQS, VIRQ_DEBUG, VIRQ_TIMER
from xenia.domain.domain cimport (
    ECS_FREE,
    ECS_INTERDOMAIN,
    ECS_IPI,
    ECS_PIRQ,
    ECS_RESERVED,
    ECS_UNBOUND,
    ECS_VIRQ,
    ECS_XENIA,
    NR_DOMIDS,
    Domain,
    EventChannel,
    Listener,
    Vcpu,
)
from xenia.machine.lock cimport lock, unlock

cdef extern from *:
    """
    #include <stdint.h>
    static inline void word_or(volatile uint64_t *word, uint64_t bits) { __atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST); }
    static inline uint64_t word_take(volatile uint64_t *word) { return __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST); }
    static inline void flag_set(volatile uint8_t *flag) { __atomic_store_n(flag, 1, __ATOMIC_SEQ_CST); }
    static inline uint8_t flag_take(volatile uint8_t *flag) { return __atomic_exchange_n(flag, 0, __ATOMIC_SEQ_CST); }
    static inline uint8_t flag_read(volatile uint8_t *flag) { return __atomic_load_n(flag, __ATOMIC_SEQ_CST); }
    static inline void flag_store(volatile uint8_t *flag, uint8_t value) { __atomic_store_n(flag, value, __ATOMIC_SEQ_CST); }
    static inline int flag_swap(volatile uint8_t *flag, uint8_t expected, uint8_t value)
    { return __atomic_compare_exchange_n(flag, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }
    static inline int32_t count_add(int32_t *count, int32_t n) { return __atomic_add_fetch(count, n, __ATOMIC_SEQ_CST); }
    """
    void word_or(volatile uint64_t *word, uint64_t bits) noexcept nogil
    uint64_t word_take(volatile uint64_t *word) noexcept nogil
    void flag_set(volatile uint8_t *flag) noexcept nogil
    uint8_t flag_take(volatile uint8_t *flag) noexcept nogil
    uint8_t flag_read(volatile uint8_t *flag) noexcept nogil
    void flag_store(volatile uint8_t *flag, uint8_t value) noexcept nogil
    bint flag_swap(volatile uint8_t *flag, uint8_t expected, uint8_t value) noexcept nogil
    int32_t count_add(int32_t *count, int32_t n) noexcept nogil
    int count_trailing_zeros "__builtin_ctzll"(uint64_t word) noexcept nogil

cdef extern from "<sched.h>" nogil:
    int sched_yield()

# VIRQ_XENOPROF and VIRQ_XENPMU: with VIRQ_TIMER and VIRQ_DEBUG the virqs that each vcpu has for itself.
cdef enum:
    VIRQ_XENOPROF = 7
    VIRQ_XENPMU = 13

cdef bint virq_is_global(uint32_t virq) noexcept nogil:
    return virq != VIRQ_TIMER and virq != VIRQ_DEBUG and virq != VIRQ_XENOPROF and virq != VIRQ_XENPMU

cdef void vcpu_unblock(Vcpu *vcpu) noexcept nogil:
    vcpu.poll_nr = 0
    vcpu.poll_expires = 0
    if vcpu.blocked:
        flag_store(&vcpu.blocked, 0)

cdef void mark_events_pending(Vcpu *vcpu) noexcept nogil:
    if not vcpu.info.evtchn_upcall_pending:
        vcpu.info.evtchn_upcall_pending = 1
        vcpu_unblock(vcpu)

cdef void select_word(Vcpu *vcpu, uint32_t port) noexcept nogil:
    cdef uint64_t bit = <uint64_t>1 << (port >> 6)
    if not vcpu.info.evtchn_pending_sel & bit:
        vcpu.info.evtchn_pending_sel |= bit
        mark_events_pending(vcpu)

cdef void event_set_pending(Domain *domain, uint32_t port) noexcept nogil:
    cdef uint64_t bit = <uint64_t>1 << (port & 63)
    cdef Vcpu *vcpu = &domain.vcpu[domain.channels[port].notify_vcpu]
    cdef uint64_t i
    if domain.shared_info.evtchn_pending[port >> 6] & bit:
        return
    domain.shared_info.evtchn_pending[port >> 6] |= bit
    if not domain.shared_info.evtchn_mask[port >> 6] & bit:
        select_word(vcpu, port)
    if vcpu.poll_nr:
        for i in range(vcpu.poll_nr):
            if vcpu.poll_ports[i] == port:
                vcpu_unblock(vcpu)
                break

cdef void domain_nudge(Domain *domain) noexcept nogil:
    flag_set(&domain.preempt)
    if domain.vcpu[0].processor != NULL:
        domain.vcpu[0].processor.ops.kick(domain.vcpu[0].processor)

cdef void event_post(Domain *domain, uint32_t port) noexcept nogil:
    cdef Vcpu *vcpu = &domain.vcpu[domain.channels[port].notify_vcpu]
    cdef uint64_t one = 1
    word_or(&domain.mailbox[port >> 6], <uint64_t>1 << (port & 63))
    flag_set(&domain.mailbox_any)
    if flag_read(&vcpu.blocked):
        write(domain.wake_fd, &one, sizeof(one))
    else:
        domain_nudge(domain)

cdef void events_apply_mailbox(Domain *domain) noexcept nogil:
    cdef uint64_t bits
    cdef uint32_t word, port
    if not domain.mailbox_any and not domain.vcpu[0].blocked:
        return
    if not flag_take(&domain.mailbox_any):
        return
    for word in range(64):
        if not domain.mailbox[word]:
            continue
        bits = word_take(&domain.mailbox[word])
        while bits:
            port = (word << 6) | count_trailing_zeros(bits)
            bits &= bits - 1
            if event_port_in_use(domain, port):
                event_set_pending(domain, port)

cdef bint events_pending(Vcpu *vcpu) noexcept nogil:
    return vcpu.info.evtchn_upcall_pending and not vcpu.info.evtchn_upcall_mask

cdef void virq_send(Vcpu *vcpu, int virq) noexcept nogil:
    if vcpu.virq_port[virq]:
        event_set_pending(vcpu.domain, vcpu.virq_port[virq])

cdef void virq_post(Vcpu *vcpu, int virq) noexcept nogil:
    if vcpu.virq_port[virq]:
        event_post(vcpu.domain, vcpu.virq_port[virq])

cdef bint event_port_valid(Domain *domain, uint32_t port) noexcept nogil:
    return port < domain.valid_ports

cdef bint event_port_in_use(Domain *domain, uint32_t port) noexcept nogil:
    return port < domain.valid_ports and domain.channels[port].state > ECS_RESERVED

cdef bint event_port_pending(Domain *domain, uint32_t port) noexcept nogil:
    return (domain.shared_info.evtchn_pending[port >> 6] >> (port & 63)) & 1

cdef int64_t event_send(Domain *domain, uint32_t port) noexcept nogil:
    cdef EventChannel *channel
    cdef Listener *listener
    cdef int64_t result = 0
    if port >= domain.valid_ports:
        return -XEN_EINVAL
    channel = &domain.channels[port]
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
        if listener.answer(listener.argument):
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

# The lowest free port, or -XEN_ENOSPC.  Port 0 is never handed out.
cdef int64_t free_port(Domain *domain) noexcept nogil:
    cdef uint32_t port
    for port in range(1, <uint32_t>NR_EVENT_CHANNELS_2L):
        if domain.channels[port].state == ECS_FREE:
            if port >= domain.valid_ports:
                domain.valid_ports += 64
            return port
    return -XEN_ENOSPC

cdef uint16_t resolved(Domain *domain, uint16_t domid) noexcept nogil:
    return domain.domid if domid == DOMID_SELF else domid

cdef int64_t event_alloc_unbound(Domain *domain, uint16_t remote_domid) noexcept nogil:
    cdef int64_t port = free_port(domain)
    if port > 0:
        domain.channels[port].remote_domid = resolved(domain, remote_domid)
        domain.channels[port].notify_vcpu = 0
        flag_store(&domain.channels[port].state, ECS_UNBOUND)
    return port

cdef int64_t event_bind_interdomain(Domain *domain, uint16_t remote_domid, uint32_t remote_port) noexcept nogil:
    cdef int64_t port
    hold_channels(domain)
    port = bind_interdomain(domain, resolved(domain, remote_domid), remote_port)
    drop_channels(domain)
    return port

cdef int64_t bind_interdomain(Domain *domain, uint16_t remote_domid, uint32_t remote_port) noexcept nogil:
    cdef EventChannel *local
    cdef EventChannel *remote
    cdef Domain *other = domain
    cdef int64_t port
    if remote_domid != domain.domid:
        other = domain.directory.domains[remote_domid] if domain.directory != NULL and remote_domid < NR_DOMIDS else NULL
        if other == NULL and remote_domid != 0:
            return -XEN_ESRCH
    port = free_port(domain)
    if port < 0:
        return port
    if other == NULL or remote_port >= other.valid_ports:
        return -XEN_EINVAL              # Xenia, domain 0, binds to its guests' ports; it leaves none unbound for them
    remote = &other.channels[remote_port]
    if remote.state != ECS_UNBOUND or remote.remote_domid != domain.domid:
        return -XEN_EINVAL
    local = &domain.channels[port]
    local.remote = other
    local.remote_domid = remote_domid
    local.remote_port = remote_port
    local.notify_vcpu = 0
    remote.remote = domain
    remote.remote_port = <uint32_t>port
    flag_store(&remote.state, ECS_INTERDOMAIN)
    flag_store(&local.state, ECS_INTERDOMAIN)
    # What was sent while the other end was unbound is lost, so each new channel starts with one event.
    event_set_pending(domain, <uint32_t>port)
    return port

cdef int64_t event_bind_virq(Domain *domain, uint32_t virq, uint32_t vcpu_id) noexcept nogil:
    cdef int64_t port
    if virq >= NR_VIRQS or (virq_is_global(virq) and vcpu_id):
        return -XEN_EINVAL
    if vcpu_id >= domain.nr_vcpus:
        return -XEN_ENOENT
    if domain.vcpu[vcpu_id].virq_port[virq]:
        return -XEN_EEXIST
    port = free_port(domain)
    if port > 0:
        domain.channels[port].virq = <uint8_t>virq
        domain.channels[port].notify_vcpu = <uint8_t>vcpu_id
        domain.channels[port].state = ECS_VIRQ
        domain.vcpu[vcpu_id].virq_port[virq] = <uint16_t>port
    return port

cdef int64_t event_bind_ipi(Domain *domain, uint32_t vcpu_id) noexcept nogil:
    cdef int64_t port
    if vcpu_id >= domain.nr_vcpus:
        return -XEN_ENOENT
    port = free_port(domain)
    if port > 0:
        domain.channels[port].notify_vcpu = <uint8_t>vcpu_id
        domain.channels[port].state = ECS_IPI
    return port

cdef int64_t event_bind_vcpu(Domain *domain, uint32_t port, uint32_t vcpu_id) noexcept nogil:
    cdef EventChannel *channel
    if vcpu_id >= domain.nr_vcpus:
        return -XEN_ENOENT
    if port >= domain.valid_ports:
        return -XEN_EINVAL
    channel = &domain.channels[port]
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
    cdef EventChannel *channel = &domain.channels[port]
    cdef EventChannel *remote
    if channel.state == ECS_VIRQ:
        domain.vcpu[channel.notify_vcpu if not virq_is_global(channel.virq) else 0].virq_port[channel.virq] = 0
    elif channel.state == ECS_INTERDOMAIN:
        remote = &(<Domain *>channel.remote).channels[channel.remote_port]
        remote.remote = NULL
        remote.remote_domid = domain.domid
        flag_store(&remote.state, ECS_UNBOUND)
    flag_store(&channel.state, ECS_FREE)
    channel.remote = NULL
    channel.notify_fd = -1
    channel.listener = NULL
    channel.notify_vcpu = 0
    domain.shared_info.evtchn_pending[port >> 6] &= ~(<uint64_t>1 << (port & 63))

cdef int64_t event_unmask(Domain *domain, uint32_t port) noexcept nogil:
    cdef uint64_t bit = <uint64_t>1 << (port & 63)
    if not event_port_in_use(domain, port):
        return -XEN_EINVAL
    if domain.shared_info.evtchn_mask[port >> 6] & bit:
        domain.shared_info.evtchn_mask[port >> 6] &= ~bit
        if domain.shared_info.evtchn_pending[port >> 6] & bit:
            select_word(&domain.vcpu[domain.channels[port].notify_vcpu], port)
    return 0

cdef int64_t event_reset(Domain *domain) noexcept nogil:
    cdef uint32_t port
    for port in range(1, domain.valid_ports):
        event_close(domain, port)
    return 0

cdef int64_t event_open(Domain *domain, uint16_t remote_domid, uint32_t remote_port, int notify_fd) noexcept nogil:
    cdef int64_t port = event_alloc_unbound(domain, remote_domid)
    if port > 0:
        domain.channels[port].remote_port = remote_port
        event_connect(domain, <uint32_t>port, remote_domid, notify_fd)
    return port

cdef int64_t event_connect(Domain *domain, uint32_t port, uint16_t remote_domid, int notify_fd) noexcept nogil:
    cdef EventChannel *channel
    cdef int64_t result = -XEN_EINVAL
    if port >= domain.valid_ports:
        return result
    channel = &domain.channels[port]
    hold_channels(domain)
    if channel.state == ECS_UNBOUND and channel.remote_domid == remote_domid:
        channel.notify_fd = notify_fd
        if flag_swap(&channel.state, ECS_UNBOUND, ECS_XENIA):
            result = 0
    drop_channels(domain)
    return result

cdef void event_disconnect(Domain *domain, uint32_t port, int notify_fd) noexcept nogil:
    cdef EventChannel *channel
    if port >= domain.valid_ports:
        return
    channel = &domain.channels[port]
    hold_channels(domain)
    if channel.state == ECS_XENIA and channel.notify_fd == notify_fd:
        channel.notify_fd = -1
        channel.listener = NULL
        flag_store(&channel.state, ECS_UNBOUND)
    drop_channels(domain)

cdef bint event_listen(Domain *domain, uint32_t port, int notify_fd, Listener *listener) noexcept nogil:
    cdef bint is_ours
    if port >= domain.valid_ports:
        return False
    hold_channels(domain)
    is_ours = domain.channels[port].state == ECS_XENIA and domain.channels[port].notify_fd == notify_fd
    if is_ours:
        domain.channels[port].listener = listener
    drop_channels(domain)
    return is_ours

cdef void event_ignore(Domain *domain, uint32_t port, Listener *listener) noexcept nogil:
    hold_channels(domain)
    if domain.channels[port].listener == listener:
        domain.channels[port].listener = NULL
    drop_channels(domain)
    while count_add(&listener.inside, 0):
        sched_yield()
