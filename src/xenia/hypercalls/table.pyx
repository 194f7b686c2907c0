"""The hypercall table: dispatch, multicall, and what docs/hypercalls.md is generated from.

A row is Supported (all of it that a PV domain may use), Partial (the note says what is missing) or
Refused (the note says what Xen answers an ordinary domain).  A number without a row is -XEN_ENOSYS.

A continuation is Xen's: the handler leaves its arguments at what remains to be done, they go back into the registers,
and rip goes back over the `syscall`, so that the guest makes the same call again after whatever interrupted it.
"""
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy
from xenia.abi.errno cimport XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS
from xenia.abi.xen cimport (
    FLAT_RING3_CS64,
    FLAT_RING3_SS,
    HYPERVISOR_callback_op,
    HYPERVISOR_console_io,
    HYPERVISOR_dm_op,
    HYPERVISOR_domctl,
    HYPERVISOR_event_channel_op,
    HYPERVISOR_event_channel_op_compat,
    HYPERVISOR_fpu_taskswitch,
    HYPERVISOR_get_debugreg,
    HYPERVISOR_grant_table_op,
    HYPERVISOR_hvm_op,
    HYPERVISOR_hypfs_op,
    HYPERVISOR_iret,
    HYPERVISOR_kexec_op,
    HYPERVISOR_mca,
    HYPERVISOR_memory_op,
    HYPERVISOR_mmu_update,
    HYPERVISOR_mmuext_op,
    HYPERVISOR_multicall,
    HYPERVISOR_nmi_op,
    HYPERVISOR_paging_domctl_cont,
    HYPERVISOR_physdev_op,
    HYPERVISOR_physdev_op_compat,
    HYPERVISOR_platform_op,
    HYPERVISOR_sched_op,
    HYPERVISOR_sched_op_compat,
    HYPERVISOR_set_callbacks,
    HYPERVISOR_set_debugreg,
    HYPERVISOR_set_gdt,
    HYPERVISOR_set_segment_base,
    HYPERVISOR_set_timer_op,
    HYPERVISOR_set_trap_table,
    HYPERVISOR_stack_switch,
    HYPERVISOR_sysctl,
    HYPERVISOR_update_descriptor,
    HYPERVISOR_update_va_mapping,
    HYPERVISOR_update_va_mapping_otherdomain,
    HYPERVISOR_vcpu_op,
    HYPERVISOR_vm_assist,
    HYPERVISOR_xen_version,
    HYPERVISOR_xenoprof_op,
    HYPERVISOR_xenpmu_op,
    HYPERVISOR_xsm_op,
    multicall_entry_t,
)
from xenia.cpu.context cimport CONTEXT_SEGMENTS, R8, R9, R10, RAX, RDI, RDX, RSI, Context
from xenia.cpu.processor cimport LEAVE, RESUME
from xenia.domain.domain cimport GUEST_PV64, NR_GUESTS, SHUTDOWN_NONE, Domain, GuestAbi, Vcpu
from xenia.domain.observers cimport OBSERVED, observe_hypercall
from xenia.domain.pv.bounce64 cimport bounce64, iret64
from xenia.domain.turn cimport turn_pass, turn_take
from xenia.domain.upcall cimport events_pending
from xenia.hypercalls.console cimport do_console_io
from xenia.hypercalls.event cimport do_event_channel_op, do_event_channel_op_compat
from xenia.hypercalls.grant_table cimport do_grant_table_op
from xenia.hypercalls.guest cimport from_guest, to_guest
from xenia.hypercalls.memory cimport do_memory_op
from xenia.hypercalls.mmu cimport (
    do_mmu_update,
    do_mmuext_op,
    do_set_gdt,
    do_update_descriptor,
    do_update_va_mapping,
    do_update_va_mapping_otherdomain,
)
from xenia.hypercalls.physdev cimport do_physdev_op, do_physdev_op_compat
from xenia.hypercalls.privileged cimport (
    do_dm_op,
    do_domctl,
    do_hvm_op,
    do_hypfs_op,
    do_kexec_op,
    do_mca,
    do_paging_domctl_cont,
    do_platform_op,
    do_sysctl,
    do_xenoprof_op,
    do_xenpmu_op,
    do_xsm_op,
)
from xenia.hypercalls.sched cimport do_sched_op, do_sched_op_compat, do_set_timer_op
from xenia.hypercalls.traps cimport (
    do_callback_op,
    do_fpu_taskswitch,
    do_get_debugreg,
    do_iret,
    do_nmi_op,
    do_set_callbacks,
    do_set_debugreg,
    do_set_segment_base,
    do_set_trap_table,
    do_stack_switch,
)
from xenia.hypercalls.vcpu cimport do_vcpu_op
from xenia.hypercalls.version cimport do_vm_assist, do_xen_version
from xenia.machine.lock cimport lock, unlock

from xenia.hypercalls.rows import GuestKind, Row, RowLock, Support

cdef extern from *:
    """
    /* For each number a handler of its own, which passes the number on: those of a domain that is observed. */
    static int64_t (*observed_call)(void *vcpu, uint64_t number, uint64_t *args);
    #define HANDLER(n) \
        static int64_t handler_##n(void *vcpu, uint64_t *args) { return observed_call(vcpu, n, args); }
    #define NAME(n) handler_##n,
    #define EIGHT(what, n) \
        what(n##0) what(n##1) what(n##2) what(n##3) what(n##4) what(n##5) what(n##6) what(n##7)
    #define ALL(what)   /* octal: 64 of them */ \
        EIGHT(what, 00) EIGHT(what, 01) EIGHT(what, 02) EIGHT(what, 03) \
        EIGHT(what, 04) EIGHT(what, 05) EIGHT(what, 06) EIGHT(what, 07)
    ALL(HANDLER)
    static int64_t (*const observed_handlers[])(void *, uint64_t *) = { ALL(NAME) };
    """
    int64_t (*observed_call)(void *vcpu, uint64_t number, uint64_t *args) noexcept nogil
    int64_t (*observed_handlers[NR_HYPERCALLS])(void *vcpu, uint64_t *args) noexcept nogil

cdef struct Entry:
    hypercall_fn handlers[NR_GUESTS + 1]    # the last is that of who is observed
    bint turn               # RowLock.TURN and MMU
    bint memory             # RowLock.MMU

cdef Entry table[NR_HYPERCALLS]
cdef list documented = []
cdef dict COLUMNS = {GuestKind.PV64: GUEST_PV64}

cdef GuestAbi PV64
PV64.column = GUEST_PV64
PV64.levels = 4
PV64.hypercall = hypercall64
PV64.bounce = bounce64
PV64.iret = iret64


cdef const GuestAbi *guest_pv64() noexcept nogil:
    return &PV64


cdef int64_t hypercall_call(Vcpu *vcpu, uint64_t number, uint64_t *args) noexcept nogil:
    cdef hypercall_fn handler
    cdef int64_t result
    if number >= NR_HYPERCALLS:
        return -XEN_ENOSYS
    handler = table[number].handlers[vcpu.domain.abi.column]
    if handler == NULL:
        return -XEN_ENOSYS
    vcpu.counts.hypercalls[number] += 1
    if not table[number].turn:
        return handler(vcpu, args)
    turn_take(vcpu)
    if table[number].memory:
        lock(&vcpu.domain.memory.lock)
        result = handler(vcpu, args)
        unlock(&vcpu.domain.memory.lock)
    else:
        result = handler(vcpu, args)
    turn_pass(vcpu)
    return result


cdef int64_t call_observed(void *opaque, uint64_t number, uint64_t *args) noexcept nogil:
    cdef Vcpu *vcpu = <Vcpu *>opaque
    cdef uint64_t given[6]
    cdef int64_t result
    memcpy(given, args, sizeof(given))
    result = table[number].handlers[GUEST_PV64](vcpu, args)
    observe_hypercall(vcpu, number, given, result)
    return result


observed_call = call_observed


cdef int hypercall64(Vcpu *vcpu) noexcept nogil:
    cdef Context *context = &vcpu.context
    cdef Domain *domain = vcpu.domain
    cdef uint64_t args[6]
    cdef int64_t result
    if context.cs != FLAT_RING3_CS64 or context.ss != FLAT_RING3_SS:   # what a hypercall returns to, as by sysret
        context.cs = FLAT_RING3_CS64
        context.ss = FLAT_RING3_SS
        context.dirty |= CONTEXT_SEGMENTS
    args[0] = context.gpr[RDI]
    args[1] = context.gpr[RSI]
    args[2] = context.gpr[RDX]
    args[3] = context.gpr[R10]
    args[4] = context.gpr[R8]
    args[5] = context.gpr[R9]
    result = hypercall_call(vcpu, context.gpr[RAX], args)
    if result == HYPERCALL_CONTINUE:
        context.gpr[RDI] = args[0]
        context.gpr[RSI] = args[1]
        context.gpr[RDX] = args[2]
        context.gpr[R10] = args[3]
        context.gpr[R8] = args[4]
        context.gpr[R9] = args[5]
        context.rip -= 2
    elif result != HYPERCALL_DONE:
        context.gpr[RAX] = <uint64_t>result
    if vcpu.timers.changed:
        vcpu.timers.changed = 0
        return LEAVE
    if vcpu.blocked or vcpu.yielded or not vcpu.is_up or vcpu.preempt or domain.links.stop:
        return LEAVE
    if domain.life.shutdown != SHUTDOWN_NONE:
        return LEAVE
    return RESUME


# multicall(call_list, nr_calls): each entry's result goes into the entry.  A call that wants to be continued has its
# entry rewritten and the multicall is continued from there.  A multicall inside one is refused; an iret ends it.
cdef int64_t do_multicall(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef multicall_entry_t entry
    cdef unsigned int remaining = <unsigned int>args[1]
    cdef bint first = True
    while remaining:
        if not first and (vcpu.preempt or events_pending(vcpu)):
            args[1] = remaining
            return HYPERCALL_CONTINUE
        first = False
        if from_guest(vcpu, &entry, args[0], sizeof(entry)):
            return -XEN_EFAULT
        if entry.op == HYPERVISOR_multicall:
            entry.result = <uint64_t>-XEN_EINVAL
        else:
            entry.result = <uint64_t>hypercall_call(vcpu, entry.op, entry.args)
        if <int64_t>entry.result == HYPERCALL_DONE:
            entry.result = vcpu.context.gpr[RAX]
            to_guest(vcpu, args[0] + 8, &entry.result, sizeof(entry.result))
            return HYPERCALL_DONE
        if <int64_t>entry.result == HYPERCALL_CONTINUE:
            if to_guest(vcpu, args[0] + 16, entry.args, sizeof(entry.args)):
                return -XEN_EFAULT
            args[1] = remaining
            return HYPERCALL_CONTINUE
        if to_guest(vcpu, args[0] + 8, &entry.result, sizeof(entry.result)):
            return -XEN_EFAULT
        args[0] += sizeof(entry)
        remaining -= 1
    return 0


cdef row(int number, str name, hypercall_fn handler, str arguments, lock, tuple guests, support, str note=""):
    for guest in guests:
        table[number].handlers[<int>COLUMNS[guest]] = handler
    table[number].handlers[<int>OBSERVED] = <hypercall_fn>observed_handlers[number]
    table[number].turn = lock is not RowLock.VCPU
    table[number].memory = lock is RowLock.MMU
    documented.append(Row(number, name, arguments, lock, guests, support, note))


cdef fill():
    """Write every row.  Argument layouts are those of the public headers' comments."""
    full, partial, refused = Support.SUPPORTED, Support.PARTIAL, Support.REFUSED
    own, turn, mmu = RowLock.VCPU, RowLock.TURN, RowLock.MMU
    pv = (GuestKind.PV64,)
    row(HYPERVISOR_set_trap_table, "set_trap_table", do_set_trap_table, "traps", own, pv, full)
    row(HYPERVISOR_mmu_update, "mmu_update", do_mmu_update, "req, count, done, foreigndom", mmu, pv, partial,
        "the domain's own frames only")
    row(HYPERVISOR_set_gdt, "set_gdt", do_set_gdt, "frame_list, entries", mmu, pv, full)
    row(HYPERVISOR_stack_switch, "stack_switch", do_stack_switch, "ss, esp", own, pv, full)
    row(HYPERVISOR_set_callbacks, "set_callbacks", do_set_callbacks, "event, failsafe, syscall", own, pv, full)
    row(HYPERVISOR_fpu_taskswitch, "fpu_taskswitch", do_fpu_taskswitch, "set", own, pv, full)
    row(HYPERVISOR_sched_op_compat, "sched_op_compat", do_sched_op_compat, "cmd, arg", turn, pv, full,
        "yield, block, shutdown")
    row(HYPERVISOR_platform_op, "platform_op", do_platform_op, "op", own, pv, refused,
        "EPERM: belongs to the control domain")
    row(HYPERVISOR_set_debugreg, "set_debugreg", do_set_debugreg, "reg, value", own, pv, full)
    row(HYPERVISOR_get_debugreg, "get_debugreg", do_get_debugreg, "reg", own, pv, full)
    row(HYPERVISOR_update_descriptor, "update_descriptor", do_update_descriptor, "ma, desc", mmu, pv, full)
    row(HYPERVISOR_memory_op, "memory_op", do_memory_op, "cmd, arg", mmu, pv, partial,
        "no populate-on-demand, sharing, paging or vNUMA; add_to_physmap is for translated guests (EACCES)")
    row(HYPERVISOR_multicall, "multicall", do_multicall, "call_list, nr_calls", own, pv, full)
    row(HYPERVISOR_update_va_mapping, "update_va_mapping", do_update_va_mapping, "va, val, flags", mmu, pv, full)
    row(HYPERVISOR_set_timer_op, "set_timer_op", do_set_timer_op, "timeout", turn, pv, full)
    row(HYPERVISOR_event_channel_op_compat, "event_channel_op_compat", do_event_channel_op_compat, "op", turn, pv, full)
    row(HYPERVISOR_xen_version, "xen_version", do_xen_version, "cmd, arg", own, pv, full,
        "build_id is refused (EPERM), the command line reads <denied>")
    row(HYPERVISOR_console_io, "console_io", do_console_io, "cmd, count, buffer", turn, pv, full,
        "write; a read finds nothing")
    row(HYPERVISOR_physdev_op_compat, "physdev_op_compat", do_physdev_op_compat, "op", mmu, pv, partial,
        "as physdev_op")
    row(HYPERVISOR_grant_table_op, "grant_table_op", do_grant_table_op, "cmd, uop, count", turn, pv, full,
        "versions 1 and 2; dump_table is refused (ENOSYS)")
    row(HYPERVISOR_vm_assist, "vm_assist", do_vm_assist, "cmd, type", turn, pv, full)
    row(HYPERVISOR_update_va_mapping_otherdomain, "update_va_mapping_otherdomain", do_update_va_mapping_otherdomain,
        "va, val, flags, domid", mmu, pv, partial, "the domain's own frames only")
    row(HYPERVISOR_iret, "iret", do_iret, "", own, pv, full, "arguments on the kernel stack: struct iret_context")
    row(HYPERVISOR_vcpu_op, "vcpu_op", do_vcpu_op, "cmd, vcpuid, extra_args", mmu, pv, full,
        "get_physid is refused (EINVAL)")
    row(HYPERVISOR_set_segment_base, "set_segment_base", do_set_segment_base, "which, base", own, pv, full)
    row(HYPERVISOR_mmuext_op, "mmuext_op", do_mmuext_op, "op, count, done, foreigndom", mmu, pv, partial,
        "the domain's own frames only")
    row(HYPERVISOR_xsm_op, "xsm_op", do_xsm_op, "op", own, pv, refused,
        "ENOSYS: built without a security module, as Debian's Xen is")
    row(HYPERVISOR_nmi_op, "nmi_op", do_nmi_op, "cmd, arg", own, pv, full)
    row(HYPERVISOR_sched_op, "sched_op", do_sched_op, "cmd, arg", turn, pv, full,
        "pin_override and remote_shutdown are refused (EPERM)")
    row(HYPERVISOR_callback_op, "callback_op", do_callback_op, "cmd, arg", own, pv, full)
    row(HYPERVISOR_xenoprof_op, "xenoprof_op", do_xenoprof_op, "op, arg", own, pv, refused, "EPERM")
    row(HYPERVISOR_event_channel_op, "event_channel_op", do_event_channel_op, "cmd, arg", turn, pv, full,
        "two-level and FIFO; bind_pirq is refused (EPERM)")
    row(HYPERVISOR_physdev_op, "physdev_op", do_physdev_op, "cmd, arg", mmu, pv, partial,
        "I/O privilege only: no interrupt lines, no PCI (EPERM)")
    row(HYPERVISOR_hvm_op, "hvm_op", do_hvm_op, "op, arg", own, pv, refused, "EINVAL: for HVM domains")
    row(HYPERVISOR_sysctl, "sysctl", do_sysctl, "op", own, pv, refused, "EPERM: belongs to the control domain")
    row(HYPERVISOR_domctl, "domctl", do_domctl, "op", own, pv, refused, "EPERM: belongs to the control domain")
    row(HYPERVISOR_kexec_op, "kexec_op", do_kexec_op, "op, arg", own, pv, refused,
        "EPERM: belongs to the control domain")
    row(HYPERVISOR_xenpmu_op, "xenpmu_op", do_xenpmu_op, "op, arg", own, pv, refused,
        "EOPNOTSUPP: no virtual performance counters")
    row(HYPERVISOR_dm_op, "dm_op", do_dm_op, "domid, nr_bufs, bufs", own, pv, refused,
        "EPERM: belongs to device models")
    row(HYPERVISOR_hypfs_op, "hypfs_op", do_hypfs_op, "cmd, arg1, arg2, arg3, arg4", own, pv, refused,
        "EPERM: belongs to the control domain")
    row(HYPERVISOR_mca, "mca", do_mca, "op", own, pv, refused, "EPERM: belongs to the control domain")
    row(HYPERVISOR_paging_domctl_cont, "paging_domctl_cont", do_paging_domctl_cont, "op", own, pv, refused,
        "EINVAL: belongs to the control domain")


fill()


def rows() -> list[Row]:
    """Every hypercall that is answered, by number."""
    return sorted(documented, key=lambda row: row.number)
