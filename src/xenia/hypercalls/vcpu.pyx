"""vcpu_op (public/vcpu.h): on any vcpu of the domain.  Its one-shot timer is a vcpu's own affair, and one that is up
places its vcpu_info itself.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset
from xenia.abi.errno cimport XEN_EEXIST, XEN_EFAULT, XEN_EINVAL, XEN_ENOENT, XEN_ENOSYS
from xenia.abi.vcpu cimport (
    VCPUOP_down,
    VCPUOP_get_physid,
    VCPUOP_get_runstate_info,
    VCPUOP_initialise,
    VCPUOP_is_up,
    VCPUOP_register_runstate_memory_area,
    VCPUOP_register_vcpu_info,
    VCPUOP_register_vcpu_time_memory_area,
    VCPUOP_send_nmi,
    VCPUOP_set_periodic_timer,
    VCPUOP_set_singleshot_timer,
    VCPUOP_stop_periodic_timer,
    VCPUOP_stop_singleshot_timer,
    VCPUOP_up,
    vcpu_register_vcpu_info_t,
    vcpu_runstate_info_t,
    vcpu_set_singleshot_timer_t,
)
from xenia.abi.xen cimport HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START, vcpu_guest_context_t, vcpu_info_t
from xenia.domain.clock cimport Runstate
from xenia.domain.domain cimport SHUTDOWN_NONE, SHUTDOWN_poweroff, Domain, Vcpu, domain_vcpu
from xenia.domain.lifecycle cimport domain_shutdown
from xenia.domain.pv.guest_context cimport guest_context_take
from xenia.domain.time cimport (
    runstate_of, runstate_publish, system_time, time_update_by, timer_set_periodic, timer_set_singleshot,
)
from xenia.domain.upcall cimport vcpu_nudge, vcpu_rouse, vcpu_unblock, vcpu_wake
from xenia.domain.vcpu_info cimport vcpu_info_register
from xenia.hypercalls.guest cimport from_guest, to_guest
from xenia.machine.atomic cimport flag_store

cdef enum:
    MIN_PERIOD_NS = 1_000_000
    MAX_DELTA_SHIFT = 62            # longer periods than 2^62 ns are refused


cdef bint in_hypervisor(uint64_t va) noexcept nogil:
    return HYPERVISOR_VIRT_START <= va < HYPERVISOR_VIRT_END


# `vcpu` is who calls, and whose memory the argument is in; `target` is whom it is about.


cdef int64_t initialise(Vcpu *vcpu, Vcpu *target, uint64_t va) noexcept nogil:
    cdef vcpu_guest_context_t given
    cdef int rc
    if from_guest(vcpu, &given, va, sizeof(given)):
        return -XEN_EFAULT
    if target.initialised:
        return -XEN_EEXIST
    rc = guest_context_take(target, &given)
    if target.is_up:        # VGCF_online: it waits for no VCPUOP_up
        vcpu_wake(target)
    return rc


cdef int64_t up(Vcpu *target) noexcept nogil:
    if not target.initialised:
        return -XEN_EINVAL
    if not target.is_up:
        flag_store(&target.is_up, 1)
        vcpu_wake(target)
    return 0


cdef int64_t get_runstate_info(Vcpu *vcpu, Vcpu *target, uint64_t va) noexcept nogil:
    cdef vcpu_runstate_info_t info
    cdef Runstate found
    cdef int i
    runstate_of(target, &found)
    memset(&info, 0, sizeof(info))      # its padding too
    info.state = found.state
    info.state_entry_time = found.since
    for i in range(4):
        info.time[i] = found.time[i]
    return to_guest(vcpu, va, &info, sizeof(info))


cdef int64_t register_runstate_memory_area(Vcpu *vcpu, Vcpu *target, uint64_t va) noexcept nogil:
    cdef uint64_t area
    if from_guest(vcpu, &area, va, sizeof(area)) or in_hypervisor(area):
        return -XEN_EFAULT
    target.runstate.va = area
    if area:
        runstate_publish(target, vcpu.mmu.root_kernel)
    return 0


cdef int64_t register_vcpu_time_memory_area(Vcpu *vcpu, Vcpu *target, uint64_t va) noexcept nogil:
    cdef uint64_t area
    if from_guest(vcpu, &area, va, sizeof(area)) or in_hypervisor(area):
        return -XEN_EFAULT
    target.timers.time_info_va = area
    time_update_by(target, vcpu.mmu.root_kernel)
    return 0


cdef int64_t set_periodic_timer(Vcpu *vcpu, Vcpu *target, uint64_t va) noexcept nogil:
    cdef uint64_t period
    if from_guest(vcpu, &period, va, sizeof(period)):
        return -XEN_EFAULT
    if period < MIN_PERIOD_NS or period >> MAX_DELTA_SHIFT:
        return -XEN_EINVAL
    timer_set_periodic(target, period, system_time(target.domain))
    if target != vcpu:
        vcpu_rouse(target)
    return 0


cdef int64_t set_singleshot_timer(Vcpu *vcpu, uint64_t va) noexcept nogil:
    cdef vcpu_set_singleshot_timer_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    # VCPU_SSHOTTMR_future may be ignored, and Xen does: a time gone by fires at once.
    timer_set_singleshot(vcpu, op.timeout_abs_ns if op.timeout_abs_ns else 1, system_time(vcpu.domain))
    return 0


cdef int64_t register_vcpu_info(Vcpu *vcpu, Vcpu *target, uint64_t va) noexcept nogil:
    cdef vcpu_register_vcpu_info_t op
    if from_guest(vcpu, &op, va, sizeof(op)):
        return -XEN_EFAULT
    if target != vcpu and target.is_up and op.offset <= 4096 - sizeof(vcpu_info_t) and op.offset & 7 == 0:
        return -XEN_EINVAL
    return vcpu_info_register(target, op.mfn, op.offset)


# The last one that is up takes the domain with it.
cdef int64_t down(Vcpu *vcpu, Vcpu *target) noexcept nogil:
    cdef Domain *domain = target.domain
    cdef uint32_t id
    for id in range(domain.nr_vcpus):
        if id != target.id and domain.vcpus[id].is_up:
            flag_store(&target.is_up, 0)
            if target != vcpu:
                vcpu_nudge(target)
            return 0
    domain.life.halted = domain.life.shutdown_code == SHUTDOWN_NONE
    domain_shutdown(domain, SHUTDOWN_poweroff)
    return 0


cdef int64_t do_vcpu_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint32_t cmd = <uint32_t>args[0]
    cdef Vcpu *target = domain_vcpu(vcpu.domain, <uint32_t>args[1])
    cdef uint64_t va = args[2]
    if target == NULL:
        return -XEN_ENOENT
    if cmd == VCPUOP_set_singleshot_timer:
        return set_singleshot_timer(vcpu, va) if target == vcpu else -XEN_EINVAL
    if cmd == VCPUOP_stop_singleshot_timer:
        if target != vcpu:
            return -XEN_EINVAL
        vcpu.timers.singleshot_expires = 0
        return 0
    if cmd == VCPUOP_initialise:
        return initialise(vcpu, target, va)
    if cmd == VCPUOP_up:
        return up(target)
    if cmd == VCPUOP_down:
        return down(vcpu, target)
    if cmd == VCPUOP_is_up:
        return target.is_up
    if cmd == VCPUOP_get_runstate_info:
        return get_runstate_info(vcpu, target, va)
    if cmd == VCPUOP_register_runstate_memory_area:
        return register_runstate_memory_area(vcpu, target, va)
    if cmd == VCPUOP_set_periodic_timer:
        return set_periodic_timer(vcpu, target, va)
    if cmd == VCPUOP_stop_periodic_timer:
        target.timers.periodic_period = 0
        return 0
    if cmd == VCPUOP_register_vcpu_info:
        return register_vcpu_info(vcpu, target, va)
    if cmd == VCPUOP_register_vcpu_time_memory_area:
        return register_vcpu_time_memory_area(vcpu, target, va)
    if cmd == VCPUOP_send_nmi:
        if va:
            return -XEN_EINVAL
        flag_store(&target.traps.nmi_pending, 1)
        if target != vcpu:
            vcpu_unblock(target)
            vcpu_rouse(target)
        return 0
    return -XEN_EINVAL if cmd == VCPUOP_get_physid else -XEN_ENOSYS
