# cython: boundscheck=True
# What was saved may be shorter than it should be.
"""The nouns of a domain as values, and back again.

What is saved of each is what its struct says is saved (domain.pxd); what is rebuilt is made as for a new domain.  A
vcpu is restored through the same doors that its guest would use: base pointers, GDT and LDT are taken with references,
so that a state that was damaged or forged is refused as a guest's request would be.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from xenia.abi.memory cimport e820_entry_t
from xenia.abi.xen cimport INVALID_M2P_ENTRY, VMASST_TYPE_writable_pagetables, trap_info_t, vcpu_info_t
from xenia.cpu.persist cimport context_restore, context_save
from xenia.domain.time cimport system_time
from xenia.domain.vcpu_state cimport Callback
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport FRAME_L4, FRAME_WRITABLE
from xenia.mm.pv.descriptors cimport set_gdt, set_ldt
from xenia.mm.references cimport get_page_and_type

from xenia.domain.saved import SavedClock, SavedDomain, SavedVcpu
from xenia.errors import ConfigError

cdef extern from *:
    """
    static inline void fence_all(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    """
    void fence_all() noexcept nogil


# --- the domain ---


cdef object domain_save(Domain *domain):
    cdef e820_entry_t *e820 = domain.memory_map.entries
    cdef uint32_t i
    return SavedDomain(
        handle=bytes((<uint8_t *>domain.handle)[:16]),
        is_linux=domain.is_linux,
        vm_assist=domain.vm_assist,
        e820=tuple((e820[i].addr, e820[i].size, e820[i].type) for i in range(domain.memory_map.nr)),
        watchdog_expires=tuple(domain.watchdog_expires[i] for i in range(2)),
        has_listened=domain.life.has_listened,
        console_used=domain.rings.console_used,
    )


cdef int domain_restore(Domain *domain, object saved) except -1:
    cdef e820_entry_t *e820 = domain.memory_map.entries
    cdef uint32_t i
    cdef const uint8_t[::1] handle = saved.handle
    if handle.shape[0] != 16 or len(saved.e820) > 128 or len(saved.watchdog_expires) != 2:
        raise ConfigError("the saved guest is damaged: its domain cannot be")
    for i in range(16):
        domain.handle[i] = handle[i]
    domain.is_linux = saved.is_linux
    domain.vm_assist = saved.vm_assist
    domain.mmu.writable_pagetables = domain.vm_assist >> VMASST_TYPE_writable_pagetables & 1
    domain.memory_map.nr = len(saved.e820)
    for i in range(domain.memory_map.nr):
        e820[i].addr, e820[i].size, e820[i].type = saved.e820[i]
    for i in range(2):
        domain.watchdog_expires[i] = saved.watchdog_expires[i]
    domain.life.has_listened = saved.has_listened
    domain.rings.console_used = saved.console_used
    return 0


# --- time ---


cdef object clock_save(Domain *domain):
    cdef Clock *clock = &domain.clock
    # In this order: time was seen to be no further when the counter is read.
    cdef uint64_t now = system_time(domain)
    return SavedClock(clock.warped, now, domain.vcpus[0].processor.ops.read_tsc(domain.vcpus[0].processor))


cdef int clock_restore(Domain *domain, object saved) except -1:
    cdef Clock *clock = &domain.clock
    cdef uint64_t ns = saved.system_time, tsc = saved.tsc
    cdef uint64_t ticks = tsc - domain.vcpus[0].processor.ops.read_tsc(domain.vcpus[0].processor)
    cdef uint64_t passed = clock.host_clock(clock.host_argument) - clock.host_base
    cdef uint32_t id
    clock.tsc_offset += <int64_t>ticks
    clock.warp = ns - passed
    clock.wall_base_ns += passed - ns
    for id in range(domain.nr_vcpus):
        domain.vcpus[id].processor.ops.set_tsc_offset(domain.vcpus[id].processor, clock.tsc_offset)
    clock.version += 1
    fence_all()
    clock.tsc_stamp = tsc
    clock.stime_stamp = ns
    fence_all()
    clock.version += 1
    clock.host_tsc = tsc
    clock.host_stamp = clock.host_base + passed
    clock.calibrate_at = ns + clock.interval
    return 0


# --- the vcpu ---


cdef object vcpu_save(Vcpu *vcpu):
    cdef trap_info_t *traps = vcpu.traps.table
    cdef uint32_t i
    cdef Callback *callbacks[5]
    list_callbacks(vcpu, callbacks)
    return SavedVcpu(
        context=context_save(vcpu.processor),
        root_kernel=vcpu.mmu.root_kernel,
        root_user=vcpu.mmu.root_user,
        gdt_frames=tuple(vcpu.mmu.gdt_frames[i] for i in range((vcpu.mmu.gdt_entries + 511) // 512)),
        gdt_entries=vcpu.mmu.gdt_entries,
        ldt_base=vcpu.mmu.ldt_base,
        ldt_entries=vcpu.mmu.ldt_entries,
        traps=tuple((traps[i].vector, traps[i].flags, traps[i].cs, traps[i].address) for i in range(256)),
        callbacks=tuple((callbacks[i].address, callbacks[i].disables_events) for i in range(5)),
        nmi_pending=vcpu.traps.nmi_pending,
        nmi_masked=vcpu.traps.nmi_masked,
        kernel_sp=vcpu.traps.kernel_sp,
        iopl=vcpu.ports.iopl,
        iobmp_va=vcpu.ports.iobmp_va,
        iobmp_limit=vcpu.ports.iobmp_limit,
        gs_base_kernel=vcpu.control.gs_base_kernel,
        gs_base_user=vcpu.control.gs_base_user,
        cr0=vcpu.control.cr0,
        cr2=vcpu.control.cr2,
        cr4=vcpu.control.cr4,
        dr=tuple(vcpu.control.dr[i] for i in range(8)),
        tsc_aux=vcpu.control.tsc_aux,
        mcg_status=vcpu.control.mcg_status,
        mc_ctl2=tuple(vcpu.control.mc_ctl2[i] for i in range(2)),
        pci_cf8=vcpu.ports.pci_cf8,
        cmos_index=vcpu.ports.cmos_index,
        info=bytes((<uint8_t *>vcpu.info)[:sizeof(vcpu_info_t)]),
        info_frame=None if vcpu.info_mfn == INVALID_M2P_ENTRY else vcpu.info_mfn,
        info_offset=0 if vcpu.info_mfn == INVALID_M2P_ENTRY else <uint64_t>vcpu.info & 0xfff,
        blocked=vcpu.blocked,
        timer_expires=vcpu.timers.singleshot_expires,
        periodic_period=vcpu.timers.periodic_period,
        periodic_expires=vcpu.timers.periodic_expires,
        poll_expires=vcpu.timers.poll_expires,
        time_info_va=vcpu.timers.time_info_va,
        runstate=vcpu.runstate.state,
        runstate_entry=vcpu.runstate.since,
        runstate_time=tuple(vcpu.runstate.time[i] for i in range(4)),
        runstate_va=vcpu.runstate.va,
        is_up=vcpu.is_up,
    )


cdef int vcpu_restore(Vcpu *vcpu, object saved) except -1:
    cdef trap_info_t *traps = vcpu.traps.table
    cdef uint32_t i
    cdef Callback *callbacks[5]
    cdef const uint8_t[::1] info = saved.info
    if (len(saved.traps) != 256 or len(saved.callbacks) != 5 or info.shape[0] != sizeof(vcpu_info_t)
            or not 0 <= saved.runstate < 4):
        raise ConfigError("the saved guest is damaged: its vcpu cannot be")
    restore_tables(vcpu, saved)
    list_callbacks(vcpu, callbacks)
    for i in range(256):
        traps[i].vector, traps[i].flags, traps[i].cs, traps[i].address = saved.traps[i]
    for i in range(5):
        callbacks[i].address, callbacks[i].disables_events = saved.callbacks[i]
    vcpu.traps.nmi_pending, vcpu.traps.nmi_masked = saved.nmi_pending, saved.nmi_masked
    vcpu.traps.kernel_sp = saved.kernel_sp
    vcpu.ports.iopl, vcpu.ports.iobmp_va, vcpu.ports.iobmp_limit = saved.iopl, saved.iobmp_va, saved.iobmp_limit
    vcpu.control.gs_base_kernel, vcpu.control.gs_base_user = saved.gs_base_kernel, saved.gs_base_user
    vcpu.control.cr0, vcpu.control.cr2, vcpu.control.cr4 = saved.cr0, saved.cr2, saved.cr4
    for i in range(8):
        vcpu.control.dr[i] = saved.dr[i]
    vcpu.control.tsc_aux, vcpu.control.mcg_status = saved.tsc_aux, saved.mcg_status
    vcpu.ports.pci_cf8, vcpu.ports.cmos_index = saved.pci_cf8, saved.cmos_index
    for i in range(2):
        vcpu.control.mc_ctl2[i] = saved.mc_ctl2[i]
    if saved.info_frame is not None:
        place_info(vcpu, saved.info_frame, saved.info_offset)
    memcpy(vcpu.info, &info[0], sizeof(vcpu_info_t))
    vcpu.blocked = saved.blocked
    vcpu.timers.singleshot_expires = saved.timer_expires
    vcpu.timers.periodic_period, vcpu.timers.periodic_expires = saved.periodic_period, saved.periodic_expires
    vcpu.timers.poll_expires, vcpu.timers.time_info_va = saved.poll_expires, saved.time_info_va
    vcpu.runstate.va = saved.runstate_va
    vcpu.runstate.state, vcpu.runstate.since = saved.runstate, saved.runstate_entry
    for i in range(4):
        vcpu.runstate.time[i] = saved.runstate_time[i]
    vcpu.is_up = saved.is_up
    context_restore(vcpu.processor, saved.context)
    return 0


cdef int place_info(Vcpu *vcpu, uint64_t mfn, uint64_t offset) except -1:
    # Not as its guest would: nothing has to be told to it.
    cdef int rc
    if offset & 7 or offset > 4096 - sizeof(vcpu_info_t):
        raise ConfigError("the saved guest is damaged: its vcpu_info cannot be")
    with nogil:
        lock(&vcpu.domain.memory.lock)
        rc = get_page_and_type(&vcpu.domain.memory, mfn, FRAME_WRITABLE)
        unlock(&vcpu.domain.memory.lock)
    if rc:
        raise ConfigError("the saved guest is damaged: its vcpu_info cannot be")
    vcpu.info = <vcpu_info_t *>(vcpu.domain.machine.base + (mfn << 12) + offset)
    vcpu.info_mfn = mfn
    return 0


cdef int restore_tables(Vcpu *vcpu, object saved) except -1:
    cdef uint64_t frames[16]
    cdef uint64_t kernel = saved.root_kernel, user = saved.root_user, ldt_base = saved.ldt_base
    cdef uint32_t gdt_entries = saved.gdt_entries, ldt_entries = saved.ldt_entries, i
    cdef bint user_loaded = not saved.context.kernel and user
    cdef int rc
    if len(saved.gdt_frames) != (gdt_entries + 511) // 512 or len(saved.gdt_frames) > 14:
        raise ConfigError("the saved guest is damaged: its descriptor table cannot be")
    for i in range(<uint32_t>len(saved.gdt_frames)):
        frames[i] = saved.gdt_frames[i]
    with nogil:
        lock(&vcpu.domain.memory.lock)
        rc = get_page_and_type(&vcpu.domain.memory, kernel, FRAME_L4)
        if rc == 0:
            vcpu.mmu.root_kernel = vcpu.mmu.root_loaded = kernel
            if user:
                rc = get_page_and_type(&vcpu.domain.memory, user, FRAME_L4)
        if rc == 0:
            vcpu.mmu.root_user = user
            if user_loaded:
                vcpu.mmu.root_loaded = user
            vcpu.processor.ops.load_root(vcpu.processor, vcpu.mmu.root_loaded, user_loaded)
            rc = set_gdt(&vcpu.domain.mmu, &vcpu.mmu, frames, gdt_entries)
        if rc == 0:
            rc = set_ldt(&vcpu.domain.mmu, &vcpu.mmu, ldt_base, ldt_entries)
        unlock(&vcpu.domain.memory.lock)
    if rc:
        raise ConfigError("the saved guest is damaged: its page tables or descriptors do not validate")
    return 0


cdef void list_callbacks(Vcpu *vcpu, Callback **callbacks) noexcept nogil:
    callbacks[0] = &vcpu.traps.event_callback
    callbacks[1] = &vcpu.traps.failsafe_callback
    callbacks[2] = &vcpu.traps.syscall_callback
    callbacks[3] = &vcpu.traps.syscall32_callback
    callbacks[4] = &vcpu.traps.sysenter_callback
