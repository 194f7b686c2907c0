"""The `emulated` engine: one vcpu's guest code, translated by Unicorn (QEMU's TCG).

Theory of operation.  Guest kernel code runs at CPL 1 and guest user code at CPL 3, on the guest's own page tables, over
machine memory as Unicorn's physical memory.  The register state lives in Unicorn's CPUX86State while guest code runs.
At every exit it is pulled into the vcpu's Context, the core answers on that, and what changed is pushed back; nothing
is kept only here.  All of it is compiled and holds no GIL.

Only the privilege level, not selectors, separates the rings: CS and SS keep the selectors of the ABI (RPL 3), which
both modes load by the rules of ring 3 (segments.c), and the processor's notion of the current ring is set directly, by
`segments_enter` alone.  Nothing that the guest does changes it: descriptors are validated, gates and TSS do not exist,
and the page tables themselves decide what ring 1 may touch.
"""

import gc

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from xenia.cpu.processor cimport (
    CONTEXT_FLAGS, CONTEXT_SEGMENTS, EFLAGS_RF, EFLAGS_TF, EXIT_EXCEPTION, EXIT_SOFT_INTERRUPT, EXIT_SYSCALL,
    EXIT_SYSENTER, LEAVE, R11, RAX, RBX, RCX, RDX, SREG_CS, SREG_SS, TRAP_DB, TRAP_GP, TRAP_PF, TRAP_SS, TRAP_UD,
    Context, Exit, Processor, ProcessorOps, SegmentDescriptor,
)
from xenia.cpu.cpuid cimport cpuid_policy
from xenia.cpu.decode cimport DECODE_OK, Instruction, decode, is_stack_access
from xenia.cpu.engines.emulated.unicorn cimport (
    BYTE_AT, CC_OP_EFLAGS, CPUX86State, CPU_CFLAGS_NEXT_TB, CPU_ENV, CPU_ENV_PTR, CPU_EXCEPTION_INDEX,
    CPU_EXIT_REQUEST, CPU_HALTED, CPU_ICOUNT_DECR_PTR, CPU_OPAQUE, CPU_UC, HF_CS32, HF_CS64, HF_INHIBIT_IRQ, HF_LMA,
    HF_MP, HF_OSFXSR, HF_PE, HF_SS32, HF_TS, INT_AT, Interposed, MMU_USER_IDX, NB_MMU_MODES, POINTER_AT,
    STOP_TRANSLATED, SegmentCache, TLB_DESCRIPTOR, TLB_ENTRIES, TLB_INVALID_BIT, TLB_TABLE, TlbEntry, UC_ARCH_X86,
    UC_CPU, UC_CPU_X86_EPYC_ROME, UC_HOOK_INSN_INVALID, UC_HOOK_INTR, UC_INIT_DONE, UC_MODE_64, UC_NESTED_LEVEL,
    UC_NO_EXIT_REQUEST, UC_PROT_ALL, UC_X86_REG_CR3, UC_X86_REG_R15, VICTIM_ENTRIES, __rdtsc,
    cpu_cc_compute_all_x86_64, cpu_exec_x86_64, cpu_x86_update_cr4_x86_64, cpu_x86_update_dr7_x86_64,
    interposed_enter, interposed_walk, jumps_new, links_flush, links_made, links_new, links_pte_changed,
    links_root_changed, put_byte, put_int, put_pointer, segments_enter, tb_invalidate_phys_range_x86_64,
    tlb_flush_page_x86_64, tlb_flush_x86_64, uc_close, uc_ctl_exits_enable, uc_ctl_set_cpu_model,
    uc_ctl_set_tcg_buffer_size, uc_engine, uc_hook_add, uc_mem_map_ptr, uc_open, uc_reg_write, uc_version,
    user_reaches,
)
from xenia.machine.machine cimport MachineMemory

from xenia.errors import ConfigError, HypervisorBug

cdef extern from "host.h":
    int code_buffers_reserve(size_t length, int count)

cdef struct Engine:
    Processor processor
    Interposed interposed
    uc_engine *uc
    void *cpu
    CPUX86State *env
    int left                # the core answered LEAVE to the exit that ended run()
    bint resuming           # one instruction runs past its breakpoint, or past one that loaded SS: see step
    uint64_t resumed_dr6    # dr6 before it
    uint32_t deferred       # watchpoints (dr6 bits) that the one that loaded SS touched

cdef enum:
    CC_MASK = 0x8d5             # O S Z A P C
    DF = 0x400
    CR0_PE = 1
    CR0_MP = 2
    CR0_TS = 8
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
    TCG_BUFFER = 64 << 20

cdef uint64_t CR0_PG = <uint64_t>1 << 31


# --- registers: pull at an exit, push before going on ---


cdef inline void pull(Engine *engine) noexcept nogil:
    cdef CPUX86State *env = engine.env
    cdef Context *context = engine.processor.context
    memcpy(context.gpr, env.regs, 128)
    context.rip = env.eip
    context.rflags = env.eflags | cpu_cc_compute_all_x86_64(env, env.cc_op) | (DF if env.df < 0 else 0)
    context.cs = env.segs[SREG_CS].selector
    context.ss = env.segs[SREG_SS].selector
    context.dirty = 0
    if engine.resuming:
        context.rflags &= ~<uint64_t>EFLAGS_TF


cdef inline void push(Engine *engine) noexcept nogil:
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
            if context.rflags & EFLAGS_RF:
                step(engine)
        if context.dirty & CONTEXT_SEGMENTS:
            segments_enter(&engine.interposed, env, context.cs, context.ss, context.kernel)
        context.dirty = 0


cdef inline void step(Engine *engine) noexcept nogil:
    # For one instruction, of which the guest does not learn.  The resume flag holds for one; Unicorn's translator lets
    # it hold until something else ends the translated block, or for ever.  A single step is exact, and `on_exception`
    # keeps it to itself.
    if not engine.env.eflags & EFLAGS_TF:
        engine.env.eflags |= EFLAGS_TF
        engine.resuming = True
        engine.resumed_dr6 = engine.env.dr[6]


cdef inline bint resumed(Engine *engine, uint32_t vector) noexcept nogil:
    # Is this the end of a `step`?
    if not engine.resuming or vector != TRAP_DB:
        return False
    engine.resuming = False
    engine.env.eflags &= ~<uint64_t>(EFLAGS_TF | EFLAGS_RF)
    engine.env.dr[6] = engine.resumed_dr6
    return True


# --- exits ---


cdef inline void leave_or_resume(Engine *engine, int verdict) noexcept nogil:
    push(engine)
    if verdict == LEAVE:
        engine.left = 1
        put_byte(engine.cpu, CPU_EXIT_REQUEST, 1)


cdef void on_syscall(void *opaque, int is_sysenter, int length) noexcept nogil:
    cdef Engine *engine = <Engine *>opaque
    cdef Context *context = engine.processor.context
    cdef Exit exit
    engine.deferred = 0
    pull(engine)
    context.rip += length
    if engine.resuming:
        context.rflags &= ~<uint64_t>EFLAGS_RF
        context.dirty |= CONTEXT_FLAGS
    if not is_sysenter:
        context.gpr[RCX] = context.rip
        context.gpr[R11] = context.rflags
    exit.kind = EXIT_SYSENTER if is_sysenter else EXIT_SYSCALL
    leave_or_resume(engine, engine.processor.on_exit(engine.processor.vcpu, &exit))


cdef void on_cpuid(void *opaque) noexcept nogil:
    cdef Engine *engine = <Engine *>opaque
    cdef uint64_t *regs = engine.env.regs
    cdef uint32_t leaf[4]
    cpuid_policy(<uint32_t>regs[RAX], <uint32_t>regs[RCX], leaf)
    regs[RAX] = leaf[0]
    regs[RBX] = leaf[1]
    regs[RCX] = leaf[2]
    regs[RDX] = leaf[3]


cdef void on_exception(uc_engine *uc, uint32_t vector, void *opaque) noexcept nogil:
    cdef Engine *engine = <Engine *>opaque
    cdef CPUX86State *env = engine.env
    cdef Exit exit
    cdef uint32_t deferred = engine.deferred
    env.old_exception = -1
    engine.deferred = 0
    forget_watchpoint(engine)
    if resumed(engine, vector) and not deferred:
        return
    if vector == TRAP_DB:
        env.dr[6] |= deferred
    pull(engine)
    if engine.interposed.noncanonical:
        vector = noncanonical_vector(engine)
    exit.vector = vector
    exit.error = env.error_code
    exit.address = 0
    if env.exception_is_int:
        exit.kind = EXIT_SOFT_INTERRUPT
    else:
        exit.kind = EXIT_EXCEPTION
        if vector == TRAP_PF:
            exit.address = env.cr[2]
        elif vector == TRAP_DB:
            exit.address = env.dr[6]
    leave_or_resume(engine, engine.processor.on_exit(engine.processor.vcpu, &exit))


cdef uint32_t noncanonical_vector(Engine *engine) noexcept nogil:
    # An address that is not canonical is a #SS where it is of the stack segment; the engine only knows #GP.
    cdef Context *context = engine.processor.context
    cdef uint64_t va = engine.interposed.noncanonical, rest = 4096 - (context.rip & 0xfff)
    cdef uint8_t code[15]
    cdef uint8_t *first = interposed_walk(&engine.interposed, engine.env, context.rip)
    cdef uint8_t *second = NULL
    cdef Instruction insn
    engine.interposed.noncanonical = 0
    if first == NULL:
        return TRAP_GP
    if rest < 15:
        second = interposed_walk(&engine.interposed, engine.env, context.rip + rest)
    rest = min(rest, <uint64_t>15)
    memcpy(code, first, rest)
    if second != NULL:
        memcpy(code + rest, second, 15 - rest)
    if decode(&insn, code, rest if second == NULL else 15, 64) != DECODE_OK:
        return TRAP_GP
    return TRAP_SS if is_stack_access(&insn, context.gpr, va) else TRAP_GP


cdef bint on_invalid(uc_engine *uc, void *opaque) noexcept nogil:
    cdef Engine *engine = <Engine *>opaque
    cdef Exit exit
    engine.deferred = 0
    exit.kind = EXIT_EXCEPTION
    exit.vector = TRAP_UD
    exit.error = 0
    exit.address = 0
    if engine.env.exception_is_int:         # int $6, which Unicorn takes for an invalid opcode
        engine.env.eip = engine.env.exception_next_eip
        exit.kind = EXIT_SOFT_INTERRUPT
    elif is_int1(engine):                   # which it does not know
        engine.env.eip += 1
        exit.vector = TRAP_DB
        exit.address = engine.env.dr[6]
    pull(engine)
    leave_or_resume(engine, engine.processor.on_exit(engine.processor.vcpu, &exit))
    return True


cdef inline bint is_int1(Engine *engine) noexcept nogil:
    cdef uint8_t *code = interposed_walk(&engine.interposed, engine.env, engine.env.segs[SREG_CS].base + engine.env.eip)
    return code != NULL and code[0] == 0xf1


cdef bint op_run(Processor *processor) noexcept nogil:
    # cpu_exec clears a stop request only when it obeys it, so a kick that lands before it is not lost.
    cdef Engine *engine = <Engine *>processor
    engine.left = 0
    # A stop may have come between a watchpoint's first look and the instruction's own block: look again.
    forget_watchpoint(engine)
    put_int(engine.cpu, CPU_CFLAGS_NEXT_TB, -1)
    interposed_enter(&engine.interposed)
    push(engine)
    while True:
        put_int(engine.cpu, CPU_EXCEPTION_INDEX, -1)
        put_int(engine.cpu, CPU_HALTED, 0)
        cpu_exec_x86_64(engine.uc, engine.cpu)
        if not engine.interposed.watch_hits:
            break
        if engine.env.hflags & HF_INHIBIT_IRQ:      # what loads SS is one with the next instruction
            engine.deferred = engine.interposed.watch_hits
            forget_watchpoint(engine)
            step(engine)
            continue
        on_watchpoint(engine)
        if engine.left:
            break
    pull(engine)
    return engine.left


cdef void on_watchpoint(Engine *engine) noexcept nogil:
    cdef Exit exit
    engine.env.dr[6] |= engine.interposed.watch_hits
    exit.kind = EXIT_EXCEPTION
    exit.vector = TRAP_DB
    exit.error = 0
    exit.address = engine.env.dr[6]
    forget_watchpoint(engine)
    pull(engine)
    engine.left = engine.processor.on_exit(engine.processor.vcpu, &exit) == LEAVE
    push(engine)


cdef inline void forget_watchpoint(Engine *engine) noexcept nogil:
    engine.interposed.watch_hits = 0
    engine.interposed.watch_armed = False


# --- ProcessorOps ---


cdef void op_pte_changed(Processor *processor, uint64_t table, unsigned index, uint64_t old,
                         uint64_t new) noexcept nogil:
    # The processor walks the tables themselves.
    links_pte_changed(&(<Engine *>processor).interposed, (<Engine *>processor).env, table, index, old, new)


cdef void op_table_changed(Processor *processor, uint64_t mfn, int level) noexcept nogil:
    pass    # mm/ asks for the flush that goes with it


cdef void op_root_dropped(Processor *processor, uint64_t root) noexcept nogil:
    pass


cdef void op_flush_page(Processor *processor, uint64_t va) noexcept nogil:
    processor.nr_flush_page += 1
    links_flush(&(<Engine *>processor).interposed)
    tlb_flush_page_x86_64((<Engine *>processor).cpu, va & ~<uint64_t>0xfff)


cdef void op_flush_all(Processor *processor) noexcept nogil:
    processor.nr_flush_all += 1
    processor.flush_clock += 1
    links_flush(&(<Engine *>processor).interposed)
    tlb_flush_x86_64((<Engine *>processor).cpu)


cdef void op_flush_frame(Processor *processor, uint64_t mfn) noexcept nogil:
    cdef void *cpu = (<Engine *>processor).cpu
    cdef int mode
    for mode in range(NB_MMU_MODES):
        forget_frame(TLB_TABLE(cpu, mode).entries, TLB_ENTRIES(TLB_TABLE(cpu, mode)), mfn << 12)
        forget_frame(TLB_DESCRIPTOR(cpu, mode).victims, VICTIM_ENTRIES, mfn << 12)


cdef inline void forget_frame(TlbEntry *entries, uint64_t count, uint64_t maddr) noexcept nogil:
    cdef uint64_t i
    for i in range(count):
        if entries[i].paddr == maddr:
            entries[i].addr_read = entries[i].addr_write = entries[i].addr_code = <uint64_t>-1


cdef void op_code_dirty(Processor *processor, uint64_t maddr, uint64_t length) noexcept nogil:
    cdef Engine *engine = <Engine *>processor
    cdef uint64_t first = maddr >> 12, last = (maddr + length - 1) >> 12
    cdef uint8_t *code = engine.interposed.code_frames
    if (code[first >> 3] >> (first & 7) | code[last >> 3] >> (last & 7)) & 1 or last > first + 1:
        interposed_enter(&engine.interposed)
        tb_invalidate_phys_range_x86_64(engine.uc, maddr, maddr + length)


cdef void op_load_root(Processor *processor, uint64_t root, bint is_user) noexcept nogil:
    (<Engine *>processor).interposed.user_root = is_user
    links_root_changed(&(<Engine *>processor).interposed, (<Engine *>processor).env.cr[3], root << 12)
    (<Engine *>processor).env.cr[3] = root << 12
    op_flush_all(processor)


cdef void op_get_segment(Processor *processor, int sreg, uint16_t *selector, uint64_t *base) noexcept nogil:
    cdef SegmentCache *segment = &(<Engine *>processor).env.segs[sreg]
    selector[0] = segment.selector
    base[0] = segment.base


cdef void op_set_segment(Processor *processor, int sreg, uint16_t selector,
                         SegmentDescriptor *descriptor) noexcept nogil:
    cdef SegmentCache *segment = &(<Engine *>processor).env.segs[sreg]
    segment.selector = selector
    segment.base = descriptor.base
    segment.limit = descriptor.limit
    segment.flags = descriptor.attributes


cdef void op_set_segment_base(Processor *processor, int sreg, uint64_t base) noexcept nogil:
    (<Engine *>processor).env.segs[sreg].base = base


cdef void op_set_gdt(Processor *processor, uint64_t va, uint32_t limit) noexcept nogil:
    (<Engine *>processor).env.gdt.base = va
    (<Engine *>processor).env.gdt.limit = limit


cdef void op_set_ldt(Processor *processor, uint64_t va, uint32_t limit) noexcept nogil:
    cdef SegmentCache *ldt = &(<Engine *>processor).env.ldt
    ldt.selector = 8 if limit else 0
    ldt.base = va
    ldt.limit = limit
    ldt.flags = DESC_P | 2 << 8 if limit else 0


cdef void op_set_ts(Processor *processor, bint on) noexcept nogil:
    cdef CPUX86State *env = (<Engine *>processor).env
    if on:
        env.cr[0] |= CR0_TS
        env.hflags |= HF_TS
    else:
        env.cr[0] &= ~<uint64_t>CR0_TS
        env.hflags &= ~HF_TS


cdef void op_set_debugreg(Processor *processor, int n, uint64_t value) noexcept nogil:
    cdef CPUX86State *env = (<Engine *>processor).env
    cdef uint32_t control = env.dr[7]
    if n == 7:
        cpu_x86_update_dr7_x86_64(env, value)
        tlb_flush_x86_64((<Engine *>processor).cpu)     # what it holds says which pages are watched
    elif n < 4:
        cpu_x86_update_dr7_x86_64(env, 0)
        env.dr[n] = value
        cpu_x86_update_dr7_x86_64(env, control)
        tlb_flush_x86_64((<Engine *>processor).cpu)
    elif n == 6:
        env.dr[6] = value | <uint32_t>0xffff0ff0


cdef void op_set_cr4(Processor *processor, uint64_t cr4) noexcept nogil:
    cpu_x86_update_cr4_x86_64((<Engine *>processor).env,
                              CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | (cr4 & (CR4_TSD | CR4_DE | CR4_FSGSBASE)))


cdef uint64_t op_read_tsc(Processor *processor) noexcept nogil:
    return __rdtsc() + (<Engine *>processor).env.tsc_offset


cdef void op_set_tsc_offset(Processor *processor, int64_t offset) noexcept nogil:
    (<Engine *>processor).env.tsc_offset = offset


cdef void op_kick(Processor *processor) noexcept nogil:
    STOP_TRANSLATED((<Engine *>processor).cpu)


cdef ProcessorOps OPS
OPS.run = op_run
OPS.pte_changed = op_pte_changed
OPS.table_typed = op_table_changed
OPS.table_untyped = op_table_changed
OPS.root_dropped = op_root_dropped
OPS.flush_page = op_flush_page
OPS.flush_all = op_flush_all
OPS.flush_frame = op_flush_frame
OPS.code_dirty = op_code_dirty
OPS.load_root = op_load_root
OPS.get_segment = op_get_segment
OPS.set_segment = op_set_segment
OPS.set_segment_base = op_set_segment_base
OPS.set_gdt = op_set_gdt
OPS.set_ldt = op_set_ldt
OPS.set_ts = op_set_ts
OPS.set_debugreg = op_set_debugreg
OPS.set_cr4 = op_set_cr4
OPS.read_tsc = op_read_tsc
OPS.set_tsc_offset = op_set_tsc_offset
OPS.kick = op_kick


# --- making one ---


@cython.no_gc_clear
cdef class EmulatedEngine:
    """An engine for one vcpu over `memory`.  Raises HypervisorBug when Unicorn is not laid out as expected."""

    def __cinit__(self, MachineMemory memory not None):
        cdef size_t handle
        cdef Engine *engine = <Engine *>calloc(1, sizeof(Engine))
        if engine == NULL:
            raise MemoryError
        self.processor = &engine.processor
        self.memory = memory
        engine.interposed.machine_memory = memory.machine.base
        engine.interposed.machine_bytes = memory.machine.nr_frames << 12
        engine.interposed.jumps = jumps_new()
        engine.interposed.links = links_new(memory.machine.nr_frames)
        if engine.interposed.jumps == NULL or engine.interposed.links == NULL:
            raise MemoryError
        if not reserve(1):
            gc.collect()        # of domains that are destroyed, and not forgotten yet
            if not reserve(1):
                raise ConfigError("no more domains: there is no memory left for translated code")
        interposed_enter(&engine.interposed)
        if uc_open(UC_ARCH_X86, UC_MODE_64, &engine.uc):
            raise ConfigError("the host gives no memory for a processor")
        uc_ctl_set_cpu_model(engine.uc, UC_CPU_X86_EPYC_ROME)
        uc_ctl_set_tcg_buffer_size(engine.uc, TCG_BUFFER)
        uc_ctl_exits_enable(engine.uc)
        if uc_mem_map_ptr(engine.uc, 0, memory.machine.nr_frames << 12, UC_PROT_ALL, memory.machine.base):
            raise ConfigError("the host gives no memory for a processor that reaches machine memory")
        engine.cpu = POINTER_AT(engine.uc, UC_CPU)
        engine.env = <CPUX86State *>POINTER_AT(engine.cpu, CPU_ENV_PTR)
        fault = layout_fault(engine)
        if fault:
            raise HypervisorBug(f"this Unicorn is not the 2.1.4 that Xenia knows: {fault}")
        put_pointer(engine.cpu, CPU_OPAQUE, engine.interposed.jumps)
        uc_hook_add(engine.uc, &handle, UC_HOOK_INTR, <void *>on_exception, engine, 1, 0)
        uc_hook_add(engine.uc, &handle, UC_HOOK_INSN_INVALID, <void *>on_invalid, engine, 1, 0)
        put_byte(engine.uc, UC_NO_EXIT_REQUEST, 1)
        put_int(engine.uc, UC_NESTED_LEVEL, 1)
        engine.interposed.code_frames = <uint8_t *>calloc(memory.machine.nr_frames // 8 + 1, 1)
        if engine.interposed.code_frames == NULL:
            raise MemoryError
        engine.processor.code_frames = engine.interposed.code_frames
        engine.interposed.on_syscall = on_syscall
        engine.interposed.on_cpuid = on_cpuid
        engine.interposed.engine = engine
        engine.processor.ops = &OPS
        reset(engine)

    def __dealloc__(self):
        cdef Engine *engine = <Engine *>self.processor
        if engine != NULL:
            interposed_enter(&engine.interposed)
            if engine.uc != NULL:
                put_int(engine.uc, UC_NESTED_LEVEL, 0)
                uc_close(engine.uc)
            interposed_enter(NULL)
            free(engine.interposed.code_frames)
            free(engine.interposed.jumps)
            free(engine.interposed.links)
            free(engine)

    def stale_translations(self):
        """Every cached translation that the page tables do not give: (va, machine address, what differs, writable).

        Compares each entry of the engine's TLB with a walk of the current page tables.
        """
        return stale(<Engine *>self.processor)

    @property
    def statistics(self):
        """Counts since the engine was made; `links` between blocks of two pages were made, and may be gone."""
        return {
            "tlb_fills": (<Engine *>self.processor).interposed.tlb_fills,
            "flush_all": self.processor.nr_flush_all,
            "flush_page": self.processor.nr_flush_page,
            "links": links_made((<Engine *>self.processor).interposed.links),
        }


def reserve(int nr) -> int:
    """Have memory for the translated code of `nr` engines yet to be made; for how many there is some."""
    return code_buffers_reserve(TCG_BUFFER, nr)


def self_test() -> str:
    """Make an engine, which checks that Unicorn is laid out as expected; what it is.  HypervisorBug if it is not."""
    cdef unsigned version = uc_version(NULL, NULL)
    EmulatedEngine(MachineMemory(1 << 20))
    return f"emulated, by Unicorn {version >> 24}.{version >> 16 & 0xff}.{version >> 8 & 0xff}"


cdef layout_fault(Engine *engine):
    # Write through the public API and look where it lands; None when all is where unicorn_x86.h says.
    cdef uint64_t value = 0x5e1f7e57c0ffee, cr3 = 0x123000
    cdef CPUX86State *env = engine.env
    if <uint8_t *>env != <uint8_t *>engine.cpu + CPU_ENV:
        return "CPUX86State is not inside the processor object"
    if BYTE_AT(engine.uc, UC_INIT_DONE) != 1 or BYTE_AT(engine.uc, UC_NO_EXIT_REQUEST) != 0:
        return "init_done or no_exit_request moved"
    if INT_AT(engine.uc, UC_NESTED_LEVEL) != 0:
        return "nested_level moved"
    uc_reg_write(engine.uc, UC_X86_REG_R15, &value)
    uc_reg_write(engine.uc, UC_X86_REG_CR3, &cr3)
    if env.regs[15] != value or env.cr[3] != cr3:
        return "registers moved"
    if <uint8_t *>POINTER_AT(engine.cpu, CPU_ICOUNT_DECR_PTR) != <uint8_t *>env - 16:
        return "the exit counter moved"
    if POINTER_AT(engine.cpu, CPU_UC) != <void *>engine.uc or POINTER_AT(engine.cpu, CPU_OPAQUE) != NULL:
        return "the processor's opaque pointer moved"
    return None


cdef void reset(Engine *engine) noexcept nogil:
    # Long mode with paging, write protection and no-execute, as a 64-bit PV guest finds the machine.
    cdef CPUX86State *env = engine.env
    cdef uint32_t leaf[4]
    cdef int sreg
    env.efer = EFER_SCE | EFER_LME_LMA | EFER_NXE
    cpu_x86_update_cr4_x86_64(env, CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT)
    env.cr[0] = CR0_PG | CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP
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


cdef stale(Engine *engine):
    found = []
    cdef int mode
    cdef uint64_t i
    for mode in range(NB_MMU_MODES):
        for i in range(TLB_ENTRIES(TLB_TABLE(engine.cpu, mode))):
            add_fault(found, engine, &TLB_TABLE(engine.cpu, mode).entries[i], mode)
        for i in range(<uint64_t>VICTIM_ENTRIES):
            add_fault(found, engine, &TLB_DESCRIPTOR(engine.cpu, mode).victims[i], mode)
    return found


cdef add_fault(list found, Engine *engine, TlbEntry *entry, int mode):
    fault = entry_fault(engine, entry, mode)
    if fault is not None:
        found.append(fault)


cdef entry_fault(Engine *engine, TlbEntry *entry, int mode):
    cdef uint64_t addresses[3]
    cdef uint64_t table = engine.env.cr[3], rights = 6, nx = 0, va = <uint64_t>-1, maddr, pte = 0
    cdef int kind, level
    cdef bint writable = entry.addr_write != <uint64_t>-1 and not entry.addr_write & TLB_INVALID_BIT
    addresses[0] = entry.addr_read
    addresses[1] = entry.addr_write
    addresses[2] = entry.addr_code
    for kind in range(3):
        if addresses[kind] != <uint64_t>-1 and not addresses[kind] & TLB_INVALID_BIT:
            va = addresses[kind] & ~<uint64_t>0xfff
    if va == <uint64_t>-1:
        return None
    for level in range(3, -1, -1):
        maddr = (table & 0x000ffffffffff000) + 8 * ((va >> (12 + 9 * level)) & 511)
        if maddr >= engine.interposed.machine_bytes:
            return (va, entry.paddr, f"no such table at level {level + 1}", writable)
        pte = (<uint64_t *>(engine.interposed.machine_memory + maddr))[0]
        if not pte & 1:
            return (va, entry.paddr, f"not mapped at level {level + 1}", writable)
        rights &= pte
        nx |= pte >> 63
        if level == 1 and pte & 0x80:
            return None
        table = pte
    if (pte & 0x000ffffffffff000) != entry.paddr & ~<uint64_t>0xfff:
        return (va, entry.paddr, f"maps {pte & 0x000ffffffffff000:#x} now", writable)
    if writable and not rights & 2:
        return (va, entry.paddr, "no longer writable", True)
    if mode == MMU_USER_IDX and not user_reaches(&engine.interposed, va, rights):
        return (va, entry.paddr, "no longer user's", writable)
    if addresses[2] != <uint64_t>-1 and nx:
        return (va, entry.paddr, "no longer executable", writable)
    return None
