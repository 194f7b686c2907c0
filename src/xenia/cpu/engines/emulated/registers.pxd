# A vcpu's registers in Unicorn's CPUX86State: pulled at an exit, pushed before going on, and what is asked for.
#
# All inline, because what it calls of Unicorn can be reached from the engine's own module alone.
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from xenia.cpu.context cimport (
    CONTEXT_FLAGS, CONTEXT_SEGMENTS, CR0_TS, EFLAGS_RF, EFLAGS_TF, SREG_CS, SREG_SS, STATE_CONTROL, STATE_DEBUG,
    STATE_FPU, STATE_GENERAL, STATE_SEGMENTS, STATE_TABLES, STATE_TSC, Context, SegmentDescriptor,
)
from xenia.cpu.cpuid cimport cpuid_policy
from xenia.cpu.engines.emulated.emulator cimport Emulator
from xenia.cpu.engines.emulated.unicorn cimport (
    CC_OP_EFLAGS, CPUX86State, HF_CS32, HF_CS64, HF_INHIBIT_IRQ, HF_LMA, HF_MP, HF_OSFXSR, HF_PE, HF_SS32, HF_TS,
    Interposed, SegmentCache, __rdtsc, cpu_cc_compute_all_x86_64, cpu_x86_update_cr4_x86_64,
    cpu_x86_update_dr7_x86_64, fpu_load, fpu_save, interposed_enter, links_flush, links_root_changed, segments_enter,
    segments_ring, tlb_flush_x86_64,
)
from xenia.cpu.processor cimport TRAP_DB, Processor

cdef enum:
    CC_MASK = 0x8d5             # O S Z A P C
    DF = 0x400
    CR0_PE = 1
    CR0_MP = 2
    CR0_ET = 0x10
    CR0_NE = 0x20
    CR0_WP = 0x10000
    CR4_TSD = 4
    CR4_DE = 8
    CR4_PAE = 0x20
    CR4_OSFXSR = 0x200
    CR4_OSXMMEXCPT = 0x400
    CR4_FSGSBASE = 0x10000
    EFER_SCE = 1
    EFER_LME_LMA = 0x500
    EFER_NXE = 0x800
    DESC_P = 0x8000


# --- at an exit, and before going on


cdef inline uint64_t computed_flags(CPUX86State *env) noexcept nogil:
    # Those that Unicorn keeps outside of eflags.
    return cpu_cc_compute_all_x86_64(env, env.cc_op) | (DF if env.df < 0 else 0)


cdef inline void pull(Emulator *engine) noexcept nogil:
    cdef CPUX86State *env = engine.env
    cdef Context *context = engine.processor.context
    memcpy(context.gpr, env.regs, 128)
    context.rip = env.eip
    context.rflags = env.eflags | computed_flags(env)
    context.cs = env.segs[SREG_CS].selector
    context.ss = env.segs[SREG_SS].selector
    context.dirty = 0
    context.rflags &= ~engine.hidden


cdef inline void push(Emulator *engine) noexcept nogil:
    cdef CPUX86State *env = engine.env
    cdef Context *context = engine.processor.context
    memcpy(env.regs, context.gpr, 128)
    env.eip = context.rip
    if context.dirty:
        if context.dirty & CONTEXT_FLAGS:
            env.cc_src = context.rflags & CC_MASK
            env.cc_op = CC_OP_EFLAGS
            env.df = -1 if context.rflags & DF else 1
            env.eflags = (context.rflags & ~<uint64_t>(CC_MASK | DF)) | 2
            engine.resuming = False
            engine.hidden = 0
            if context.rflags & EFLAGS_RF or engine.deferred:
                step(engine)
        if context.dirty & CONTEXT_SEGMENTS:
            segments_enter(&engine.interposed, env, context.cs, context.ss, context.kernel)
        context.dirty = 0


cdef inline void step(Emulator *engine) noexcept nogil:
    # For one instruction, of which the guest does not learn.  The resume flag holds for one; Unicorn's translator lets
    # it hold until something else ends the translated block, or for ever.  A single step is exact, and `on_exception`
    # keeps it to itself.
    if not engine.env.eflags & EFLAGS_TF:
        engine.env.eflags |= EFLAGS_TF
        engine.resuming = True
        engine.hidden = EFLAGS_TF
        engine.resumed_dr6 = engine.env.dr[6]


cdef inline bint resumed(Emulator *engine, uint32_t vector) noexcept nogil:
    # Is this the end of a `step`?
    if not engine.resuming or vector != TRAP_DB:
        return False
    engine.resuming = False
    engine.hidden = 0
    engine.env.eflags &= ~<uint64_t>(EFLAGS_TF | EFLAGS_RF)
    engine.env.dr[6] = engine.resumed_dr6
    return True


# --- a part at a time


cdef inline void op_flush_all(Processor *processor) noexcept nogil:
    processor.nr_flush_all += 1
    processor.flush_clock += 1
    links_flush(&(<Emulator *>processor).interposed)
    tlb_flush_x86_64((<Emulator *>processor).cpu)


cdef inline void op_load_root(Processor *processor, uint64_t root, bint is_user) noexcept nogil:
    cdef Emulator *engine = <Emulator *>processor
    engine.interposed.user_root = is_user
    links_root_changed(&engine.interposed, engine.env.cr[3], root << 12)
    engine.env.cr[3] = root << 12
    op_flush_all(processor)


cdef inline void op_get_segment(Processor *processor, int sreg, uint16_t *selector, uint64_t *base) noexcept nogil:
    cdef SegmentCache *segment = &(<Emulator *>processor).env.segs[sreg]
    selector[0] = segment.selector
    base[0] = segment.base


cdef inline void op_set_segment(Processor *processor, int sreg, uint16_t selector,
                                SegmentDescriptor *descriptor) noexcept nogil:
    cdef SegmentCache *segment = &(<Emulator *>processor).env.segs[sreg]
    segment.selector = selector
    segment.base = descriptor.base
    segment.limit = descriptor.limit
    segment.flags = descriptor.attributes


cdef inline void op_set_segment_base(Processor *processor, int sreg, uint64_t base) noexcept nogil:
    (<Emulator *>processor).env.segs[sreg].base = base


cdef inline void op_set_gdt(Processor *processor, uint64_t va, uint32_t limit) noexcept nogil:
    (<Emulator *>processor).env.gdt.base = va
    (<Emulator *>processor).env.gdt.limit = limit


cdef inline void op_set_ldt(Processor *processor, uint64_t va, uint32_t limit) noexcept nogil:
    cdef SegmentCache *ldt = &(<Emulator *>processor).env.ldt
    ldt.selector = 8 if limit else 0
    ldt.base = va
    ldt.limit = limit
    ldt.flags = DESC_P | 2 << 8 if limit else 0


cdef inline void op_set_ts(Processor *processor, bint on) noexcept nogil:
    cdef CPUX86State *env = (<Emulator *>processor).env
    if on:
        env.cr[0] |= CR0_TS
        env.hflags |= HF_TS
    else:
        env.cr[0] &= ~<uint64_t>CR0_TS
        env.hflags &= ~HF_TS


cdef inline void op_set_debugreg(Processor *processor, int n, uint64_t value) noexcept nogil:
    cdef CPUX86State *env = (<Emulator *>processor).env
    cdef uint32_t control = env.dr[7]
    if n == 7:
        cpu_x86_update_dr7_x86_64(env, value)
        tlb_flush_x86_64((<Emulator *>processor).cpu)     # what it holds says which pages are watched
    elif n < 4:
        cpu_x86_update_dr7_x86_64(env, 0)
        env.dr[n] = value
        cpu_x86_update_dr7_x86_64(env, control)
        tlb_flush_x86_64((<Emulator *>processor).cpu)
    elif n == 6:
        env.dr[6] = value | <uint32_t>0xffff0ff0


cdef inline void op_set_cr4(Processor *processor, uint64_t cr4) noexcept nogil:
    cpu_x86_update_cr4_x86_64((<Emulator *>processor).env,
                              CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | (cr4 & (CR4_TSD | CR4_DE | CR4_FSGSBASE)))


cdef inline uint64_t op_read_tsc(Processor *processor) noexcept nogil:
    return __rdtsc() + (<Emulator *>processor).env.tsc_offset


cdef inline void op_set_tsc_offset(Processor *processor, int64_t offset) noexcept nogil:
    (<Emulator *>processor).env.tsc_offset = offset


# --- all of it


cdef inline void op_pull(Processor *processor, int what) noexcept nogil:
    cdef Emulator *engine = <Emulator *>processor
    cdef CPUX86State *env = engine.env
    cdef Context *context = processor.context
    cdef int n
    push(engine)                # what the core changed since the exit
    if what & STATE_GENERAL:
        pull(engine)
        context.after_ss = env.hflags & HF_INHIBIT_IRQ != 0
        context.held_back = engine.deferred
    if what & STATE_SEGMENTS:
        for n in range(6):
            context.selectors[n] = env.segs[n].selector
            context.segments[n].base = env.segs[n].base
            context.segments[n].limit = env.segs[n].limit
            context.segments[n].attributes = env.segs[n].flags
    if what & STATE_TABLES:
        context.gdt.base = env.gdt.base
        context.gdt.limit = env.gdt.limit
        context.ldt.base = env.ldt.base
        context.ldt.limit = env.ldt.limit
    if what & STATE_FPU:
        fpu_save(env, context.fpu)
    if what & STATE_DEBUG:
        memcpy(context.dr, env.dr, sizeof(context.dr))
    if what & STATE_CONTROL:
        context.ts = env.cr[0] & CR0_TS != 0
        context.cr2 = env.cr[2]
        context.cr4 = env.cr[4]
        context.root = env.cr[3] >> 12
        context.root_is_user = engine.interposed.user_root
    if what & STATE_TSC:
        context.tsc_offset = env.tsc_offset


cdef inline void op_push(Processor *processor, int what) noexcept nogil:
    cdef Emulator *engine = <Emulator *>processor
    cdef CPUX86State *env = engine.env
    cdef Context *context = processor.context
    cdef Interposed *before = interposed_enter(&engine.interposed)
    cdef int n
    if what & STATE_CONTROL:
        op_set_ts(processor, context.ts)
        op_set_cr4(processor, context.cr4)
        env.cr[2] = context.cr2
        op_load_root(processor, context.root, context.root_is_user)
    if what & STATE_TABLES:
        op_set_gdt(processor, context.gdt.base, context.gdt.limit)
        op_set_ldt(processor, context.ldt.base, context.ldt.limit)
    if what & STATE_DEBUG:
        for n in range(8):
            if n != 4 and n != 5:
                op_set_debugreg(processor, n, context.dr[n])
    if what & STATE_FPU:
        fpu_load(env, context.fpu)
    if what & STATE_TSC:
        env.tsc_offset = context.tsc_offset
    if what & STATE_GENERAL:
        context.dirty |= CONTEXT_FLAGS | CONTEXT_SEGMENTS
        engine.deferred = context.held_back
    if what & STATE_SEGMENTS:
        context.dirty &= ~CONTEXT_SEGMENTS
        for n in range(6):
            op_set_segment(processor, n, context.selectors[n], &context.segments[n])
        segments_ring(env, context.kernel)
    push(engine)
    if what & STATE_GENERAL:
        env.hflags = env.hflags & ~HF_INHIBIT_IRQ | (HF_INHIBIT_IRQ if context.after_ss else 0)
    interposed_enter(before)


cdef inline void reset(Emulator *engine) noexcept nogil:
    # Long mode with paging, write protection and no-execute, as a 64-bit PV guest finds the machine.
    cdef CPUX86State *env = engine.env
    cdef uint32_t leaf[4]
    cdef int sreg
    env.efer = EFER_SCE | EFER_LME_LMA | EFER_NXE
    cpu_x86_update_cr4_x86_64(env, CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT)
    env.cr[0] = <uint64_t>1 << 31 | CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP   # and PG
    env.hflags = HF_PE | HF_MP | HF_LMA | HF_CS64 | HF_CS32 | HF_SS32 | HF_OSFXSR | 1
    env.eflags = 0x202
    env.df = 1
    env.cc_op = CC_OP_EFLAGS
    env.mxcsr = 0x1f80
    env.old_exception = -1
    for sreg in range(6):
        env.segs[sreg].limit = 0xffffffff
    env.tr.flags = 0            # no TSS: every in/out from ring 1 or 3 faults
    # What the translator accepts is what CPUID tells.
    cpuid_policy(0, 0, leaf)
    env.cpuid_vendor1 = leaf[1]
    env.cpuid_vendor2 = leaf[3]
    env.cpuid_vendor3 = leaf[2]
    cpuid_policy(1, 0, leaf)
    env.features[0] = leaf[3]
    env.features[1] = leaf[2]
    cpuid_policy(7, 0, leaf)
    env.features[2] = leaf[1]
    env.features[3] = leaf[2]
    env.features[4] = leaf[3]
    cpuid_policy(0x80000001, 0, leaf)
    env.features[6] = leaf[3]
    env.features[7] = leaf[2]
