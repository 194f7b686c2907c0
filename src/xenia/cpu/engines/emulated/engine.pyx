"""The `emulated` engine: one vcpu's guest code, translated by Unicorn (QEMU's TCG).

Theory of operation.  Guest kernel code runs at CPL 1 and guest user code at CPL 3, on the guest's own page tables, over
machine memory as Unicorn's physical memory.  The register state lives in Unicorn's CPUX86State (registers.pxd) while
guest code runs.  At every exit what the core needs of it is pulled into the vcpu's Context, the core answers on that,
and what changed is pushed back; the rest is pulled when it is asked for.  What is kept only here can be made again from
that and from memory: translated code, cached translations, counts.  All of it is compiled and holds no GIL.

Only the privilege level, not selectors, separates the rings: CS and SS keep the selectors of the ABI (RPL 3), which
both modes load by the rules of ring 3 (segments.c), and the processor's notion of the current ring is set directly, by
`segments_ring` alone.  Nothing that the guest does changes it: descriptors are validated, gates and TSS do not exist,
and the page tables themselves decide what ring 1 may touch.
"""

import gc

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from xenia.cpu.context cimport CONTEXT_FLAGS, EFLAGS_RF, R11, RAX, RBX, RCX, RDX, SREG_CS, Context
from xenia.cpu.cpuid cimport cpuid_of_processor
from xenia.cpu.decode cimport DECODE_OK, Instruction, decode, is_stack_access
from xenia.cpu.engine cimport Engine
from xenia.cpu.engines.emulated.beside cimport answer, goes_elsewhere
from xenia.cpu.engines.emulated.code cimport is_kicked, op_code_dirty, op_watch_code, share
from xenia.cpu.engines.emulated.debug cimport (
    debug_exit, op_set_stops, step_is_done, step_moved_flags, step_trapped,
)
from xenia.cpu.engines.emulated.emulator cimport Emulator
from xenia.cpu.engines.emulated.registers cimport (
    computed_flags, op_flush_all, op_get_segment, op_load_root, op_pull, op_push, op_read_tsc, op_set_cr4,
    op_set_debugreg, op_set_gdt, op_set_ldt, op_set_segment, op_set_segment_base, op_set_ts, op_set_tsc_offset, pull,
    push, reset, resumed, step,
)
from xenia.cpu.engines.emulated.unicorn cimport (
    CPU_CFLAGS_NEXT_TB, CPU_ENV_PTR, CPU_EXCEPTION_INDEX, CPU_EXIT_REQUEST, CPU_HALTED, CPU_OPAQUE, CPUX86State,
    EXCP_DEBUG, HF_INHIBIT_IRQ, NB_MMU_MODES, POINTER_AT, STOP_TRANSLATED, StaleTranslation, TLB_DESCRIPTOR,
    TLB_ENTRIES, TLB_TABLE, TlbEntry, UC_ARCH_X86, UC_CPU, UC_CPU_X86_EPYC_ROME, UC_HOOK_INSN_INVALID, UC_HOOK_INTR,
    UC_MODE_64, UC_NESTED_LEVEL, UC_NO_EXIT_REQUEST, UC_PROT_ALL, VICTIM_ENTRIES, WATCHED_BY_DEBUGGER, cpu_exec_x86_64,
    interposed_enter, interposed_walk, jumps_new, jumps_visit, layout_fault, links_flush, links_made, links_new,
    links_pte_changed, put_byte, put_int, put_pointer, relative_begin, tlb_flush_page_x86_64, translations_stale,
    uc_close, uc_ctl_exits_enable, uc_ctl_set_cpu_model, uc_ctl_set_tcg_buffer_size, uc_engine, uc_hook_add,
    uc_mem_map_ptr, uc_open, uc_version,
)
from xenia.cpu.processor cimport (
    EXIT_EXCEPTION, EXIT_SOFT_INTERRUPT, EXIT_SYSCALL, EXIT_SYSENTER, LEAVE, RESUME, STOP_BREAKPOINT, STOP_STEPPED,
    STOP_WATCHPOINT, TRAP_DB, TRAP_GP, TRAP_PF, TRAP_SS, TRAP_UD, Exit, Processor, ProcessorOps, processor_begin,
    processor_end, processor_enter, processor_leave,
)
from xenia.machine.atomic cimport flag_store
from xenia.machine.machine cimport MachineMemory

from xenia.cpu.capabilities import Capabilities
from xenia.errors import ConfigError, HypervisorBug

cdef extern from "host.h":
    int code_buffers_reserve(size_t length, int count)

cdef enum:
    TCG_BUFFER = 256 << 20      # what is run again and again has to fit: a C compiler and its linker take 100 MB


# --- exits ---


cdef inline void leave_or_resume(Emulator *engine, int verdict) noexcept nogil:
    push(engine)
    if engine.processor.stepping and verdict != LEAVE and step_is_done(engine):
        verdict = LEAVE if debug_exit(engine, STOP_STEPPED, 0) else verdict
    if verdict == LEAVE:
        engine.left = 1
        put_byte(engine.cpu, CPU_EXIT_REQUEST, 1)


cdef void on_syscall(void *opaque, int is_sysenter, int length) noexcept nogil:
    cdef Emulator *engine = <Emulator *>opaque
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
    leave_or_resume(engine, answer(engine, &exit))


cdef void on_cpuid(void *opaque) noexcept nogil:
    cdef Emulator *engine = <Emulator *>opaque
    cdef uint64_t *regs = engine.env.regs
    cdef uint32_t leaf[4]
    cpuid_of_processor(<uint32_t>regs[RAX], <uint32_t>regs[RCX], engine.processor.apic_id, leaf)
    regs[RAX] = leaf[0]
    regs[RBX] = leaf[1]
    regs[RCX] = leaf[2]
    regs[RDX] = leaf[3]


cdef void on_exception(uc_engine *uc, uint32_t vector, void *opaque) noexcept nogil:
    cdef Emulator *engine = <Emulator *>opaque
    cdef CPUX86State *env = engine.env
    cdef Exit exit
    cdef uint32_t deferred = engine.deferred
    cdef uint32_t hits = engine.interposed.watch_hits
    cdef uint64_t hidden = engine.hidden
    env.old_exception = -1
    engine.deferred = 0
    forget_watchpoint(engine)
    if resumed(engine, vector) and not deferred:
        if engine.processor.stepping:
            step_moved_flags(engine, hidden)
        deferred = hits & ~WATCHED_BY_DEBUGGER
        if not deferred:
            if engine.processor.stepping:
                leave_or_resume(engine, LEAVE if step_trapped(engine, hits) else RESUME)
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
    leave_or_resume(engine, answer(engine, &exit))


cdef uint32_t noncanonical_vector(Emulator *engine) noexcept nogil:
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
    cdef Emulator *engine = <Emulator *>opaque
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
    leave_or_resume(engine, answer(engine, &exit))
    return True


cdef inline bint is_int1(Emulator *engine) noexcept nogil:
    cdef uint8_t *code = interposed_walk(&engine.interposed, engine.env, engine.env.segs[SREG_CS].base + engine.env.eip)
    return code != NULL and code[0] == 0xf1


cdef bint op_run(Processor *processor) noexcept nogil:
    # cpu_exec clears a stop request only when it obeys it, so a kick that lands before it is not lost.
    cdef Emulator *engine = <Emulator *>processor
    engine.left = 0
    processor_begin(processor)
    # A stop may have come between a watchpoint's first look and the instruction's own block: look again.
    forget_watchpoint(engine)
    put_int(engine.cpu, CPU_CFLAGS_NEXT_TB, -1)
    interposed_enter(&engine.interposed)
    push(engine)
    if processor.stepping and step_is_done(engine):
        pull(engine)
        engine.left = debug_exit(engine, STOP_STEPPED, 0)
    while not engine.left and not goes_elsewhere(engine):
        put_int(engine.cpu, CPU_EXCEPTION_INDEX, -1)
        put_int(engine.cpu, CPU_HALTED, 0)
        engine.env.eflags |= computed_flags(engine.env)     # cpu_exec begins and ends with all flags there
        if cpu_exec_x86_64(engine.uc, engine.cpu) == EXCP_DEBUG:
            pull(engine)
            engine.left = debug_exit(engine, STOP_BREAKPOINT, engine.env.eip)
            break
        if not engine.interposed.watch_hits:
            if engine.left or is_kicked(processor) or not (processor.shared or engine.interposed.returns):
                break
            engine.interposed.returns = False
            forget_watchpoint(engine)   # the look that was asked for may have come between, as above
            continue
        if engine.env.hflags & HF_INHIBIT_IRQ:      # what loads SS is one with the next instruction
            engine.deferred = engine.interposed.watch_hits & ~WATCHED_BY_DEBUGGER
            forget_watchpoint(engine)
            step(engine)
            continue
        on_watchpoint(engine)
        if engine.left:
            break
    pull(engine)
    processor_end(processor)
    return engine.left


cdef void on_watchpoint(Emulator *engine) noexcept nogil:
    cdef Exit exit
    cdef uint32_t hits = engine.interposed.watch_hits
    if hits & WATCHED_BY_DEBUGGER:
        pull(engine)
        engine.left = debug_exit(engine, STOP_WATCHPOINT, engine.interposed.stops.touched)
    if not hits & ~WATCHED_BY_DEBUGGER:
        forget_watchpoint(engine)
        return
    engine.env.dr[6] |= hits & ~WATCHED_BY_DEBUGGER
    exit.kind = EXIT_EXCEPTION
    exit.vector = TRAP_DB
    exit.error = 0
    exit.address = engine.env.dr[6]
    forget_watchpoint(engine)
    pull(engine)
    if answer(engine, &exit) == LEAVE:
        engine.left = 1
    push(engine)


cdef inline void forget_watchpoint(Emulator *engine) noexcept nogil:
    engine.interposed.watch_hits = 0
    engine.interposed.watch_armed = False


# --- ProcessorOps ---


cdef void op_pte_changed(Processor *processor, uint64_t table, unsigned index, uint64_t old,
                         uint64_t new) noexcept nogil:
    # The processor walks the tables themselves.
    links_pte_changed(&(<Emulator *>processor).interposed, (<Emulator *>processor).env, table, index, old, new)


cdef void op_table_changed(Processor *processor, uint64_t mfn, int level) noexcept nogil:
    pass    # mm/ asks for the flush that goes with it


cdef void op_root_dropped(Processor *processor, uint64_t root) noexcept nogil:
    pass


cdef void op_flush_page(Processor *processor, uint64_t va) noexcept nogil:
    processor.nr_flush_page += 1
    links_flush(&(<Emulator *>processor).interposed)
    tlb_flush_page_x86_64((<Emulator *>processor).cpu, va & ~<uint64_t>0xfff)


cdef void op_flush_frame(Processor *processor, uint64_t mfn) noexcept nogil:
    cdef void *cpu = (<Emulator *>processor).cpu
    cdef int mode
    for mode in range(NB_MMU_MODES):
        forget_frame(TLB_TABLE(cpu, mode).entries, TLB_ENTRIES(TLB_TABLE(cpu, mode)), mfn << 12)
        forget_frame(TLB_DESCRIPTOR(cpu, mode).victims, VICTIM_ENTRIES, mfn << 12)


cdef inline void forget_frame(TlbEntry *entries, uint64_t count, uint64_t maddr) noexcept nogil:
    cdef uint64_t i
    for i in range(count):
        if entries[i].paddr == maddr:
            entries[i].addr_read = entries[i].addr_write = entries[i].addr_code = <uint64_t>-1


# --- any thread


cdef void op_share(Processor *processor) noexcept nogil:
    share(<Emulator *>processor)


cdef void op_look(Processor *processor) noexcept nogil:
    STOP_TRANSLATED((<Emulator *>processor).cpu)


cdef void op_kick(Processor *processor) noexcept nogil:
    flag_store(&processor.kicked, 1)
    STOP_TRANSLATED((<Emulator *>processor).cpu)


cdef ProcessorOps OPS
OPS.run = op_run
OPS.share = op_share
OPS.watch_code = op_watch_code
OPS.look = op_look
OPS.pte_changed = op_pte_changed
OPS.table_typed = op_table_changed
OPS.table_untyped = op_table_changed
OPS.root_dropped = op_root_dropped
OPS.flush_page = op_flush_page
OPS.flush_all = op_flush_all
OPS.flush_frame = op_flush_frame
OPS.code_dirty = op_code_dirty
OPS.pull = op_pull
OPS.push = op_push
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
OPS.set_stops = op_set_stops
OPS.set_tsc_offset = op_set_tsc_offset
OPS.kick = op_kick


# --- making one ---

CAPABILITIES: Capabilities = Capabilities(
    every_instruction=True, hides_instructions=True, segments=True, debug_registers=True, x87_bits=80,
    exact_preemption=True, siblings=True, guest_tables=True, shows_translations=True,
)


@cython.no_gc_clear
cdef class EmulatedEngine(Engine):
    """An engine for one vcpu over `memory`.  Raises HypervisorBug when Unicorn is not laid out as expected."""

    def __cinit__(self, MachineMemory memory not None):
        cdef size_t handle
        cdef Emulator *engine = <Emulator *>calloc(1, sizeof(Emulator))
        cdef const char *fault
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
        fault = layout_fault(engine.uc)
        if fault != NULL:
            raise HypervisorBug(f"this Unicorn is not the 2.1.4 that Xenia knows: {fault.decode()}")
        put_pointer(engine.cpu, CPU_OPAQUE, engine.interposed.jumps)
        relative_begin(&engine.interposed, engine.uc)
        uc_hook_add(engine.uc, &handle, UC_HOOK_INTR, <void *>on_exception, engine, 1, 0)
        uc_hook_add(engine.uc, &handle, UC_HOOK_INSN_INVALID, <void *>on_invalid, engine, 1, 0)
        put_byte(engine.uc, UC_NO_EXIT_REQUEST, 1)
        put_int(engine.uc, UC_NESTED_LEVEL, 1)
        engine.interposed.code_frames = <uint8_t *>calloc(memory.machine.nr_frames // 8 + 1, 1)
        engine.watched = <uint8_t *>calloc(memory.machine.nr_frames // 8 + 1, 1)
        if engine.interposed.code_frames == NULL or engine.watched == NULL:
            raise MemoryError
        engine.processor.code_frames = engine.interposed.code_frames
        engine.interposed.on_syscall = on_syscall
        engine.interposed.on_cpuid = on_cpuid
        engine.interposed.engine = engine
        engine.beside.visit = jumps_visit
        engine.processor.ops = &OPS
        reset(engine)

    def __dealloc__(self):
        cdef Emulator *engine = <Emulator *>self.processor
        if engine != NULL:
            interposed_enter(&engine.interposed)
            if engine.uc != NULL:
                put_int(engine.uc, UC_NESTED_LEVEL, 0)
                uc_close(engine.uc)
            interposed_enter(NULL)
            free(engine.interposed.code_frames)
            free(engine.watched)
            free(engine.interposed.jumps)
            free(engine.interposed.links)
            free(engine)

    def stale_translations(self) -> list[tuple[int, int, str, bool]]:
        """Compares each entry of the TLB with a walk of the current page tables; the first 64 that differ."""
        cdef Emulator *engine = <Emulator *>self.processor
        cdef StaleTranslation found[64]
        cdef unsigned i, count
        with nogil:
            processor_enter(self.processor)         # which drops what it was asked to drop
            processor_leave(self.processor)
            count = translations_stale(&engine.interposed, engine.cpu, found, 64)
        return [(found[i].va, found[i].maddr, found[i].difference.decode(), found[i].writable) for i in range(count)]

    @property
    def statistics(self) -> dict[str, int]:
        """And `blocks` that were translated, and `links` between those of two pages; they may be gone by now."""
        return {
            **Engine.statistics.__get__(self),
            "blocks": (<Emulator *>self.processor).interposed.blocks,
            "tlb_fills": (<Emulator *>self.processor).interposed.tlb_fills,
            "links": links_made((<Emulator *>self.processor).interposed.links),
        }


def new(MachineMemory memory not None) -> Engine:
    """See registry.EngineModule; these three."""
    return EmulatedEngine(memory)


def reserve(int nr) -> int:
    """Memory for translated code."""
    return code_buffers_reserve(TCG_BUFFER, nr)


def self_test() -> str:
    """Make an engine, which checks that Unicorn is laid out as expected."""
    cdef unsigned version = uc_version(NULL, NULL)
    EmulatedEngine(MachineMemory(1 << 20))
    return f"by Unicorn {version >> 24}.{version >> 16 & 0xff}.{version >> 8 & 0xff}"
