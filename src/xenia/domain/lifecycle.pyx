"""A domain's beginning and end as plain state: what Xen's domain_create and domain_shutdown leave behind."""
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc
from libc.string cimport strncpy
from xenia.abi.xen cimport INVALID_M2P_ENTRY
from xenia.domain.channels cimport channels_grow, event_channel
from xenia.domain.clock cimport RUNSTATE_offline
from xenia.domain.domain cimport MAX_VCPUS, SHUTDOWN_NONE, SHUTDOWN_crash, Domain, Vcpu
from xenia.domain.event_state cimport ECS_RESERVED
from xenia.domain.vcpu_info cimport vcpu_info_release
from xenia.machine.machine cimport FRAME_WRITABLE
from xenia.mm.pv.pvmmu cimport get_page_and_type, put_page_and_type

# PV guests start with a 100 Hz ticker.
cdef enum:
    DEFAULT_PERIOD_NS = 10_000_000


cdef bint domain_init(Domain *domain) noexcept nogil:
    domain.users = 1
    domain.life.shutdown = SHUTDOWN_NONE
    domain.life.shutdown_code = SHUTDOWN_NONE
    domain.links.wake_fd = -1
    domain.links.emergency_fd = domain.links.log_fd = -1
    domain.grants.version = 1
    if vcpu_create(domain) == NULL or not channels_grow(domain):
        return False
    event_channel(domain, 0).state = ECS_RESERVED
    domain.events.first_free = 1
    return True


cdef Vcpu *vcpu_create(Domain *domain) noexcept nogil:
    cdef Vcpu *vcpu = NULL
    if domain.nr_vcpus < MAX_VCPUS:
        vcpu = <Vcpu *>calloc(1, sizeof(Vcpu))
    if vcpu != NULL:
        vcpu.domain = domain
        vcpu.id = domain.nr_vcpus
        vcpu.info_mfn = INVALID_M2P_ENTRY
        vcpu.runstate.state = RUNSTATE_offline
        vcpu.timers.periodic_period = DEFAULT_PERIOD_NS
        domain.vcpus[vcpu.id] = vcpu
        domain.nr_vcpus += 1
    return vcpu


cdef void domain_shutdown(Domain *domain, int reason) noexcept nogil:
    if domain.life.shutdown_code == SHUTDOWN_NONE:
        domain.life.shutdown_code = reason
    if domain.life.shutdown == SHUTDOWN_NONE:
        domain.life.shutdown = domain.life.shutdown_code


cdef void domain_crash(Domain *domain, const char *reason) noexcept nogil:
    # The first reason stays: what follows a crash is its consequence.
    if domain.life.shutdown == SHUTDOWN_NONE:
        strncpy(domain.life.crash_reason, reason, sizeof(domain.life.crash_reason) - 1)
        domain_shutdown(domain, SHUTDOWN_crash)


cdef int domain_hold_rings(Domain *domain) noexcept nogil:
    cdef int rc = get_page_and_type(&domain.mmu, domain.rings.store_mfn, FRAME_WRITABLE)
    if rc == 0:
        rc = get_page_and_type(&domain.mmu, domain.rings.console_mfn, FRAME_WRITABLE)
        if rc:
            put_page_and_type(&domain.mmu, domain.rings.store_mfn)
    domain.rings.held = rc == 0
    return rc


cdef void domain_release_frames(Domain *domain) noexcept nogil:
    cdef uint32_t id
    if domain.rings.held:
        domain.rings.held = 0
        put_page_and_type(&domain.mmu, domain.rings.store_mfn)
        put_page_and_type(&domain.mmu, domain.rings.console_mfn)
    for id in range(domain.nr_vcpus):
        vcpu_info_release(domain.vcpus[id])
    if domain.events.pirq_eoi_mfn:
        put_page_and_type(&domain.mmu, domain.events.pirq_eoi_mfn)
        domain.events.pirq_eoi_mfn = 0
