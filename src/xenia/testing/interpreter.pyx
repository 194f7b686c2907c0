"""A second engine, for tests alone: it interprets a few dozen instructions, one after the other, and caches nothing.

It stands for every engine but the one that guests run on.  What a conformance case needs beyond it is a capability
that it does not have; what it has, it does through the same boundary: its registers are a Context, it walks the guest's
own page tables, answers every operation, makes the same exits and obeys a kick before any instruction.

    instructions            interpreter_step.pyx
    memory and page walk    here
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from xenia.cpu.context cimport (
    CONTEXT_SEGMENTS, EFLAGS_TF, RSP, SREG_CS, SREG_SS, STATE_CONTROL, STATE_GENERAL, Context, SegmentDescriptor,
    context_copy_parts,
)
from xenia.cpu.engine cimport Engine
from xenia.cpu.processor cimport (
    EXIT_EXCEPTION, LEAVE, PFEC_FETCH, PFEC_PRESENT, PFEC_RESERVED, PFEC_USER, PFEC_WRITE, TRAP_DB, TRAP_GP, TRAP_PF,
    TRAP_SS, Exit, Processor, ProcessorOps,
)
from xenia.machine.machine cimport MachineMemory
from xenia.testing.interpreter_step cimport step

from xenia.cpu.capabilities import Capabilities
from xenia.cpu.registry import EngineKind, register

cdef extern from "<x86intrin.h>" nogil:
    uint64_t __rdtsc()

cdef enum:
    PTE_P = 1
    PTE_W = 2
    PTE_U = 4
    PTE_A = 0x20
    PTE_D = 0x40
    PTE_PS = 0x80
    DR6_BS = 1 << 14
    FLAT_CODE64 = 0x00affb00
    FLAT_DATA = 0x00cff300

cdef uint64_t PTE_FRAME = 0x000ffffffffff000
cdef uint64_t PTE_NX = <uint64_t>1 << 63
cdef uint64_t UPPER_HALF = 0xffff800000000000
cdef uint64_t HYPERVISOR_VIRT_END = 0xffff880000000000


# --- memory ---


cdef bint leave(Interpreter *engine, int kind, int vector, uint32_t error, uint64_t address) noexcept nogil:
    engine.exit = Exit(kind, vector, error, address)
    return False


cdef bint not_canonical(Interpreter *engine, uint64_t va) noexcept nogil:
    # Of the stack where it is near its pointer: what is pushed and popped, and what is addressed by it.
    cdef bint of_stack = va - engine.processor.context.gpr[RSP] + 64 < 128
    return leave(engine, EXIT_EXCEPTION, TRAP_SS if of_stack else TRAP_GP, 0, 0)


cdef uint8_t *walk(Interpreter *engine, uint64_t va, uint32_t access) noexcept nogil:
    # Where `va` is; NULL with a fault.  `access`: PFEC_WRITE and PFEC_FETCH.
    cdef uint64_t table = engine.inside.root << 12, rights = PTE_W | PTE_U, nx = 0, maddr = 0
    cdef uint64_t *entry = NULL
    cdef uint32_t error = access | (0 if engine.processor.context.kernel else PFEC_USER)
    cdef int level, shift
    if <int64_t>va >> 47 != 0 and <int64_t>va >> 47 != -1:
        not_canonical(engine, va)
        return NULL
    for level in range(3, -1, -1):
        shift = 12 + 9 * level
        maddr = (table & PTE_FRAME) + 8 * (va >> shift & 511)
        entry = <uint64_t *>(engine.memory + maddr)
        if maddr >= engine.bytes or not entry[0] & PTE_P:
            leave(engine, EXIT_EXCEPTION, TRAP_PF, error, va)
            return NULL
        rights &= entry[0]
        nx |= entry[0] & PTE_NX
        table = entry[0]
        if level == 0 or (level == 1 and table & PTE_PS):
            break
        entry[0] |= PTE_A
    maddr = (table & PTE_FRAME & ~<uint64_t>((1 << shift) - 1)) + (va & ((1 << shift) - 1))
    if maddr >= engine.bytes:
        error |= PFEC_PRESENT | PFEC_RESERVED
    elif ((access & PFEC_WRITE and not rights & PTE_W) or (access & PFEC_FETCH and nx)
            or (error & PFEC_USER and not user_reaches(engine, va, rights))):
        error |= PFEC_PRESENT
    else:
        entry[0] |= PTE_A | (PTE_D if access & PFEC_WRITE else 0)
        return engine.memory + maddr
    leave(engine, EXIT_EXCEPTION, TRAP_PF, error, va)
    return NULL


cdef bint user_reaches(Interpreter *engine, uint64_t va, uint64_t rights) noexcept nogil:
    # See load_root in processor.pxd; the hypervisor's own slots are marked.
    if va < UPPER_HALF:
        return True
    return rights & PTE_U if va < HYPERVISOR_VIRT_END else engine.inside.root_is_user


cdef bint fetch(Interpreter *engine, uint8_t *code, unsigned *length) noexcept nogil:
    # Up to the end of the page first: what is on the next one may not be needed.
    cdef uint64_t rip = engine.processor.context.rip + length[0]
    cdef unsigned size = min(15 - length[0], 4096 - <unsigned>(rip & 0xfff))
    cdef uint8_t *source = walk(engine, rip, PFEC_FETCH)
    if source == NULL:
        return False
    memcpy(code + length[0], source, size)
    length[0] += size
    return True


cdef bint read(Interpreter *engine, uint64_t va, void *to, unsigned size, bint write) noexcept nogil:
    cdef unsigned first = min(size, 4096 - <unsigned>(va & 0xfff))
    cdef uint32_t access = PFEC_WRITE if write else 0
    cdef uint8_t *low = walk(engine, va, access)
    cdef uint8_t *high = low
    if low != NULL and first < size:
        high = walk(engine, va + first, access)
    if low == NULL or high == NULL:
        return False
    memcpy(to, low, first)
    memcpy(<uint8_t *>to + first, high, size - first)
    return True


cdef bint write(Interpreter *engine, uint64_t va, const void *source, unsigned size) noexcept nogil:
    cdef unsigned first = min(size, 4096 - <unsigned>(va & 0xfff))
    cdef uint8_t *low = walk(engine, va, PFEC_WRITE)
    cdef uint8_t *high = low
    if low != NULL and first < size:
        high = walk(engine, va + first, PFEC_WRITE)
    if low == NULL or high == NULL:
        return False
    memcpy(low, source, first)
    memcpy(high, <const uint8_t *>source + first, size - first)
    return True


# --- running ---


cdef void take_segments(Interpreter *engine) noexcept nogil:
    # Of code and stack segments it knows the ABI's flat ones.
    cdef Context *context = engine.processor.context
    if context.dirty & CONTEXT_SEGMENTS:
        engine.inside.selectors[SREG_CS] = context.cs
        engine.inside.selectors[SREG_SS] = context.ss
        engine.inside.segments[SREG_CS] = SegmentDescriptor(0, 0xffffffff, FLAT_CODE64)
        engine.inside.segments[SREG_SS] = SegmentDescriptor(0, 0xffffffff, FLAT_DATA)
    context.dirty = 0


cdef bint op_run(Processor *processor) noexcept nogil:
    cdef Interpreter *engine = <Interpreter *>processor
    cdef bint stepping, done
    while True:
        if engine.kicked:
            engine.kicked = 0
            return False
        take_segments(engine)
        stepping = processor.context.rflags & EFLAGS_TF != 0
        done = step(engine)
        processor.context.dirty = 0
        if done and not stepping:
            continue
        if done:
            engine.inside.dr[6] |= DR6_BS
            leave(engine, EXIT_EXCEPTION, TRAP_DB, 0, engine.inside.dr[6])
        if engine.exit.kind == EXIT_EXCEPTION and engine.exit.vector == TRAP_PF:
            engine.inside.cr2 = engine.exit.address
        if processor.on_exit(processor.vcpu, &engine.exit) == LEAVE:
            return True


# --- ProcessorOps: nothing is cached, so nothing is to be flushed ---


cdef void op_pte_changed(Processor *processor, uint64_t table, unsigned index, uint64_t old,
                         uint64_t new) noexcept nogil:
    pass


cdef void op_table_changed(Processor *processor, uint64_t mfn, int level) noexcept nogil:
    pass


cdef void op_frame(Processor *processor, uint64_t mfn) noexcept nogil:
    pass


cdef void op_code_dirty(Processor *processor, uint64_t maddr, uint64_t length) noexcept nogil:
    pass


cdef void op_flush_page(Processor *processor, uint64_t va) noexcept nogil:
    processor.nr_flush_page += 1


cdef void op_flush_all(Processor *processor) noexcept nogil:
    processor.nr_flush_all += 1
    processor.flush_clock += 1


cdef void op_pull(Processor *processor, int what) noexcept nogil:
    take_segments(<Interpreter *>processor)
    context_copy_parts(processor.context, &(<Interpreter *>processor).inside, what & ~STATE_GENERAL)
    if what & STATE_GENERAL:
        processor.context.after_ss = processor.context.held_back = 0


cdef void op_push(Processor *processor, int what) noexcept nogil:
    take_segments(<Interpreter *>processor)
    context_copy_parts(&(<Interpreter *>processor).inside, processor.context, what & ~STATE_GENERAL)
    if what & STATE_CONTROL:
        op_flush_all(processor)


cdef void op_load_root(Processor *processor, uint64_t mfn, bint is_user) noexcept nogil:
    (<Interpreter *>processor).inside.root = mfn
    (<Interpreter *>processor).inside.root_is_user = is_user
    op_flush_all(processor)


cdef void op_get_segment(Processor *processor, int sreg, uint16_t *selector, uint64_t *base) noexcept nogil:
    selector[0] = (<Interpreter *>processor).inside.selectors[sreg]
    base[0] = (<Interpreter *>processor).inside.segments[sreg].base


cdef void op_set_segment(Processor *processor, int sreg, uint16_t selector,
                         SegmentDescriptor *descriptor) noexcept nogil:
    (<Interpreter *>processor).inside.selectors[sreg] = selector
    (<Interpreter *>processor).inside.segments[sreg] = descriptor[0]


cdef void op_set_segment_base(Processor *processor, int sreg, uint64_t base) noexcept nogil:
    (<Interpreter *>processor).inside.segments[sreg].base = base


cdef void op_set_gdt(Processor *processor, uint64_t va, uint32_t limit) noexcept nogil:
    (<Interpreter *>processor).inside.gdt.base = va
    (<Interpreter *>processor).inside.gdt.limit = limit


cdef void op_set_ldt(Processor *processor, uint64_t va, uint32_t limit) noexcept nogil:
    (<Interpreter *>processor).inside.ldt.base = va
    (<Interpreter *>processor).inside.ldt.limit = limit


cdef void op_set_ts(Processor *processor, bint on) noexcept nogil:
    (<Interpreter *>processor).inside.ts = on


cdef void op_set_debugreg(Processor *processor, int n, uint64_t value) noexcept nogil:
    (<Interpreter *>processor).inside.dr[n] = value


cdef void op_set_cr4(Processor *processor, uint64_t value) noexcept nogil:
    (<Interpreter *>processor).inside.cr4 = value


cdef uint64_t op_read_tsc(Processor *processor) noexcept nogil:
    return __rdtsc() + <uint64_t>(<Interpreter *>processor).inside.tsc_offset


cdef void op_set_tsc_offset(Processor *processor, int64_t offset) noexcept nogil:
    (<Interpreter *>processor).inside.tsc_offset = offset


cdef void op_kick(Processor *processor) noexcept nogil:
    (<Interpreter *>processor).kicked = 1


cdef ProcessorOps OPS = ProcessorOps(
    run=op_run, pte_changed=op_pte_changed, table_typed=op_table_changed, table_untyped=op_table_changed,
    root_dropped=op_frame, flush_page=op_flush_page, flush_all=op_flush_all, flush_frame=op_frame,
    code_dirty=op_code_dirty, pull=op_pull, push=op_push, load_root=op_load_root, get_segment=op_get_segment,
    set_segment=op_set_segment, set_segment_base=op_set_segment_base, set_gdt=op_set_gdt, set_ldt=op_set_ldt,
    set_ts=op_set_ts, set_debugreg=op_set_debugreg, set_cr4=op_set_cr4, read_tsc=op_read_tsc,
    set_tsc_offset=op_set_tsc_offset, set_stops=NULL, kick=op_kick, share=NULL, watch_code=NULL, look=NULL,
)


# --- making one ---

CAPABILITIES: Capabilities = Capabilities(
    every_instruction=False, hides_instructions=True, segments=False, debug_registers=False, x87_bits=0,
    exact_preemption=True, siblings=False, guest_tables=True, shows_translations=False,
)


@cython.no_gc_clear
cdef class InterpreterEngine(Engine):
    """The engine of one vcpu."""

    def __cinit__(self, MachineMemory memory not None):
        cdef Interpreter *engine = <Interpreter *>calloc(1, sizeof(Interpreter))
        if engine == NULL:
            raise MemoryError
        engine.memory = memory.machine.base
        engine.bytes = memory.machine.nr_frames << 12
        engine.inside.dr[6] = 0xffff0ff0
        engine.inside.dr[7] = 0x400
        # An FPU that nobody has used: see the processor's manual on fninit, and on MXCSR.
        engine.inside.fpu[0] = 0x7f
        engine.inside.fpu[1] = 0x03
        engine.inside.fpu[24] = 0x80
        engine.inside.fpu[25] = 0x1f
        engine.processor.ops = &OPS
        self.processor = &engine.processor
        self.memory = memory

    def __dealloc__(self):
        free(self.processor)


def new(MachineMemory memory not None) -> Engine:
    """See registry.EngineModule; these three."""
    return InterpreterEngine(memory)


def reserve(int nr) -> int:
    """It maps nothing."""
    return nr


def self_test() -> str:
    """There is nothing that it could be made of."""
    return "for tests"


register(EngineKind("interpreter", "xenia.testing.interpreter", offered=False))
