"""Traps: what a guest kernel meets where a processor would use its IDT.

Theory of operation.  A guest kernel has no IDT that a processor reads.  It registers entry points with the hypervisor
(set_trap_table, callback_op), and whatever happens to it is *bounced*: the hypervisor switches to the guest's kernel
mode, pushes on its kernel stack a frame like the one the processor would have pushed (GuestAbi.bounce), and lets the
vcpu continue at the entry point.  Some faults never get that far: an instruction is done in software instead, or a page
table's entry is written, or a page of descriptors mapped.

The failsafe callback, for segment registers that cannot be loaded again, is never called: they stay loaded.  Nothing
here reaches into a domain that is shutting down: a function that crashed the domain answers LEAVE.
"""

from libc.stdint cimport uint32_t, uint64_t

from xenia.abi.xen cimport (
    FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_SS, HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START, PERDOMAIN_VIRT_START,
    trap_info_t,
)
from xenia.cpu.context cimport CONTEXT_FLAGS, CR0_TS, EFLAGS_DF, EFLAGS_RF, EFLAGS_TF, RSP, Context
from xenia.cpu.processor cimport (
    LEAVE, PFEC_FETCH, PFEC_PRESENT, PFEC_RESERVED, PFEC_USER, PFEC_WRITE, RESUME, TRAP_AC, TRAP_BP, TRAP_DB, TRAP_DF,
    TRAP_GP, TRAP_NM, TRAP_NMI, TRAP_NP, TRAP_OF, TRAP_PF, TRAP_SS, TRAP_TS, TRAP_UD,
)
from xenia.domain.domain cimport SHUTDOWN_NONE, Vcpu
from xenia.domain.lifecycle cimport domain_crash
from xenia.domain.pv.bounce64 cimport BOUNCE_ERROR_CODE, BOUNCE_MASK_EVENTS, IRET_CRASHED
from xenia.domain.pv.cpuid cimport emulate_forced
from xenia.domain.pv.emulate cimport emulate_privileged
from xenia.domain.pv.instruction cimport EMULATE_DONE, EMULATE_FAULT, EMULATE_UNHANDLED, Fault
from xenia.domain.pv.mode cimport virtual_ring
from xenia.domain.pv.segments cimport code_mode, is_canonical
from xenia.domain.pv.table_write cimport emulate_table_write
from xenia.domain.turn cimport turn_pass, turn_take
from xenia.domain.vcpu_state cimport Callback
from xenia.machine.atomic cimport flag_store
from xenia.machine.lock cimport lock, unlock
from xenia.mm.access cimport guest_walk
from xenia.mm.pv.descriptors cimport map_ldt_page
from xenia.mm.pv.pvmmu cimport GDT_LDT_VCPU_VA_SHIFT, gdt_virt_start, ldt_virt_start

cdef enum:
    TRAP_FLAGS_DPL = 3      # trap_info_t.flags
    TRAP_FLAGS_MASK_EVENTS = 4
    WITH_ERROR_CODE = (1 << TRAP_DF | 1 << TRAP_TS | 1 << TRAP_NP | 1 << TRAP_SS | 1 << TRAP_GP | 1 << TRAP_PF
                       | 1 << TRAP_AC)
    DR6_BS = 1 << 14
    DR6_STATUS = 0xe00f
    ERROR_IDT = 2           # bit 1 of a selector error code: the index is an IDT vector
    ERROR_TI = 4
    SYSCALL_LENGTH = 2      # of syscall, sysenter, int n


# --- entering the guest kernel


cdef inline int bounce_trap(Vcpu *vcpu, int vector, int how, uint32_t error) noexcept nogil:
    cdef trap_info_t *trap = &vcpu.traps.table[vector]
    if trap.flags & TRAP_FLAGS_MASK_EVENTS:
        how |= BOUNCE_MASK_EVENTS
    return vcpu.domain.abi.bounce(vcpu, trap.address, how, error)


cdef inline int bounce_callback(Vcpu *vcpu, Callback *callback) noexcept nogil:
    return vcpu.domain.abi.bounce(vcpu, callback.address, BOUNCE_MASK_EVENTS if callback.disables_events else 0, 0)


cdef int inject_exception(Vcpu *vcpu, int vector, uint32_t error, uint64_t address) noexcept nogil:
    if vector == TRAP_PF:
        error &= ~<uint32_t>PFEC_USER
        if not vcpu.context.kernel:
            error |= PFEC_USER
        vcpu.control.cr2 = address
        vcpu.info.arch.cr2 = address
    elif vector == TRAP_DB:
        vcpu.control.dr[6] |= address & DR6_STATUS
    elif vector == TRAP_NM:
        # TS set by the guest: its business, once.  Set by us: go on.
        vcpu.processor.ops.set_ts(vcpu.processor, False)
        if not vcpu.control.cr0 & CR0_TS:
            return RESUME
        vcpu.control.cr0 &= ~<uint64_t>CR0_TS
    elif vector == TRAP_DF:
        domain_crash(vcpu.domain, b"double fault")
        return LEAVE
    return bounce_trap(vcpu, vector, BOUNCE_ERROR_CODE if vector < 32 and WITH_ERROR_CODE >> vector & 1 else 0, error)


# --- faults


cdef int page_fault(Vcpu *vcpu, uint32_t error, uint64_t va) noexcept nogil:
    cdef Fault fault
    cdef int outcome
    if HYPERVISOR_VIRT_START <= va < HYPERVISOR_VIRT_END:
        return hypervisor_fault(vcpu, error, va)
    if not vcpu.context.kernel:
        if vcpu.mmu.root_loaded != vcpu.mmu.root_user and user_tables_allow(vcpu, &error, va):
            return RESUME
    elif error & (PFEC_PRESENT | PFEC_WRITE | PFEC_RESERVED) == PFEC_PRESENT | PFEC_WRITE:
        outcome = emulate_table_write(vcpu, va, &fault)
        if outcome != EMULATE_UNHANDLED:
            return finish(vcpu, outcome, &fault)
    return inject_exception(vcpu, TRAP_PF, error, va)


cdef bint user_tables_allow(Vcpu *vcpu, uint32_t *error, uint64_t va) noexcept nogil:
    # User mode ran on the kernel's tables.  If its own allow what was refused, they are loaded until it leaves user
    # mode; if not, it is their refusal that the guest shall see.
    cdef uint32_t access = error[0] & (PFEC_WRITE | PFEC_FETCH) | PFEC_USER
    cdef uint64_t maddr
    if guest_walk(&vcpu.domain.memory, vcpu.mmu.root_user, va, access, &maddr, error):
        return False
    vcpu.mmu.root_loaded = vcpu.mmu.root_user
    vcpu.processor.ops.load_root(vcpu.processor, vcpu.mmu.root_user, True)
    return True


cdef int hypervisor_fault(Vcpu *vcpu, uint32_t error, uint64_t va) noexcept nogil:
    # The processor's own reads of the descriptor tables (never user accesses, never writes) come here when a GDT or
    # LDT page is missing: LDT pages are mapped on first use; the rest is told to the guest in its own terms.
    cdef uint64_t offset = va - gdt_virt_start(&vcpu.mmu)       # in the vcpu's own part of the per-domain area
    cdef uint64_t ldt_start = ldt_virt_start(&vcpu.mmu)
    cdef bint mapped
    cdef uint64_t address
    if va < PERDOMAIN_VIRT_START and not vcpu.context.kernel and error & PFEC_USER:
        error &= ~<uint32_t>PFEC_PRESENT        # the M2P is not there for user mode
    if error & (PFEC_USER | PFEC_WRITE | PFEC_FETCH | PFEC_RESERVED) or offset >> GDT_LDT_VCPU_VA_SHIFT:
        return inject_exception(vcpu, TRAP_PF, error, va)
    if va < ldt_start:
        return inject_exception(vcpu, TRAP_GP, <uint32_t>offset & 0xfff8, 0)
    turn_take(vcpu)
    lock(&vcpu.domain.memory.lock)
    mapped = map_ldt_page(&vcpu.domain.mmu, &vcpu.mmu, va)
    unlock(&vcpu.domain.memory.lock)
    turn_pass(vcpu)
    if mapped:
        return RESUME
    offset = va - ldt_start
    address = vcpu.mmu.ldt_base + offset
    if not is_canonical(address):
        return inject_exception(vcpu, TRAP_GP, <uint32_t>offset & 0xfff8 | ERROR_TI, 0)
    return inject_exception(vcpu, TRAP_PF, error, address)


cdef int general_protection(Vcpu *vcpu, uint32_t error) noexcept nogil:
    cdef Fault fault
    cdef int outcome
    if error == 0:
        outcome = emulate_privileged(vcpu, &fault)
        if outcome != EMULATE_UNHANDLED:
            return finish(vcpu, outcome, &fault)
    return inject_exception(vcpu, TRAP_GP, error, 0)


cdef int invalid_opcode(Vcpu *vcpu) noexcept nogil:
    cdef Fault fault
    if emulate_forced(vcpu) == EMULATE_DONE:
        return finish(vcpu, EMULATE_DONE, &fault)
    return inject_exception(vcpu, TRAP_UD, 0, 0)


cdef int finish(Vcpu *vcpu, int outcome, Fault *fault) noexcept nogil:
    # An instruction done in software retires as the processor's would, with a trap if the guest single-steps.
    cdef Context *context = &vcpu.context
    if outcome == EMULATE_FAULT:
        return inject_exception(vcpu, fault.vector, fault.error, fault.address)
    if vcpu.domain.life.shutdown != SHUTDOWN_NONE:
        return LEAVE
    if context.rflags & EFLAGS_RF:
        context.rflags &= ~<uint64_t>EFLAGS_RF
        context.dirty |= CONTEXT_FLAGS
    if context.rflags & EFLAGS_TF:
        return inject_exception(vcpu, TRAP_DB, 0, DR6_BS)
    return RESUME


cdef int soft_interrupt(Vcpu *vcpu, int vector) noexcept nogil:
    cdef trap_info_t *trap = &vcpu.traps.table[vector & 0xff]
    if vector == TRAP_BP or vector == TRAP_OF:      # the real IDT lets every ring raise these
        return inject_exception(vcpu, vector, 0, 0)
    if vector == 0x80 and trap.address:             # and this one where the guest has a handler
        return bounce_trap(vcpu, vector, 0, 0)
    if trap.flags & TRAP_FLAGS_DPL >= virtual_ring(vcpu):
        return bounce_trap(vcpu, vector & 0xff, 0, 0)
    vcpu.context.rip -= SYSCALL_LENGTH
    return inject_exception(vcpu, TRAP_GP, (vector & 0xff) << 3 | ERROR_IDT, 0)


# --- system calls


cdef int syscall_from_user(Vcpu *vcpu, bint is_sysenter) noexcept nogil:
    cdef Context *context = &vcpu.context
    cdef Callback *callback
    cdef bint compat
    cdef int verdict
    if is_sysenter:
        callback = &vcpu.traps.sysenter_callback
        if callback.address == 0:
            context.rip -= SYSCALL_LENGTH
            return inject_exception(vcpu, TRAP_GP, 0, 0)
        # sysenter saves nothing, and the frame shows no more than that.
        context.cs = 3
        context.ss = FLAT_RING3_SS
        context.rip = 0
        context.gpr[RSP] = 0
        if context.rflags & EFLAGS_TF:
            context.rflags &= ~<uint64_t>EFLAGS_TF
            context.dirty |= CONTEXT_FLAGS
        return bounce_callback(vcpu, callback)
    compat = code_mode(vcpu) != 64
    callback = &vcpu.traps.syscall_callback
    if compat and vcpu.traps.syscall32_callback.address:
        callback = &vcpu.traps.syscall32_callback
    if callback.address == 0:
        context.rip -= SYSCALL_LENGTH
        return inject_exception(vcpu, TRAP_UD, 0, 0)
    context.cs = FLAT_RING3_CS32 if compat else FLAT_RING3_CS64
    context.ss = FLAT_RING3_SS
    verdict = bounce_callback(vcpu, callback)
    if verdict == RESUME and context.rflags & EFLAGS_DF:
        context.rflags &= ~<uint64_t>EFLAGS_DF
        context.dirty |= CONTEXT_FLAGS
    return verdict


# --- leaving the guest kernel


cdef int hypercall_iret(Vcpu *vcpu) noexcept nogil:
    cdef uint32_t error = 0
    cdef int vector = vcpu.domain.abi.iret(vcpu, &error)
    if vector == IRET_CRASHED:
        return LEAVE
    return inject_exception(vcpu, vector, error, 0) if vector else RESUME


# --- what is pending


cdef int deliver_pending(Vcpu *vcpu) noexcept nogil:
    if vcpu.traps.nmi_pending and not vcpu.traps.nmi_masked and vcpu.traps.table[TRAP_NMI].address:
        flag_store(&vcpu.traps.nmi_pending, 0)
        vcpu.traps.nmi_masked = True
        if bounce_trap(vcpu, TRAP_NMI, 0, 0) == LEAVE:
            return LEAVE
    if vcpu.info.evtchn_upcall_pending and not vcpu.info.evtchn_upcall_mask and not vcpu.processor.stepping:
        return vcpu.domain.abi.bounce(vcpu, vcpu.traps.event_callback.address, BOUNCE_MASK_EVENTS, 0)
    return RESUME
