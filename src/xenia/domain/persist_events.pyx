# cython: boundscheck=True
# What was saved may be shorter than it should be.
"""A domain's event channels and its grant table as values, and back again.

Of a channel with two ends a domain has one.  The other, if it is Xenia's or another domain's, binds to it anew, as it
did at first: it is saved as its guest left it, unbound.  Frames that hold events are held again, as when the guest gave
them.  A guest that suspends itself gives all of this up, so a rebuilt one starts with new channels and an empty table
(hypervisor/persist); these are for who goes on without knowing of it.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from xenia.abi.event_channel cimport EVTCHN_FIFO_MAX_QUEUES, evtchn_fifo_control_block_t
from xenia.abi.xen cimport NR_VIRQS
from xenia.domain.channels cimport channels_grow, event_channel
from xenia.domain.domain cimport Vcpu
from xenia.domain.event_state cimport (
    ECS_INTERDOMAIN, ECS_RESERVED, ECS_UNBOUND, ECS_XENIA, EventChannel,
)
from xenia.domain.events cimport event_post
from xenia.domain.grant_frames cimport grant_frames_grow, grant_version_set
from xenia.domain.grants cimport grant_held_from
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport FRAME_WRITABLE, frame_words
from xenia.mm.references cimport get_page_and_type

from xenia.domain.saved import SavedChannel, SavedEvents, SavedGrants, SavedVcpuEvents
from xenia.errors import ConfigError

cdef enum:
    MAX_ARRAY = 128
    MAX_PORTS = MAX_ARRAY * 1024
    MAX_POLLS = 128


# --- events ---


cdef object events_save(Domain *domain):
    cdef uint32_t port, i
    channels = [
        save_channel(domain, port) for port in range(1, domain.events.valid_ports)
        if event_channel(domain, port).state or event_channel(domain, port).last_priority or posted(domain, port)
    ]
    return SavedEvents(
        nr_ports=domain.events.valid_ports,
        channels=tuple(channels),
        vcpus=tuple(save_vcpu(domain.vcpus[i]) for i in range(domain.nr_vcpus)),
        fifo=domain.events.fifo,
        array=tuple(domain.events.array[i] for i in range(domain.events.nr_array)),
        pending=bytes((<uint8_t *>domain.shared_info.evtchn_pending)[:sizeof(domain.shared_info.evtchn_pending)]),
        mask=bytes((<uint8_t *>domain.shared_info.evtchn_mask)[:sizeof(domain.shared_info.evtchn_mask)]),
        pirq_eoi=domain.events.pirq_eoi_mfn,
    )


cdef inline bint posted(Domain *domain, uint32_t port) noexcept nogil:
    return domain.events.buckets[port >> 6].mailbox >> (port & 63) & 1 != 0


cdef object save_channel(Domain *domain, uint32_t port):
    cdef EventChannel *channel = event_channel(domain, port)
    cdef bint to_itself = channel.state == ECS_INTERDOMAIN and channel.remote == <void *>domain
    cdef int state = channel.state
    if state == ECS_XENIA or (state == ECS_INTERDOMAIN and not to_itself):
        state = ECS_UNBOUND
    return SavedChannel(
        port=port,
        state=state,
        virq=channel.virq,
        vcpu=channel.notify_vcpu,
        remote_domid=channel.remote_domid if channel.remote_domid != domain.domid else -1,
        remote_port=channel.remote_port,
        to_itself=to_itself,
        queue=(channel.priority, channel.last_priority, channel.last_vcpu),
        unplaced=channel.unplaced,
        posted=posted(domain, port),
    )


cdef object save_vcpu(Vcpu *vcpu):
    cdef uint32_t i
    control = None
    if vcpu.events.fifo_control != NULL:
        control = (vcpu.events.fifo_control_mfn, <uint64_t>vcpu.events.fifo_control & 0xfff)
    return SavedVcpuEvents(
        virq_ports=tuple(vcpu.events.virq_port[i] for i in range(NR_VIRQS)),
        control=control,
        tails=tuple(vcpu.events.fifo_tail[i] for i in range(EVTCHN_FIFO_MAX_QUEUES)),
        polls=tuple(vcpu.events.poll_ports[i] for i in range(vcpu.events.poll_nr)),
    )


cdef int events_restore(Domain *domain, object saved) except -1:
    cdef const uint8_t[::1] pending = saved.pending, mask = saved.mask
    cdef uint32_t i
    check_events(domain, saved)
    while domain.events.valid_ports < <uint32_t>saved.nr_ports:
        if not channels_grow(domain):
            raise MemoryError
    for channel in saved.channels:
        restore_channel(domain, channel)
    domain.events.first_free = 1
    memcpy(domain.shared_info.evtchn_pending, &pending[0], sizeof(domain.shared_info.evtchn_pending))
    memcpy(domain.shared_info.evtchn_mask, &mask[0], sizeof(domain.shared_info.evtchn_mask))
    domain.events.fifo = saved.fifo
    for mfn in saved.array:
        hold(domain, mfn)
        domain.events.array[domain.events.nr_array] = mfn
        domain.events.nr_array += 1
    for i in range(domain.nr_vcpus):
        restore_vcpu(domain.vcpus[i], saved.vcpus[i])
    if saved.pirq_eoi:
        hold(domain, saved.pirq_eoi)
        domain.events.pirq_eoi_mfn = saved.pirq_eoi
    for channel in saved.channels:
        if channel.posted:
            event_post(domain, channel.port)
    return 0


cdef int check_events(Domain *domain, object saved) except -1:
    # Numbers that are indices here; what they say is the guest's own business.
    cdef bint good = len(saved.pending) == sizeof(domain.shared_info.evtchn_pending)
    good = good and len(saved.mask) == len(saved.pending) and len(saved.vcpus) == domain.nr_vcpus
    good = good and 64 <= saved.nr_ports <= MAX_PORTS and len(saved.array) <= MAX_ARRAY
    good = good and (saved.fifo or not (saved.array or any(vcpu.control for vcpu in saved.vcpus)))
    for channel in saved.channels:
        good = good and 0 < channel.port < saved.nr_ports and 0 <= channel.state <= ECS_XENIA
        good = good and channel.state not in (ECS_RESERVED, ECS_XENIA)
        good = good and 0 <= channel.vcpu < domain.nr_vcpus and 0 <= channel.virq < NR_VIRQS
        good = good and len(channel.queue) == 3 and all(0 <= level < 16 for level in channel.queue[:2])
        good = good and 0 <= channel.queue[2] < domain.nr_vcpus
        good = good and (channel.state == ECS_INTERDOMAIN) == channel.to_itself
    for vcpu in saved.vcpus:
        good = good and len(vcpu.virq_ports) == NR_VIRQS and len(vcpu.tails) == EVTCHN_FIFO_MAX_QUEUES
        good = good and len(vcpu.polls) <= MAX_POLLS
        good = good and all(0 <= port < saved.nr_ports for port in (*vcpu.virq_ports, *vcpu.tails, *vcpu.polls))
    ports = {channel.port: channel for channel in saved.channels}
    for channel in saved.channels:
        if channel.to_itself and good:
            other = ports.get(channel.remote_port)
            good = other is not None and other.to_itself and other.remote_port == channel.port
    if not good:
        raise ConfigError("the saved guest is damaged: its event channels cannot be")
    return 0


cdef int restore_channel(Domain *domain, object saved) except -1:
    cdef EventChannel *channel = event_channel(domain, saved.port)
    channel.state, channel.virq, channel.notify_vcpu = saved.state, saved.virq, saved.vcpu
    channel.remote_domid = saved.remote_domid if saved.remote_domid >= 0 else domain.domid
    channel.remote_port = saved.remote_port
    channel.remote = <void *>domain if saved.to_itself else NULL
    channel.priority, channel.last_priority, channel.last_vcpu = saved.queue
    channel.unplaced = saved.unplaced
    return 0


cdef int restore_vcpu(Vcpu *vcpu, object saved) except -1:
    cdef uint64_t mfn, offset
    cdef uint32_t i
    for i in range(NR_VIRQS):
        vcpu.events.virq_port[i] = saved.virq_ports[i]
    for i in range(EVTCHN_FIFO_MAX_QUEUES):
        vcpu.events.fifo_tail[i] = saved.tails[i]
    vcpu.events.poll_nr = len(saved.polls)
    for i in range(<uint32_t>len(saved.polls)):
        vcpu.events.poll_ports[i] = saved.polls[i]
    if saved.control is not None:
        mfn, offset = saved.control
        if offset & 7 or offset > 4096 - sizeof(evtchn_fifo_control_block_t):
            raise ConfigError("the saved guest is damaged: its event channels cannot be")
        hold(vcpu.domain, mfn)
        vcpu.events.fifo_control_mfn = mfn
        vcpu.events.fifo_control = <evtchn_fifo_control_block_t *>(vcpu.domain.machine.base + (mfn << 12) + offset)
    return 0


cdef int hold(Domain *domain, uint64_t mfn) except -1:
    cdef int rc
    with nogil:
        lock(&domain.memory.lock)
        rc = get_page_and_type(&domain.memory, mfn, FRAME_WRITABLE)
        unlock(&domain.memory.lock)
    if rc:
        raise ConfigError(f"the saved guest is damaged: its frame {mfn:#x} cannot hold events")
    return 0


# --- grants ---


cdef object grants_save(Domain *domain):
    cdef bint held
    cdef uint32_t i
    with nogil:
        lock(&domain.memory.lock)
        held = grant_held_from(domain, 0)
        unlock(&domain.memory.lock)
    if held:
        raise ConfigError("the guest cannot be saved: others hold frames that it granted")
    return SavedGrants(
        version=domain.grants.version,
        entries=b"".join(contents(domain, domain.grants.frames[i]) for i in range(domain.grants.nr_frames)),
        status=b"".join(
            contents(domain, domain.grants.status_frames[i]) for i in range(domain.grants.nr_status_frames)
        ),
    )


cdef bytes contents(Domain *domain, uint64_t mfn):
    return bytes((<uint8_t *>frame_words(domain.machine, mfn))[:4096])


cdef int grants_restore(Domain *domain, object saved) except -1:
    cdef const uint8_t[::1] entries = saved.entries, status
    cdef uint32_t nr_frames = len(saved.entries) >> 12, version = saved.version, i
    cdef bint enough
    if version not in (1, 2) or len(saved.entries) & 0xfff or nr_frames == 0:
        raise ConfigError("the saved guest is damaged: its grant table cannot be")
    with nogil:
        lock(&domain.memory.lock)
        enough = grant_version_set(domain, version) == 0 and grant_frames_grow(domain, nr_frames)
        unlock(&domain.memory.lock)
    if not enough or domain.grants.nr_frames != nr_frames or domain.grants.nr_status_frames << 12 != len(saved.status):
        raise ConfigError("the saved guest is damaged: its grant table cannot be")
    for i in range(nr_frames):
        memcpy(frame_words(domain.machine, domain.grants.frames[i]), &entries[i << 12], 4096)
    if domain.grants.nr_status_frames:
        status = saved.status
        for i in range(domain.grants.nr_status_frames):
            memcpy(frame_words(domain.machine, domain.grants.status_frames[i]), &status[i << 12], 4096)
    return 0
