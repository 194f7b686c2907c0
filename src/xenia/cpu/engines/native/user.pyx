"""User code, run in a stub until it leaves user mode, and what it left it for.

Theory of operation.  What is no business of the core's stays here: a page that the page tables have and the stub has
not, a kick that nobody meant for the guest.  A system call and a page fault are exits as they are.  Anything else is
left to the emulated processor, at the same instruction.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from xenia.abi.xen cimport FLAT_RING3_CS64, FLAT_RING3_SS
from xenia.cpu.context cimport (
    CONTEXT_FLAGS, CONTEXT_SEGMENTS, EFLAGS_AC, EFLAGS_GUEST, EFLAGS_IF, EFLAGS_NT, EFLAGS_RF, EFLAGS_TF, EFLAGS_VM,
    R11, RCX, SREG_FS, SREG_GS, STATE_FPU, Context,
)
from xenia.cpu.engines.emulated.emulator cimport Emulator
from xenia.cpu.engines.emulated.unicorn cimport STOP_REQUESTED
from xenia.cpu.engines.native.executable cimport LOOKED_NOT
from xenia.cpu.engines.native.mapping cimport ELSEWHERE, MAPPED, REFUSED, mapping_want
from xenia.cpu.engines.native.native cimport Native, Space
from xenia.cpu.engines.native.orders cimport orders_take_nothing
from xenia.cpu.engines.native.page_tables cimport mapping_is_tainted, mapping_peek
from xenia.cpu.engines.native.placement cimport crossing, follow
from xenia.cpu.engines.native.policy cimport STORED, bursts_count_native, bursts_measure
from xenia.cpu.engines.native.space cimport has_no_more, space_at, space_has_stub, space_retire
from xenia.cpu.engines.native.stub cimport (
    HOST_CS32, HOST_CS64, HOST_END, HOST_SS, LEFT_FORGED, LEFT_INTERRUPT, LEFT_KICKED, LEFT_NOT, LEFT_OLD_SYSCALL,
    LEFT_OTHER, LEFT_PAGE_FAULT, LEFT_STEPPED, LEFT_SYSCALL, STUB_BASE, STUB_END, STUB_SLOT, Left, Stub,
    stub_busy, stub_obeys, stub_run,
)
from xenia.cpu.processor cimport (
    EXIT_EXCEPTION, EXIT_SOFT_INTERRUPT, EXIT_SYSCALL, EXIT_SYSENTER, LEAVE, PFEC_FETCH, PFEC_WRITE, RESUME, TRAP_DB,
    TRAP_GP, TRAP_PF, Exit, Processor, full_barrier,
)
from xenia.machine.atomic cimport half_read
from xenia.machine.clock cimport monotonic
from xenia.machine.lock cimport lock, unlock

cdef enum:
    PFEC_PK = 0x20              # of a key of memory
    MOST_FAULTS = 64            # in a row at one address, each of which the page tables allow
    CR4_FSGSBASE = 0x10000
    CR0_TS = 8
    PTE_PRESENT = 1
    DESCRIPTOR_CODE = 0x9800    # P, S and the type's first bit
    DESCRIPTOR_CONFORMING = 0x400
    DESCRIPTOR_DPL = 0x6000
    DESCRIPTOR_L = 0x200000
    DESCRIPTOR_DB = 0x400000
    DESCRIPTOR_G = 0x800000
    DR6_BS = 0x4000
    LOST_ERROR = 0xfff8         # of the #GP for a process whose registers are gone
    UNTYPICAL_FLAGS = EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM | EFLAGS_AC


cdef inline bint is_flat(const Context *context) noexcept nogil:
    # 64-bit code on the ABI's segments, or on those of Linux, which its guests have at the same place as the host.
    return (context.cs == FLAT_RING3_CS64 and context.ss == FLAT_RING3_SS
            or context.cs == HOST_CS64 and context.ss == HOST_SS)


cdef bint fits(Native *native) noexcept nogil:
    # What the vcpu has now is the same natively.
    cdef Emulator *engine = native.engine
    cdef Context *context = engine.processor.context
    cdef uint64_t root = engine.env.cr[3] >> 12
    return (is_flat(context) and not engine.processor.stepping and not context.rflags & UNTYPICAL_FLAGS
            and context.rip < HOST_END and not STUB_BASE <= context.rip < STUB_END
            and not engine.interposed.stops.nr_breakpoints and not engine.interposed.stops.nr_watches
            and not engine.env.dr[7] & 0xff and not engine.env.cr[0] & CR0_TS
            and engine.env.cr[4] & CR4_FSGSBASE and engine.env.segs[SREG_FS].base < HOST_END
            and engine.env.segs[SREG_GS].base < HOST_END and root < native.mapping.nr_frames
            and not (<uint64_t *>(native.mapping.memory + (root << 12)))[STUB_SLOT] & PTE_PRESENT)


cdef int user_code(Native *native) noexcept nogil:
    cdef Emulator *engine = native.engine
    cdef Space *space
    cdef uint32_t refused
    cdef int verdict
    engine.interposed.visits = False
    while True:
        space = space_at(native, engine.env.cr[3] >> 12)
        refused = native.arena.nr_refused
        if not (native.eager or space.bursts.native) or STOP_REQUESTED(engine.cpu) or not fits(native):
            break
        while not space_has_stub(native, space):
            if not native.eager or has_no_more(native) or native.arena.nr_refused != refused:
                break
        if space.stub == NULL:
            break
        if mapping_is_tainted(&native.mapping, space.root, engine.processor.context.rip):
            engine.beside.visit(&engine.interposed, engine.processor.context.rip)
            break
        native.emulated_next = False
        verdict = stay(native, space)
        if verdict == LEAVE or engine.processor.context.kernel:
            return verdict
        if native.emulated_next:        # where it stands; and then natively again
            engine.beside.visit(&engine.interposed, engine.processor.context.rip)
            break
    native.since = monotonic()
    return RESUME


cdef int stay(Native *native, Space *space) noexcept nogil:
    # In its stub, until there is something for the core or for the emulated processor.
    cdef Emulator *engine = native.engine
    cdef Processor *processor = &engine.processor
    cdef Context *context = processor.context
    cdef uint32_t faults = 0, error
    cdef uint64_t faulted = 0
    cdef int outcome, foiled = 0
    cdef Left left
    native.time += 1
    space.used = native.time
    native.inner.pull(processor, STATE_FPU)
    left.cs = HOST_CS64
    left.fs = engine.env.segs[SREG_FS].base
    left.gs = engine.env.segs[SREG_GS].base
    if space.wanted:
        mapping_want(&native.mapping, space.stub, space.root, space.wanted, 0, &error)
        space.wanted = 0
        if space.stub == NULL:          # it ended, while others were waited for
            native.emulated_next = True
            return RESUME
    while True:
        enter(native, space.stub, &left)
        if left.why == LEFT_PAGE_FAULT and left.error & ~<uint32_t>(PFEC_WRITE | PFEC_FETCH | 1) == 4:
            faults = faults + 1 if faulted == left.address else 0
            faulted = left.address
            outcome = ELSEWHERE
            if left.error & PFEC_WRITE and stores_to_code(native, space, left.address):
                foiled = STORED
            elif faults < MOST_FAULTS:
                outcome = mapping_want(&native.mapping, space.stub, space.root, left.address, left.error, &error)
            if outcome == MAPPED:
                native.nr_mapped += 1
                continue
            if outcome == ELSEWHERE:
                left.why = LEFT_OTHER
        elif left.why == LEFT_PAGE_FAULT and left.error & PFEC_PK:  # a copy, which may only be executed
            if left.error & PFEC_WRITE and stores_to_code(native, space, left.address):
                foiled = STORED
            left.why = LEFT_OTHER
        elif left.why == LEFT_KICKED and not STOP_REQUESTED(engine.cpu):
            continue
        break
    if bursts_count_native(&space.bursts, foiled or left.why == LEFT_OTHER) and space.stub != NULL:
        bursts_measure(&space.bursts, stub_busy(space.stub), crossing(native, space.stub))
    engine.env.segs[SREG_FS].base = left.fs
    engine.env.segs[SREG_GS].base = left.gs
    context.dirty |= CONTEXT_FLAGS
    native.inner.push(processor, STATE_FPU)
    return tell(native, space, &left)


cdef bint stores_to_code(Native *native, Space *space, uint64_t va) noexcept nogil:
    # What was looked at is not writable natively: an instruction that stores to its own page would never be done, and a
    # page that is written to and executed by turns would be two faults each time that nobody counts.
    cdef const uint8_t *target
    if native.mapping.looked == NULL:
        return False
    target = mapping_peek(&native.mapping, space.root, va)
    return target != NULL and native.mapping.looked[<uint64_t>(target - native.mapping.memory) >> 12] != LOOKED_NOT


cdef void enter(Native *native, Stub *stub, Left *left) noexcept nogil:
    # Once, unless somebody wants it to stop.
    cdef Context *context = native.engine.processor.context
    left.why = LEFT_KICKED
    follow(native, stub)
    if not orders_take_nothing(stub) and not stub_obeys(stub):
        left.why = LEFT_NOT
        return
    stub.kicks = half_read(&stub.control.kicks)
    lock(&native.kicking)
    native.running = stub.index + 1
    native.entries += 1
    unlock(&native.kicking)
    full_barrier()
    if not STOP_REQUESTED(native.engine.cpu) and not native.arena.owing >> stub.index & 1:
        native.unsettled = stub
        native.engine.processor.unsettled = True
        stub_run(stub, context, left.fs, left.gs, left)
        context.rflags = context.rflags & EFLAGS_GUEST & ~<uint64_t>EFLAGS_RF | EFLAGS_IF | 2
    lock(&native.kicking)
    native.running = 0
    unlock(&native.kicking)


cdef int tell(Native *native, Space *space, Left *left) noexcept nogil:
    # The core, of what it was that it left user mode for.
    cdef Processor *processor = &native.engine.processor
    cdef Context *context = processor.context
    cdef Exit exit
    exit.kind = EXIT_EXCEPTION
    exit.vector = exit.error = 0
    exit.address = 0
    if left.why != LEFT_NOT and left.cs != HOST_CS64:
        undo_far_jump(native, space, left)
    if left.why == LEFT_SYSCALL:
        native.nr_syscalls += 1
        exit.kind = EXIT_SYSCALL
        context.gpr[RCX] = context.rip
        context.gpr[R11] = context.rflags
    elif left.why == LEFT_PAGE_FAULT and refused(native, space, left, &exit):
        native.nr_faults += 1
    elif left.why == LEFT_INTERRUPT:
        exit.kind = EXIT_SOFT_INTERRUPT
        exit.vector = left.vector
    elif left.why == LEFT_STEPPED:
        exit.vector = TRAP_DB
        native.engine.env.dr[6] |= DR6_BS if context.rflags & EFLAGS_TF else 0
        exit.address = native.engine.env.dr[6]
    elif left.why == LEFT_OLD_SYSCALL:
        if is_int_0x80(native, space):
            exit.kind = EXIT_SOFT_INTERRUPT
            exit.vector = 0x80
        else:
            exit.kind = EXIT_SYSENTER
    elif left.why == LEFT_NOT:
        native.nr_lost += 1
        space_retire(native, space)
        exit.vector = TRAP_GP
        exit.error = LOST_ERROR
    elif left.why == LEFT_FORGED:
        exit.vector = TRAP_GP
        exit.error = left.cs & 0xfffc if left.cs != HOST_CS64 else 0
    else:
        native.nr_others += left.why != LEFT_KICKED
        native.emulated_next = True
        return RESUME
    return processor.on_exit(processor.vcpu, &exit)


cdef void undo_far_jump(Native *native, Space *space, Left *left) noexcept nogil:
    # It was to the one other code segment that the host lets programs have.  The emulated processor goes on behind it,
    # at the instruction that left user mode, with what the guest's own table says of the selector.  Where that says
    # that user mode cannot load it, and where another one is told of, nothing is loaded.
    cdef Context *context = native.engine.processor.context
    cdef uint64_t rip = context.rip
    if left.why == LEFT_SYSCALL or left.why == LEFT_OLD_SYSCALL:
        rip -= 2
    elif left.why == LEFT_INTERRUPT:
        rip -= 1
    left.why = LEFT_FORGED
    if left.cs == HOST_CS32 and takes_code(native, space, left.cs, rip):
        context.cs = left.cs
        context.rip = rip
        context.dirty |= CONTEXT_SEGMENTS
        left.why = LEFT_OTHER


cdef bint takes_code(Native *native, Space *space, uint16_t selector, uint64_t rip) noexcept nogil:
    # As an iret to user mode does, by what the guest's global table says.
    cdef uint32_t at = selector & 0xfff8, low, high, limit
    cdef const uint8_t *descriptor = mapping_peek(&native.mapping, space.root, native.engine.env.gdt.base + at)
    if at + 7 > native.engine.env.gdt.limit or descriptor == NULL or <uint64_t>descriptor & 7:
        return False
    low = (<const uint32_t *>descriptor)[0]
    high = (<const uint32_t *>descriptor)[1]
    if high & DESCRIPTOR_CODE != DESCRIPTOR_CODE:
        return False
    if high & DESCRIPTOR_DPL != DESCRIPTOR_DPL and not high & DESCRIPTOR_CONFORMING:
        return False
    if high & DESCRIPTOR_L:
        return not high & DESCRIPTOR_DB and rip < HOST_END
    limit = low & 0xffff | high & 0xf0000
    return rip <= (limit << 12 | 0xfff if high & DESCRIPTOR_G else limit)


cdef bint is_int_0x80(Native *native, Space *space) noexcept nogil:
    cdef uint64_t at = native.engine.processor.context.rip - 2
    cdef const uint8_t *first = mapping_peek(&native.mapping, space.root, at)
    cdef const uint8_t *second = mapping_peek(&native.mapping, space.root, at + 1)
    return first != NULL and second != NULL and first[0] == 0xcd and second[0] == 0x80


cdef bint refused(Native *native, Space *space, Left *left, Exit *exit) noexcept nogil:
    # By the page tables, as they are now.
    cdef uint32_t error
    if mapping_want(&native.mapping, space.stub, space.root, left.address, left.error, &error) != REFUSED:
        return False
    exit.vector = TRAP_PF
    exit.error = error
    exit.address = left.address
    native.engine.env.cr[2] = left.address
    space.wanted = left.address
    return True
