"""Event queues in the guest's own pages: the FIFO ABI of public/event_channel.h.

Each port has a word in the event array, whose pages the guest adds one at a time: PENDING, MASKED, LINKED, and the
number of the port that comes after it in its queue.  Each vcpu has a queue for each of 16 priorities.  The guest takes
from the front: `head` in the vcpu's control block says where a queue begins, and a bit of `ready` that there is
something new to look at.  Xen puts at the end.  Where that is, Xen alone knows (`fifo_tail`).

Raising a port sets PENDING; unless it is masked, or on a queue already, it becomes LINKED and goes to the end of the
queue.  If the port at the end is still linked, its word's link names the new one, and the guest will come to it.  If it
is not, the guest has emptied the queue: the new port is the head, and `ready` and the upcall flag tell the guest.  A
port that is masked stays PENDING until it is unmasked.

A port whose priority or vcpu changes stays on the queue it is on, and goes to the other one next time.  It may be the
last that the old queue saw; then that queue forgets its end, or it would find it linked, but elsewhere, and lose the
next event there.

The guest may write to all of this whenever it runs, and what it writes there decides what events it gets, nothing else:
no link and no head is ever followed here, and no word outside of its own pages is touched.  The pages are held with a
reference and a writable type reference, so that they can become no page tables.
"""
from libc.stdint cimport uint32_t, uint64_t
from xenia.abi.errno cimport XEN_EINVAL, XEN_ENOSPC, XEN_EOPNOTSUPP
from xenia.abi.event_channel cimport (
    EVTCHN_FIFO_BUSY,
    EVTCHN_FIFO_LINK_MASK,
    EVTCHN_FIFO_LINKED,
    EVTCHN_FIFO_MASKED,
    EVTCHN_FIFO_MAX_QUEUES,
    EVTCHN_FIFO_NR_CHANNELS,
    EVTCHN_FIFO_PENDING,
    EVTCHN_FIFO_PRIORITY_DEFAULT,
    evtchn_fifo_control_block_t,
)
from xenia.abi.xen cimport NR_EVENT_CHANNELS_2L
from xenia.domain.channels cimport event_channel
from xenia.domain.event_state cimport EventChannel
from xenia.domain.two_level cimport two_level_is_pending
from xenia.domain.upcall cimport mark_events_pending
from xenia.machine.atomic cimport half_and, half_or, half_read, half_swap
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport FRAME_WRITABLE, frame_words
from xenia.mm.references cimport get_page_and_type, put_page_and_type

cdef enum:
    WORDS_PER_PAGE = 1024
    LINK_ATTEMPTS = 8
    MAX_PAGES = EVTCHN_FIFO_NR_CHANNELS // WORDS_PER_PAGE

cdef uint32_t PENDING = <uint32_t>1 << EVTCHN_FIFO_PENDING
cdef uint32_t MASKED = <uint32_t>1 << EVTCHN_FIFO_MASKED
cdef uint32_t LINKED = <uint32_t>1 << EVTCHN_FIFO_LINKED
cdef uint32_t BUSY = <uint32_t>1 << EVTCHN_FIFO_BUSY

# --- the pages


cdef int hold(Domain *domain, uint64_t mfn) noexcept nogil:
    cdef int result
    lock(&domain.memory.lock)
    result = get_page_and_type(&domain.memory, mfn, FRAME_WRITABLE)
    unlock(&domain.memory.lock)
    return -XEN_EINVAL if result else 0


cdef int fifo_init_control(Vcpu *vcpu, uint64_t mfn, uint32_t offset) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    if (offset > 4096 - sizeof(evtchn_fifo_control_block_t) or offset & 7 or vcpu.events.fifo_control != NULL
            or hold(domain, mfn)):
        return -XEN_EINVAL
    vcpu.events.fifo_control_mfn = mfn
    vcpu.events.fifo_control = <evtchn_fifo_control_block_t *>(domain.machine.base + (mfn << 12) + offset)
    if not domain.events.fifo:
        take_over(domain)
    return 0


# What is pending in shared_info waits for its word.
cdef void take_over(Domain *domain) noexcept nogil:
    cdef EventChannel *channel
    cdef uint32_t port
    for port in range(1, min(<uint32_t>domain.events.valid_ports, <uint32_t>NR_EVENT_CHANNELS_2L)):
        channel = event_channel(domain, port)
        channel.priority = EVTCHN_FIFO_PRIORITY_DEFAULT
        channel.unplaced = two_level_is_pending(domain, port)
    domain.events.fifo = 1


cdef int fifo_expand_array(Domain *domain, uint64_t mfn) noexcept nogil:
    cdef uint32_t port, first = domain.events.nr_array * WORDS_PER_PAGE
    if not domain.events.fifo:
        return -XEN_EOPNOTSUPP
    if domain.events.nr_array == MAX_PAGES:
        return -XEN_ENOSPC
    if hold(domain, mfn):
        return -XEN_EINVAL
    domain.events.array[domain.events.nr_array] = mfn
    domain.events.nr_array += 1
    for port in range(first, min(<uint32_t>domain.events.valid_ports, first + WORDS_PER_PAGE)):
        if event_channel(domain, port).unplaced:
            event_channel(domain, port).unplaced = 0
            fifo_set_pending(domain, port)
    return 0


cdef void fifo_end(Domain *domain) noexcept nogil:
    cdef Vcpu *vcpu
    cdef uint32_t i, queue
    if not domain.events.fifo:
        return
    domain.events.fifo = 0
    lock(&domain.memory.lock)
    for i in range(domain.nr_vcpus):
        vcpu = domain.vcpus[i]
        if vcpu.events.fifo_control != NULL:
            vcpu.events.fifo_control = NULL
            put_page_and_type(&domain.memory, vcpu.events.fifo_control_mfn)
        for queue in range(EVTCHN_FIFO_MAX_QUEUES):
            vcpu.events.fifo_tail[queue] = 0
    while domain.events.nr_array:
        domain.events.nr_array -= 1
        put_page_and_type(&domain.memory, domain.events.array[domain.events.nr_array])
    unlock(&domain.memory.lock)


# --- the words


# NULL: its page is not there yet.
cdef inline uint32_t *event_word(Domain *domain, uint32_t port) noexcept nogil:
    if port // WORDS_PER_PAGE >= domain.events.nr_array:
        return NULL
    return <uint32_t *>frame_words(domain.machine, domain.events.array[port // WORDS_PER_PAGE]) + port % WORDS_PER_PAGE


cdef bint fifo_set_pending(Domain *domain, uint32_t port) noexcept nogil:
    cdef EventChannel *channel = event_channel(domain, port)
    cdef uint32_t *word = event_word(domain, port)
    cdef uint32_t before
    if word == NULL:
        channel.unplaced = 1
        return False
    before = half_or(word, PENDING)
    if (not before & (MASKED | LINKED) and domain.vcpus[channel.notify_vcpu].events.fifo_control != NULL
            and not half_or(word, LINKED) & LINKED):
        enqueue(domain, channel, port)
    return not before & PENDING


cdef void enqueue(Domain *domain, EventChannel *channel, uint32_t port) noexcept nogil:
    cdef Vcpu *vcpu = domain.vcpus[channel.notify_vcpu]
    cdef uint32_t *tail = &domain.vcpus[channel.last_vcpu].events.fifo_tail[channel.last_priority]
    cdef uint32_t bit = <uint32_t>1 << channel.priority
    if tail[0] == port:
        tail[0] = 0
    channel.last_vcpu = channel.notify_vcpu
    channel.last_priority = channel.priority
    tail = &vcpu.events.fifo_tail[channel.priority]
    if not append(domain, tail[0], port):
        vcpu.events.fifo_control.head[channel.priority] = port
        if not half_or(&vcpu.events.fifo_control.ready, bit) & bit:
            mark_events_pending(vcpu)
    tail[0] = port


# False: `tail` is on no queue any more.  A guest takes it off at the same time, which BUSY asks it to wait with; one
# that changes its word again and again loses the event.
cdef bint append(Domain *domain, uint32_t tail, uint32_t port) noexcept nogil:
    cdef uint32_t *word
    cdef uint32_t before
    cdef int attempt
    if tail == 0:
        return False
    word = event_word(domain, tail)
    for attempt in range(LINK_ATTEMPTS):
        if attempt == LINK_ATTEMPTS // 2:
            half_or(word, BUSY)
        before = half_read(word)
        if not before & LINKED:
            half_and(word, ~BUSY)
            return False
        if half_swap(word, before, before & ~(BUSY | EVTCHN_FIFO_LINK_MASK) | port):
            return True
    half_and(word, ~BUSY)
    return True


cdef void fifo_clear_pending(Domain *domain, uint32_t port) noexcept nogil:
    cdef uint32_t *word = event_word(domain, port)
    event_channel(domain, port).unplaced = 0
    if word != NULL:
        half_and(word, ~PENDING)


cdef void fifo_unmask(Domain *domain, uint32_t port) noexcept nogil:
    cdef uint32_t *word = event_word(domain, port)
    if word == NULL:
        return
    if half_and(word, ~MASKED) & PENDING:
        fifo_set_pending(domain, port)


cdef bint fifo_is_pending(Domain *domain, uint32_t port) noexcept nogil:
    cdef uint32_t *word = event_word(domain, port)
    return word != NULL and word[0] & PENDING != 0


cdef bint fifo_is_masked(Domain *domain, uint32_t port) noexcept nogil:
    cdef uint32_t *word = event_word(domain, port)
    return word == NULL or word[0] & MASKED != 0


cdef bint fifo_is_linked(Domain *domain, uint32_t port) noexcept nogil:
    cdef uint32_t *word = event_word(domain, port)
    return word != NULL and word[0] & LINKED != 0
