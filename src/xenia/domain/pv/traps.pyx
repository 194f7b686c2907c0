"""Bounce frames: how a trap, an upcall or a system call enters the guest kernel, and how `iret` leaves it.

Theory of operation.  A guest kernel has no IDT that a processor reads.  It registers entry points with the hypervisor
(set_trap_table, callback_op), and whatever happens to it is *bounced*: the hypervisor switches to the guest's kernel
mode, pushes on its kernel stack a frame like the one the processor would have pushed, below it r11 and rcx (so that the
handler may be entered with `sysret`), and lets the vcpu continue at the entry point.  The processor's own IF and IOPL
never reach the guest: the frame shows IF as the inverse of vcpu_info.evtchn_upcall_mask and IOPL as the guest last set
it, and `iret` puts both back where they came from.

A frame, upwards from the new stack pointer:

    rcx, r11, [error code], rip, cs, rflags, rsp, ss

The cs word holds the upcall mask as it was in bits 32 to 39; its RPL is 0 when the kernel itself was interrupted.  The
failsafe callback, for segment registers that cannot be loaded again, is never called: they stay loaded.

Nothing here reaches into a domain that is shutting down: a function that crashed the domain answers LEAVE.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport strncpy

from xenia.abi.xen cimport (
    FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_SS, HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START, PERDOMAIN_VIRT_START,
    VGCF_in_syscall, VMASST_TYPE_architectural_iopl, iret_context_t, trap_info_t, vcpu_info_t,
)
from xenia.cpu.context cimport (
    CONTEXT_FLAGS, CONTEXT_SEGMENTS, EFLAGS_AC, EFLAGS_DF, EFLAGS_IF, EFLAGS_IOPL, EFLAGS_NT, EFLAGS_RF, EFLAGS_TF,
    EFLAGS_VM, R11, RAX, RCX, RSP, SREG_GS, Context,
)
from xenia.cpu.processor cimport (
    LEAVE, PFEC_FETCH, PFEC_PRESENT, PFEC_RESERVED, PFEC_USER, PFEC_WRITE, RESUME, TRAP_AC, TRAP_BP, TRAP_DB, TRAP_DF,
    TRAP_GP, TRAP_NM, TRAP_NMI, TRAP_NP, TRAP_OF, TRAP_PF, TRAP_SS, TRAP_TS, TRAP_UD, Processor,
)
from xenia.domain.domain cimport SHUTDOWN_NONE, SHUTDOWN_crash, Domain, Vcpu
from xenia.domain.vcpu_state cimport Callback
from xenia.domain.pv.emulate cimport emulate_forced, emulate_privileged
from xenia.domain.pv.instruction cimport EMULATE_DONE, EMULATE_FAULT, EMULATE_UNHANDLED, Fault
from xenia.domain.lifecycle cimport domain_shutdown
from xenia.domain.pv.segments cimport code_mode, iret_fault, is_canonical
from xenia.domain.pv.table_write cimport emulate_table_write
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport frame_words
from xenia.mm.access cimport copy_from_guest, copy_to_guest, guest_walk
from xenia.mm.pv.descriptors cimport map_ldt_page
from xenia.mm.pv.pvmmu cimport PAGE_ACCESSED, PAGE_DIRTY, PAGE_USER, PERDOMAIN_LDT_OFFSET, VcpuMmu

cdef enum:                  # how a bounce goes (Xen's TBF_*)
    BOUNCE_ERROR_CODE = 1
    BOUNCE_MASK_EVENTS = 2

cdef enum:
    TRAP_FLAGS_DPL = 3      # trap_info_t.flags
    TRAP_FLAGS_MASK_EVENTS = 4
    WITH_ERROR_CODE = (1 << TRAP_DF | 1 << TRAP_TS | 1 << TRAP_NP | 1 << TRAP_SS | 1 << TRAP_GP | 1 << TRAP_PF
                       | 1 << TRAP_AC)
    CR0_TS = 1 << 3
    DR6_BS = 1 << 14
    DR6_STATUS = 0xe00f
    ERROR_IDT = 2           # bit 1 of a selector error code: the index is an IDT vector
    ERROR_TI = 4
    SYSCALL_LENGTH = 2      # of syscall, sysenter, int n

# What iret takes from a frame; the rest is forced: IF on, IOPL 0, VM off, reserved bits as the architecture has them.
cdef uint64_t IRET_FLAGS = 0x254dd5     # CF PF AF ZF SF TF DF OF NT RF AC ID


# --- the end of a domain


cdef void domain_crash(Domain *domain, const char *reason) noexcept nogil:
    # The first reason stays: what follows a crash is its consequence.
    if domain.life.shutdown == SHUTDOWN_NONE:
        strncpy(domain.life.crash_reason, reason, sizeof(domain.life.crash_reason) - 1)
        domain_shutdown(domain, SHUTDOWN_crash)


# --- kernel and user mode


cdef bint roots_alike(Vcpu *vcpu) noexcept nogil:
    # Whether user mode may stay on the kernel's L4: the guest's own slots of the lower half lead to the same tables.
    # (Of the upper half it reaches nothing there.)  Accessed, dirty and user bits are no difference.
    # mm/ counts what changes L4 tables, so that a comparison stands until the next one.
    cdef VcpuMmu *mmu = &vcpu.mmu
    cdef uint64_t *kernel = frame_words(vcpu.domain.machine, mmu.root_kernel)
    cdef uint64_t *user = frame_words(vcpu.domain.machine, mmu.root_user)
    cdef uint64_t difference = 0
    cdef int slot
    if (mmu.compared_kernel != mmu.root_kernel or mmu.compared_user != mmu.root_user
            or mmu.compared_at != vcpu.domain.mmu.l4_changes):
        for slot in range(256):
            difference |= kernel[slot] ^ user[slot]
        mmu.compared_kernel = mmu.root_kernel
        mmu.compared_user = mmu.root_user
        mmu.compared_at = vcpu.domain.mmu.l4_changes
        mmu.compared_alike = difference & ~<uint64_t>(PAGE_ACCESSED | PAGE_DIRTY | PAGE_USER) == 0
    return mmu.compared_alike


cdef void switch_mode(Vcpu *vcpu, bint kernel) noexcept nogil:
    # swapgs, the privilege level, and the page tables where they differ.  The base that is not in use is kept in the
    # vcpu; the one in use is the processor's, because a guest may load %gs without telling us.
    cdef Processor *processor = vcpu.processor
    cdef uint16_t selector
    cdef uint64_t base, root
    if vcpu.context.kernel == kernel:
        return
    processor.ops.get_segment(processor, SREG_GS, &selector, &base)
    if kernel:
        vcpu.control.gs_base_user = base
        processor.ops.set_segment_base(processor, SREG_GS, vcpu.control.gs_base_kernel)
        root = vcpu.mmu.root_kernel
    else:
        vcpu.control.gs_base_kernel = base
        processor.ops.set_segment_base(processor, SREG_GS, vcpu.control.gs_base_user)
        root = vcpu.mmu.root_kernel if roots_alike(vcpu) else vcpu.mmu.root_user
    vcpu.context.kernel = kernel
    vcpu.context.dirty |= CONTEXT_SEGMENTS
    if root != vcpu.mmu.root_loaded:
        vcpu.mmu.root_loaded = root
        processor.ops.load_root(processor, root, root == vcpu.mmu.root_user)


# --- entering the guest kernel


cdef int bounce(Vcpu *vcpu, uint64_t handler, int how, uint32_t error) noexcept nogil:
    cdef Context *context = &vcpu.context
    cdef vcpu_info_t *info = vcpu.info
    cdef uint64_t frame[8]
    cdef uint64_t stack, cs, rflags
    cdef uint8_t masked
    cdef bint was_kernel = context.kernel
    cdef int n = 2
    if handler == 0:
        domain_crash(vcpu.domain, b"a trap or callback for which the guest has no handler")
        return LEAVE
    if context.kernel:
        stack = context.gpr[RSP]
        cs = context.cs & 0xfffc
    else:
        switch_mode(vcpu, True)
        stack = vcpu.traps.kernel_sp
        cs = context.cs
    stack &= ~<uint64_t>15
    masked = info.evtchn_upcall_mask
    if how & BOUNCE_MASK_EVENTS:
        info.evtchn_upcall_mask = masked | 1
    rflags = context.rflags & ~<uint64_t>(EFLAGS_IF | EFLAGS_IOPL)
    if not masked:
        rflags |= EFLAGS_IF
    if vcpu.domain.vm_assist & (1 << VMASST_TYPE_architectural_iopl):
        rflags |= <uint64_t>vcpu.ports.iopl << 12

    frame[0] = context.gpr[RCX]
    frame[1] = context.gpr[R11]
    if how & BOUNCE_ERROR_CODE:
        frame[n] = error
        n += 1
    frame[n] = context.rip
    frame[n + 1] = cs | <uint64_t>masked << 32
    frame[n + 2] = rflags
    frame[n + 3] = context.gpr[RSP]
    # Ring 1 may load a null %ss, ring 3, where a kernel believes itself to be, may not, and could not go back to it.
    frame[n + 4] = context.ss if context.ss > 3 or not was_kernel else FLAT_RING3_SS
    n += 5

    stack -= 8 * n
    if copy_to_guest(&vcpu.domain.mmu, vcpu.mmu.root_kernel, stack, frame, 8 * n):
        domain_crash(vcpu.domain, b"double fault: the guest's kernel stack cannot take a bounce frame")
        return LEAVE
    context.gpr[RSP] = stack
    context.rip = handler
    if context.cs != FLAT_RING3_CS64 or context.ss != FLAT_RING3_SS:
        context.cs = FLAT_RING3_CS64
        context.ss = FLAT_RING3_SS
        context.dirty |= CONTEXT_SEGMENTS
    if context.rflags & (EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM | EFLAGS_AC):
        context.rflags &= ~<uint64_t>(EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM | EFLAGS_AC)
        context.dirty |= CONTEXT_FLAGS
    return RESUME


cdef inline int bounce_trap(Vcpu *vcpu, int vector, int how, uint32_t error) noexcept nogil:
    cdef trap_info_t *trap = &vcpu.traps.table[vector]
    if trap.flags & TRAP_FLAGS_MASK_EVENTS:
        how |= BOUNCE_MASK_EVENTS
    return bounce(vcpu, trap.address, how, error)


cdef inline int bounce_callback(Vcpu *vcpu, Callback *callback) noexcept nogil:
    return bounce(vcpu, callback.address, BOUNCE_MASK_EVENTS if callback.disables_events else 0, 0)


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
    if guest_walk(&vcpu.domain.mmu, vcpu.mmu.root_user, va, access, &maddr, error):
        return False
    vcpu.mmu.root_loaded = vcpu.mmu.root_user
    vcpu.processor.ops.load_root(vcpu.processor, vcpu.mmu.root_user, True)
    return True


cdef int hypervisor_fault(Vcpu *vcpu, uint32_t error, uint64_t va) noexcept nogil:
    # The processor's own reads of the descriptor tables (never user accesses, never writes) come here when a GDT or
    # LDT page is missing: LDT pages are mapped on first use; the rest is told to the guest in its own terms.
    cdef uint64_t offset = va - PERDOMAIN_VIRT_START
    cdef bint mapped
    cdef uint64_t address
    if va < PERDOMAIN_VIRT_START and not vcpu.context.kernel and error & PFEC_USER:
        error &= ~<uint32_t>PFEC_PRESENT        # the M2P is not there for user mode
    if error & (PFEC_USER | PFEC_WRITE | PFEC_FETCH | PFEC_RESERVED) or va < PERDOMAIN_VIRT_START or offset >= 0x20000:
        return inject_exception(vcpu, TRAP_PF, error, va)
    if offset < PERDOMAIN_LDT_OFFSET:
        return inject_exception(vcpu, TRAP_GP, <uint32_t>offset & 0xfff8, 0)
    lock(&vcpu.domain.mmu.lock)
    mapped = map_ldt_page(&vcpu.domain.mmu, &vcpu.mmu, va)
    unlock(&vcpu.domain.mmu.lock)
    if mapped:
        return RESUME
    offset -= PERDOMAIN_LDT_OFFSET
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
    cdef int ring = 3
    cdef trap_info_t *trap = &vcpu.traps.table[vector & 0xff]
    if vector == TRAP_BP or vector == TRAP_OF:      # the real IDT lets every ring raise these
        return inject_exception(vcpu, vector, 0, 0)
    if vector == 0x80 and trap.address:             # and this one where the guest has a handler
        return bounce_trap(vcpu, vector, 0, 0)
    if vcpu.context.kernel:
        ring = 0 if vcpu.domain.vm_assist & (1 << VMASST_TYPE_architectural_iopl) else 1
    if trap.flags & TRAP_FLAGS_DPL >= ring:
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
    cdef Context *context = &vcpu.context
    cdef iret_context_t frame
    cdef uint32_t error
    cdef int vector
    if copy_from_guest(&vcpu.domain.mmu, vcpu.mmu.root_kernel, &frame, context.gpr[RSP], sizeof(frame)):
        domain_crash(vcpu.domain, b"iret: the frame on the guest's kernel stack cannot be read")
        return LEAVE
    if frame.cs & 3 == 3:
        if vcpu.mmu.root_user == 0:
            domain_crash(vcpu.domain, b"iret to user mode without user page tables")
            return LEAVE
        switch_mode(vcpu, False)
    if vcpu.domain.vm_assist & (1 << VMASST_TYPE_architectural_iopl):
        vcpu.ports.iopl = frame.rflags >> 12 & 3
    context.gpr[RAX] = frame.rax
    context.gpr[RSP] = frame.rsp
    context.rip = frame.rip
    context.rflags = frame.rflags & IRET_FLAGS | EFLAGS_IF | 2
    context.cs = <uint16_t>frame.cs | 3
    context.ss = <uint16_t>frame.ss | 3
    context.dirty |= CONTEXT_FLAGS | CONTEXT_SEGMENTS
    vcpu.info.evtchn_upcall_mask = not frame.rflags & EFLAGS_IF
    vcpu.traps.nmi_masked = False
    if frame.flags & VGCF_in_syscall:           # leave with sysret, as the call came with syscall
        context.gpr[RCX] = context.rip
        context.gpr[R11] = context.rflags
        if is_canonical(context.rip):
            if context.cs != FLAT_RING3_CS32:
                context.cs = FLAT_RING3_CS64
            context.ss = FLAT_RING3_SS
            context.rflags &= ~<uint64_t>EFLAGS_RF
            return RESUME
    else:
        context.gpr[RCX] = frame.rcx
        context.gpr[R11] = frame.r11
    # What the processor cannot load is the guest's fault, at the place it wanted to go to.
    vector = iret_fault(vcpu, &error)
    return inject_exception(vcpu, vector, error, 0) if vector else RESUME


# --- what is pending


cdef int deliver_pending(Vcpu *vcpu) noexcept nogil:
    if vcpu.traps.nmi_pending and not vcpu.traps.nmi_masked and vcpu.traps.table[TRAP_NMI].address:
        vcpu.traps.nmi_pending = False
        vcpu.traps.nmi_masked = True
        if bounce_trap(vcpu, TRAP_NMI, 0, 0) == LEAVE:
            return LEAVE
    if vcpu.info.evtchn_upcall_pending and not vcpu.info.evtchn_upcall_mask:
        return bounce(vcpu, vcpu.traps.event_callback.address, BOUNCE_MASK_EVENTS, 0)
    return RESUME
