"""What a guest gives a vcpu to start with (VCPUOP_initialise), and what there is of one, in the same form.

Nothing in it is believed: addresses must be canonical, as Xen wants them; flags that are not a guest's own are put
right, as iret does; page tables and descriptor frames are taken with references, through the doors of mm/pv, as if the
vcpu had asked for them itself; selectors that cannot be loaded load as null ones, and gates get selectors that a guest
may have.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from xenia.abi.errno cimport XEN_EINVAL
from xenia.abi.xen cimport (
    FIRST_RESERVED_GDT_ENTRY, FLAT_RING3_CS64, FLAT_RING3_SS, VGCF_failsafe_disables_events, VGCF_i387_valid,
    VGCF_in_kernel, VGCF_online, VGCF_syscall_disables_events, cpu_user_regs_t,
)
from xenia.cpu.context cimport (
    CONTEXT_FLAGS, CONTEXT_SEGMENTS, CR0_TS, EFLAGS_GUEST, EFLAGS_IF, R8, R9, R10, R11, R12, R13, R14, R15, RAX, RBP,
    RBX, RCX, RDI, RDX, RSI, RSP, SREG_DS, SREG_ES, SREG_FS, SREG_GS, STATE_FPU, STATE_GENERAL, STATE_SEGMENTS, Context,
    SegmentDescriptor,
)
from xenia.cpu.processor cimport Processor
from xenia.domain.pv.control cimport control_write, debugreg_write, taskswitch
from xenia.domain.pv.segments cimport data_segment_held, is_canonical
from xenia.domain.vcpu_state cimport Callback
from xenia.machine.atomic cimport flag_store
from xenia.machine.machine cimport FRAME_L4
from xenia.mm.memory cimport DomainMemory
from xenia.mm.pv.descriptors cimport set_gdt, set_ldt
from xenia.mm.references cimport get_page_and_type, put_page_and_type

cdef enum:
    MAX_LDT_ENTRIES = 8192
    SELECTOR_TI = 4
    FXSAVE_MXCSR = 24           # offsets
    FXSAVE_OURS = 464
    MXCSR_BITS = 0xffff
    FCW_START = 0x37f           # as fninit and the processor's reset leave them
    MXCSR_START = 0x1f80


cdef int guest_context_take(Vcpu *vcpu, vcpu_guest_context_t *given) noexcept nogil:
    cdef int rc = -XEN_EINVAL
    if addresses_good(given):
        rc = take_tables(vcpu, given)
    if rc:
        return rc
    take_traps(vcpu, given)
    take_registers(vcpu, given)
    take_control(vcpu, given)
    vcpu.initialised = 1
    flag_store(&vcpu.is_up, given.flags & VGCF_online != 0)
    return 0


cdef bint addresses_good(vcpu_guest_context_t *given) noexcept nogil:
    cdef int i
    for i in range(256):
        if not is_canonical(given.trap_ctxt[i].address):
            return False
    return (is_canonical(given.user_regs.rip) and is_canonical(given.user_regs.rsp) and is_canonical(given.kernel_sp)
            and is_canonical(given.event_callback_eip) and is_canonical(given.failsafe_callback_eip)
            and is_canonical(given.syscall_callback_eip) and is_canonical(given.ldt_base)
            and is_canonical(given.fs_base) and is_canonical(given.gs_base_kernel)
            and is_canonical(given.gs_base_user)
            and given.ldt_base & 0xfff == 0 and given.ldt_ents <= MAX_LDT_ENTRIES
            and given.gdt_ents <= FIRST_RESERVED_GDT_ENTRY)


# --- page tables and descriptors


cdef int take_tables(Vcpu *vcpu, vcpu_guest_context_t *given) noexcept nogil:
    cdef DomainMemory *memory = &vcpu.domain.memory
    cdef uint64_t kernel = given.ctrlreg[3] >> 12, user = given.ctrlreg[1] >> 12
    cdef bint in_kernel = given.flags & VGCF_in_kernel != 0
    if not in_kernel and not given.ctrlreg[1] or get_page_and_type(memory, kernel, FRAME_L4):
        return -XEN_EINVAL
    if given.ctrlreg[1] and get_page_and_type(memory, user, FRAME_L4):
        put_page_and_type(memory, kernel)
        return -XEN_EINVAL
    if (set_gdt(&vcpu.domain.mmu, &vcpu.mmu, given.gdt_frames, <unsigned>given.gdt_ents)
            or set_ldt(&vcpu.domain.mmu, &vcpu.mmu, given.ldt_base if given.ldt_ents else 0, given.ldt_ents)):
        if given.ctrlreg[1]:
            put_page_and_type(memory, user)
        put_page_and_type(memory, kernel)
        return -XEN_EINVAL
    vcpu.mmu.root_kernel = kernel
    vcpu.mmu.root_user = user
    vcpu.mmu.root_loaded = kernel if in_kernel else user
    vcpu.processor.ops.load_root(vcpu.processor, vcpu.mmu.root_loaded, not in_kernel)
    return 0


# --- where the kernel is entered


cdef inline bint is_guests(uint16_t selector, uint16_t flat) noexcept nogil:
    # Xen's guest_gate_selector_okay
    return selector >> 3 < FIRST_RESERVED_GDT_ENTRY or selector == flat or selector & SELECTOR_TI != 0


cdef inline Callback callback(uint64_t address, bint disables_events) noexcept nogil:
    return Callback(address, disables_events)


cdef void take_traps(Vcpu *vcpu, vcpu_guest_context_t *given) noexcept nogil:
    cdef int i
    memcpy(vcpu.traps.table, given.trap_ctxt, sizeof(vcpu.traps.table))
    for i in range(256):
        if not is_guests(vcpu.traps.table[i].cs, FLAT_RING3_CS64):
            vcpu.traps.table[i].cs = FLAT_RING3_CS64
    vcpu.traps.event_callback = callback(given.event_callback_eip, True)
    vcpu.traps.failsafe_callback = callback(given.failsafe_callback_eip,
                                            given.flags & VGCF_failsafe_disables_events != 0)
    vcpu.traps.syscall_callback = callback(given.syscall_callback_eip, given.flags & VGCF_syscall_disables_events != 0)
    vcpu.traps.kernel_sp = given.kernel_sp


# --- registers


cdef void take_registers(Vcpu *vcpu, vcpu_guest_context_t *given) noexcept nogil:
    cdef Context *context = &vcpu.context
    cdef cpu_user_regs_t *regs = &given.user_regs
    cdef Processor *processor = vcpu.processor
    processor.ops.pull(processor, STATE_GENERAL | STATE_SEGMENTS | STATE_FPU)
    context.gpr[RAX], context.gpr[RCX], context.gpr[RDX], context.gpr[RBX] = regs.rax, regs.rcx, regs.rdx, regs.rbx
    context.gpr[RSP], context.gpr[RBP], context.gpr[RSI], context.gpr[RDI] = regs.rsp, regs.rbp, regs.rsi, regs.rdi
    context.gpr[R8], context.gpr[R9], context.gpr[R10], context.gpr[R11] = regs.r8, regs.r9, regs.r10, regs.r11
    context.gpr[R12], context.gpr[R13], context.gpr[R14], context.gpr[R15] = regs.r12, regs.r13, regs.r14, regs.r15
    context.rip = regs.rip
    context.rflags = regs.rflags & EFLAGS_GUEST | EFLAGS_IF | 2
    vcpu.ports.iopl = regs.rflags >> 12 & 3
    context.kernel = given.flags & VGCF_in_kernel != 0
    # Ring 3's, whichever mode it is in.
    context.cs = (regs.cs if is_guests(regs.cs, FLAT_RING3_CS64) else FLAT_RING3_CS64) | 3
    context.ss = (regs.ss if is_guests(regs.ss, FLAT_RING3_SS) else FLAT_RING3_SS) | 3
    context.after_ss = context.held_back = 0
    take_fpu(context, given)
    processor.ops.push(processor, STATE_GENERAL | STATE_SEGMENTS | STATE_FPU)
    context.dirty = CONTEXT_FLAGS | CONTEXT_SEGMENTS
    take_segment(vcpu, SREG_ES, regs.es)
    take_segment(vcpu, SREG_DS, regs.ds)
    take_segment(vcpu, SREG_FS, regs.fs)
    take_segment(vcpu, SREG_GS, regs.gs)
    # A selector takes precedence over a base.
    if regs.fs <= 3:
        processor.ops.set_segment_base(processor, SREG_FS, given.fs_base)
    vcpu.control.gs_base_kernel = given.gs_base_kernel
    vcpu.control.gs_base_user = given.gs_base_user if regs.gs <= 3 else 0
    processor.ops.set_segment_base(
        processor, SREG_GS, vcpu.control.gs_base_kernel if context.kernel else vcpu.control.gs_base_user)


cdef void take_fpu(Context *context, vcpu_guest_context_t *given) noexcept nogil:
    cdef uint32_t mxcsr
    memcpy(&mxcsr, &given.fpu_ctxt[FXSAVE_MXCSR], sizeof(mxcsr))
    memset(context.fpu, 0, sizeof(context.fpu))
    if given.flags & VGCF_i387_valid and not mxcsr & ~<uint32_t>MXCSR_BITS:
        memcpy(context.fpu, given.fpu_ctxt, FXSAVE_OURS)
    else:
        context.fpu[0] = FCW_START & 0xff
        context.fpu[1] = FCW_START >> 8
        context.fpu[FXSAVE_MXCSR] = MXCSR_START & 0xff
        context.fpu[FXSAVE_MXCSR + 1] = MXCSR_START >> 8


cdef void take_segment(Vcpu *vcpu, int sreg, uint16_t selector) noexcept nogil:
    cdef SegmentDescriptor descriptor
    if selector > 3:
        selector |= 3
    if not data_segment_held(vcpu, selector, &descriptor):
        selector = 0
        memset(&descriptor, 0, sizeof(descriptor))
    vcpu.processor.ops.set_segment(vcpu.processor, sreg, selector, &descriptor)


cdef void take_control(Vcpu *vcpu, vcpu_guest_context_t *given) noexcept nogil:
    cdef int n
    taskswitch(vcpu, given.ctrlreg[0] & CR0_TS != 0)
    if given.ctrlreg[4]:
        control_write(vcpu, 4, given.ctrlreg[4])
    for n in range(8):
        debugreg_write(vcpu, n, given.debugreg[n])      # what it cannot have, it has not


# --- the other way


cdef void guest_context_give(Vcpu *vcpu, vcpu_guest_context_t *given) noexcept nogil:
    cdef Context *context = &vcpu.context
    cdef int i
    memset(given, 0, sizeof(vcpu_guest_context_t))
    if not vcpu.initialised:
        return
    vcpu.processor.ops.pull(vcpu.processor, STATE_GENERAL | STATE_SEGMENTS | STATE_FPU)
    memcpy(given.fpu_ctxt, context.fpu, sizeof(given.fpu_ctxt))
    given.flags = (VGCF_i387_valid | (VGCF_in_kernel if context.kernel else 0) | (VGCF_online if vcpu.is_up else 0)
                   | (VGCF_failsafe_disables_events if vcpu.traps.failsafe_callback.disables_events else 0)
                   | (VGCF_syscall_disables_events if vcpu.traps.syscall_callback.disables_events else 0))
    give_registers(vcpu, &given.user_regs)
    memcpy(given.trap_ctxt, vcpu.traps.table, sizeof(given.trap_ctxt))
    given.ldt_base, given.ldt_ents = vcpu.mmu.ldt_base, vcpu.mmu.ldt_entries
    given.gdt_ents = vcpu.mmu.gdt_entries
    for i in range((vcpu.mmu.gdt_entries + 511) // 512):
        given.gdt_frames[i] = vcpu.mmu.gdt_frames[i]
    given.kernel_ss, given.kernel_sp = FLAT_RING3_SS, vcpu.traps.kernel_sp
    given.ctrlreg[0], given.ctrlreg[2], given.ctrlreg[4] = vcpu.control.cr0, vcpu.control.cr2, vcpu.control.cr4
    given.ctrlreg[3], given.ctrlreg[1] = vcpu.mmu.root_kernel << 12, vcpu.mmu.root_user << 12
    memcpy(given.debugreg, vcpu.control.dr, sizeof(given.debugreg))
    given.event_callback_eip = vcpu.traps.event_callback.address
    given.failsafe_callback_eip = vcpu.traps.failsafe_callback.address
    given.syscall_callback_eip = vcpu.traps.syscall_callback.address
    given.vm_assist = vcpu.domain.vm_assist
    given.fs_base = context.segments[<int>SREG_FS].base
    given.gs_base_kernel, given.gs_base_user = vcpu.control.gs_base_kernel, vcpu.control.gs_base_user
    if context.kernel:      # what is in use may be newer
        given.gs_base_kernel = context.segments[<int>SREG_GS].base
    else:
        given.gs_base_user = context.segments[<int>SREG_GS].base


cdef void give_registers(Vcpu *vcpu, cpu_user_regs_t *regs) noexcept nogil:
    cdef Context *context = &vcpu.context
    regs.rax, regs.rcx, regs.rdx, regs.rbx = context.gpr[RAX], context.gpr[RCX], context.gpr[RDX], context.gpr[RBX]
    regs.rsp, regs.rbp, regs.rsi, regs.rdi = context.gpr[RSP], context.gpr[RBP], context.gpr[RSI], context.gpr[RDI]
    regs.r8, regs.r9, regs.r10, regs.r11 = context.gpr[R8], context.gpr[R9], context.gpr[R10], context.gpr[R11]
    regs.r12, regs.r13, regs.r14, regs.r15 = context.gpr[R12], context.gpr[R13], context.gpr[R14], context.gpr[R15]
    regs.rip, regs.rflags = context.rip, context.rflags | <uint64_t>vcpu.ports.iopl << 12
    regs.cs, regs.ss = context.cs, context.ss
    regs.es, regs.ds = context.selectors[<int>SREG_ES], context.selectors[<int>SREG_DS]
    regs.fs, regs.gs = context.selectors[<int>SREG_FS], context.selectors[<int>SREG_GS]
    regs.saved_upcall_mask = vcpu.info.evtchn_upcall_mask if vcpu.info != NULL else 0
