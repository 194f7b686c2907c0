"""A domain's beginning and end: what Xen's domain_create makes and its domain_destroy gives back.

What is made here is given back here, in the opposite order, whether the domain got as far as running or not: each part
says by itself whether it is there.  Memory of the domain's own, and what its guest makes Xenia hold, comes later and
goes first.
"""
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free

from xenia.abi.errno cimport XEN_EEXIST, XEN_ENOMEM
from xenia.abi.xen cimport INVALID_M2P_ENTRY, shared_info_t
from xenia.domain.channels cimport channels_grow, event_channel
from xenia.domain.clock cimport RUNSTATE_offline
from xenia.domain.directory cimport directory_add, directory_remove, domain_leave
from xenia.domain.domain cimport MAX_VCPUS, SHUTDOWN_NONE
from xenia.domain.event_state cimport ECS_RESERVED
from xenia.domain.events cimport event_reset
from xenia.domain.grant_frames cimport grant_frames_grow, grant_frames_release
from xenia.domain.grant_maps cimport grant_maps_release
from xenia.domain.vcpu_info cimport vcpu_info_release
from xenia.machine.lock cimport RANK_DOMAIN, RANK_TURN, lock, lock_init, unlock
from xenia.machine.machine cimport (
    FRAME_L4, FRAME_PINNED, FRAME_SHARED, FRAME_VALIDATED, FRAME_WRITABLE, frame_words, machine_alloc, machine_free,
    machine_scrub,
)
from xenia.mm.pv.descriptors cimport perdomain_add_vcpu, perdomain_create, perdomain_destroy, release_gdt, set_ldt
from xenia.mm.pv.pvmmu cimport pv_mmu_init
from xenia.mm.references cimport get_page_and_type, put_page_and_type
from xenia.mm.reservation cimport relinquish

# PV guests start with a 100 Hz ticker.
cdef enum:
    DEFAULT_PERIOD_NS = 10_000_000


cdef int domain_create(Domain **created, Machine *machine, Directory *directory, uint16_t domid,
                       const GuestAbi *abi, Processor *processor) noexcept nogil:
    cdef Domain *domain = <Domain *>calloc(1, sizeof(Domain))
    cdef int rc = 0
    if domain == NULL:
        return -XEN_ENOMEM
    domain.abi = abi
    begin(domain, machine, domid)
    if (perdomain_create(&domain.mmu) or not shared_info_create(domain) or not grant_frames_grow(domain, 1)
            or not event_channels_create(domain) or vcpu_create(domain, processor) == NULL):
        rc = -XEN_ENOMEM
    elif directory != NULL and not directory_add(directory, domain):
        rc = -XEN_EEXIST
    if rc:
        domain_destroy(domain)
        domain_leave(domain)
        return rc
    created[0] = domain
    return 0


cdef void begin(Domain *domain, Machine *machine, uint16_t domid) noexcept nogil:
    domain.users = 1
    domain.machine = machine
    domain.domid = domid
    domain.life.shutdown = domain.life.shutdown_code = SHUTDOWN_NONE
    domain.links.emergency_fd = domain.links.log_fd = -1
    domain.shared_info_mfn = INVALID_M2P_ENTRY
    domain.grants.version = 1
    lock_init(&domain.turn.lock, RANK_TURN)
    lock_init(&domain.memory.lock, RANK_DOMAIN)
    domain.memory.machine = machine
    domain.memory.domid = domid
    pv_mmu_init(&domain.mmu, &domain.memory, domain.abi.levels)


cdef bint shared_info_create(Domain *domain) noexcept nogil:
    # A frame of Xen's that the guest may map writable, and never retype.
    cdef uint64_t mfn = machine_alloc(domain.machine, domain.domid)
    if mfn == INVALID_M2P_ENTRY:
        return False
    domain.machine.frames[mfn].flags = FRAME_VALIDATED
    domain.machine.frames[mfn].type = FRAME_SHARED
    domain.machine.frames[mfn].type_refs = 1
    domain.shared_info_mfn = mfn
    domain.shared_info = <shared_info_t *>frame_words(domain.machine, mfn)
    return True


cdef bint event_channels_create(Domain *domain) noexcept nogil:
    if not channels_grow(domain):
        return False
    event_channel(domain, 0).state = ECS_RESERVED
    domain.events.first_free = 1
    return True


cdef Vcpu *vcpu_create(Domain *domain, Processor *processor) noexcept nogil:
    cdef Vcpu *vcpu = NULL
    if domain.nr_vcpus < MAX_VCPUS:
        vcpu = <Vcpu *>calloc(1, sizeof(Vcpu))
    if vcpu != NULL and perdomain_add_vcpu(&domain.mmu, &vcpu.mmu, processor):
        free(vcpu)
        vcpu = NULL
    if vcpu != NULL:
        vcpu.domain = domain
        vcpu.id = vcpu.mmu.number
        vcpu.processor = processor
        processor.apic_id = 2 * vcpu.id     # as Xen numbers them
        processor.context = &vcpu.context
        processor.vcpu = vcpu
        processor.ops.set_tsc_offset(processor, domain.clock.tsc_offset)
        vcpu.info = &domain.shared_info.vcpu_info[vcpu.id]
        vcpu.info.evtchn_upcall_mask = 1
        vcpu.info_mfn = INVALID_M2P_ENTRY
        vcpu.runstate.state = RUNSTATE_offline
        vcpu.timers.periodic_period = DEFAULT_PERIOD_NS
        domain.vcpus[vcpu.id] = vcpu
        if domain.memory.preempt == NULL:
            domain.memory.preempt = &vcpu.preempt
        domain.nr_vcpus += 1
    return vcpu


cdef int vcpu_begin_on(Vcpu *vcpu, uint64_t root) noexcept nogil:
    cdef Domain *domain = vcpu.domain
    cdef int rc
    lock(&domain.memory.lock)
    rc = get_page_and_type(&domain.memory, root, FRAME_L4)
    if rc == 0:
        get_page_and_type(&domain.memory, root, FRAME_L4)
        domain.machine.frames[root].flags |= FRAME_PINNED
        vcpu.mmu.root_kernel = vcpu.mmu.root_loaded = root
        vcpu.processor.ops.load_root(vcpu.processor, root, False)
    unlock(&domain.memory.lock)
    return rc


cdef int domain_hold_rings(Domain *domain) noexcept nogil:
    cdef int rc = get_page_and_type(&domain.memory, domain.rings.store_mfn, FRAME_WRITABLE)
    if rc == 0:
        rc = get_page_and_type(&domain.memory, domain.rings.console_mfn, FRAME_WRITABLE)
        if rc:
            put_page_and_type(&domain.memory, domain.rings.store_mfn)
    domain.rings.held = rc == 0
    return rc


# --- the end ---


cdef uint64_t domain_destroy(Domain *domain) noexcept nogil:
    cdef uint64_t left
    cdef uint32_t id
    if domain.life.is_dying:
        return 0
    directory_remove(domain)
    event_reset(domain)
    processors_end(domain)
    grant_maps_release(domain)
    lock(&domain.memory.lock)
    domain.life.is_dying = 1
    domain.memory.dying = 1
    let_go_of_frames(domain)
    for id in range(domain.nr_vcpus):
        vcpu_let_go(domain.vcpus[id])
    if domain.shared_info_mfn != INVALID_M2P_ENTRY:
        domain.machine.frames[domain.shared_info_mfn].type_refs -= 1
    left = relinquish(&domain.memory) - domain.grants.nr_frames - domain.grants.nr_status_frames
    grant_frames_release(domain)
    if domain.shared_info_mfn != INVALID_M2P_ENTRY:
        left -= 1
        machine_free(domain.machine, domain.shared_info_mfn)
    if domain.mmu.perdomain_l3 != INVALID_M2P_ENTRY:
        perdomain_destroy(&domain.mmu)
    machine_scrub(domain.machine)
    unlock(&domain.memory.lock)
    return left


cdef void processors_end(Domain *domain) noexcept nogil:
    # Before any frame goes elsewhere.
    cdef Processor *processor
    cdef uint32_t id
    for id in range(domain.nr_vcpus):
        processor = domain.vcpus[id].processor
        if processor.ops.end != NULL:
            processor.ops.end(processor)


cdef void let_go_of_frames(Domain *domain) noexcept nogil:
    # Those that hypercalls made Xenia hold, and the rings.
    if domain.rings.held:
        domain.rings.held = 0
        put_page_and_type(&domain.memory, domain.rings.store_mfn)
        put_page_and_type(&domain.memory, domain.rings.console_mfn)
    if domain.events.pirq_eoi_mfn:
        put_page_and_type(&domain.memory, domain.events.pirq_eoi_mfn)
        domain.events.pirq_eoi_mfn = 0


cdef void vcpu_let_go(Vcpu *vcpu) noexcept nogil:
    vcpu_info_release(vcpu)
    set_ldt(&vcpu.domain.mmu, &vcpu.mmu, 0, 0)
    release_gdt(&vcpu.domain.mmu, &vcpu.mmu)
    if vcpu.mmu.root_kernel:
        if vcpu.mmu.root_user:
            put_page_and_type(&vcpu.domain.memory, vcpu.mmu.root_user)
        put_page_and_type(&vcpu.domain.memory, vcpu.mmu.root_kernel)
        vcpu.mmu.root_kernel = vcpu.mmu.root_user = 0
