"""Bare machine code on an engine: no domain, no hypervisor, identity page tables.  For the engines' conformance suite.

The address space, 16 MB of machine memory at its own addresses: everything present and writable, but

    READ_ONLY        one page that is read-only
    SUPERVISOR       one page without the user bit
    NO_EXECUTE       one page that may not be executed
    GDT              its 64 KB of descriptors, with the ABI's flat ones
    CODE, STACK      where the program is and the top of its stack

and all of it once more in the upper half, from UPPER on, by the same page tables.

`syscall` is the program's way out: eax says what it wants, see `Program.run`.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from xenia.cpu.context cimport CONTEXT_FLAGS, CONTEXT_SEGMENTS, RAX, RDI, RSI, RSP, STATE_ALL, Context
from xenia.cpu.engine cimport Engine, engine_new
from xenia.cpu.processor cimport (
    ASK_FLUSH_ALL, ASK_FLUSH_FRAME, ASK_FLUSH_PAGE, ASK_FORGET_CODE, EXIT_EXCEPTION, EXIT_SOFT_INTERRUPT, EXIT_SYSCALL,
    EXIT_SYSENTER, LEAVE, RESUME, TRAP_PF, Exit, Processor, full_barrier, processor_bind, processor_enter,
    processor_is_inside, processor_leave, processor_share, processors_ask,
)
from xenia.machine.atomic cimport flag_read
from xenia.machine.machine cimport FRAME_L1, MachineMemory
from xenia.machine.paging cimport PAGE_DIRTY, PAGE_RW
from xenia.mm.walk cimport entry_exchange, entry_read, entry_swap

cdef extern from "<sched.h>":
    int sched_yield() noexcept nogil

from xenia.cpu.registry import DEFAULT

CODE = 0x40000
STACK = 0x50000
NEXT = 0x8000
READ_ONLY = 0x60000
SUPERVISOR = 0x61000
NO_EXECUTE = 0x62000
DATA = 0x80000
GDT = 0x90000
SIZE = 16 << 20
UPPER = 0xffffff8000000000
cdef uint64_t upper_half = UPPER
FLAT = {0xe023: 0x00cffb000000ffff, 0xe02b: 0x00cff3000000ffff, 0xe033: 0x00affb000000ffff}
ROOT, TABLE = 0x70, 0x73        # frames of the L4 and the L1

# What runs a program that does not say, and what it is moved to.
ENGINE: str = DEFAULT
DESTINATION: str = DEFAULT
# What every program's CR4 begins with.
CR4: int = 0

cdef enum:
    MEMORY = 16 << 20
    CALL_EXIT = 0           # end
    CALL_USER = 1           # go on in user mode
    CALL_KERNEL = 2         # go on in kernel mode
    CALL_MAP = 3            # entry rdi of the page table := rsi, page flushed
    CALL_MAP_UNFLUSHED = 4
    CALL_WRITE = 5          # machine memory at rdi := low byte of rsi, as another writer would
    CALL_NOP = 6
    CALL_FLAGS = 7          # go on with rdi as flags
    CALL_ROOT = 8           # go on with the page tables of frame rdi
    CALL_USER_ROOT = 9      # the same, and they are user mode's own
    CALL_REGISTERS = 10     # all registers are pulled, and pushed again
    CALL_OUTSIDE = 1000     # outside until the byte at rdi is not 0
    L4 = 0x70               # frames of the page tables
    L3 = 0x71
    L2 = 0x72
    L1 = 0x73

cdef struct Run:
    Context context
    Processor *processor
    uint8_t *memory
    Exit last
    uint64_t exits
    bint retries            # an instruction that a page fault ended is tried again, for others change the page tables


cdef int on_exit(void *opaque, Exit *exit) noexcept nogil:
    cdef Run *run = <Run *>opaque
    cdef Context *context = &run.context
    cdef uint64_t *table = <uint64_t *>(run.memory + (L1 << 12))
    cdef uint64_t old
    run.exits += 1
    if run.retries and exit.kind == EXIT_EXCEPTION and exit.vector == TRAP_PF:
        return RESUME
    if exit.kind != EXIT_SYSCALL:
        run.last = exit[0]
        return LEAVE
    memset(&run.last, 0, sizeof(Exit))
    run.last.kind = EXIT_SYSCALL
    if context.gpr[RAX] == CALL_USER or context.gpr[RAX] == CALL_KERNEL:
        context.kernel = context.gpr[RAX] == CALL_KERNEL
        context.dirty |= CONTEXT_SEGMENTS
    elif context.gpr[RAX] == CALL_MAP or context.gpr[RAX] == CALL_MAP_UNFLUSHED:
        old = table[context.gpr[RDI]]
        table[context.gpr[RDI]] = context.gpr[RSI]
        run.processor.ops.pte_changed(run.processor, L1, <unsigned>context.gpr[RDI], old, context.gpr[RSI])
        if context.gpr[RAX] == CALL_MAP:
            run.processor.ops.flush_page(run.processor, context.gpr[RDI] << 12)
            run.processor.ops.flush_page(run.processor, upper_half + (context.gpr[RDI] << 12))
    elif context.gpr[RAX] == CALL_WRITE:
        run.memory[context.gpr[RDI]] = <uint8_t>context.gpr[RSI]
        run.processor.ops.code_dirty(run.processor, context.gpr[RDI], 1)
    elif context.gpr[RAX] == CALL_FLAGS:
        context.rflags = context.gpr[RDI]
        context.dirty |= CONTEXT_FLAGS
    elif context.gpr[RAX] == CALL_ROOT or context.gpr[RAX] == CALL_USER_ROOT:
        run.processor.ops.load_root(run.processor, context.gpr[RDI], context.gpr[RAX] == CALL_USER_ROOT)
    elif context.gpr[RAX] == CALL_REGISTERS:
        run.processor.ops.pull(run.processor, STATE_ALL)
        run.processor.ops.push(run.processor, STATE_ALL)
    elif context.gpr[RAX] == CALL_OUTSIDE:
        processor_leave(run.processor)
        while not flag_read(&run.memory[context.gpr[RDI] & (MEMORY - 1)]):
            sched_yield()
        processor_enter(run.processor)
    elif context.gpr[RAX] == CALL_EXIT:
        return LEAVE
    return RESUME


cdef class Siblings


cdef class Program:
    """Machine code, loaded at CODE of a fresh machine, on an engine of its own.

    upper     it starts at its address in the upper half, with its stack there too
    beside    the memory is that program's, and what is at CODE and STACK there is NEXT bytes further on here, times
              `place`
    engine    the name of what runs it; by default `ENGINE`
    """

    cdef Run state
    cdef MachineMemory memory
    cdef Engine engine
    cdef readonly str engine_name
    cdef Siblings together

    def __init__(self, code: bytes, user: bool = False, Program beside = None, bint upper = False,
                 engine: str | None = None, place: int = 1) -> None:
        cdef uint64_t *words
        cdef uint64_t page
        cdef const uint8_t *source = code
        cdef uint64_t start = CODE if beside is None else CODE + NEXT * <uint64_t>place
        self.memory = MachineMemory(SIZE) if beside is None else beside.memory
        self.engine_name = engine or ENGINE
        self.engine = engine_new(self.engine_name, self.memory)
        memset(&self.state, 0, sizeof(Run))
        self.state.memory = self.memory.machine.base
        self.state.processor = self.engine.processor
        words = <uint64_t *>self.state.memory
        words[512 * L4] = words[512 * L4 + 511] = L3 << 12 | 7
        words[512 * L3] = L2 << 12 | 7
        words[512 * L2] = L1 << 12 | 7
        for page in range(512):
            words[512 * L1 + page] = page << 12 | 7
        words[512 * L1 + (READ_ONLY >> 12)] &= ~<uint64_t>2
        words[512 * L1 + (SUPERVISOR >> 12)] &= ~<uint64_t>4
        words[512 * L1 + (NO_EXECUTE >> 12)] |= <uint64_t>1 << 63
        memcpy(self.state.memory + start, source, len(code))
        for selector, descriptor in FLAT.items():
            self.describe(selector, descriptor)
        self.engine.processor.ops.set_gdt(self.engine.processor, GDT, 0xffff)
        self.state.context.rip = start + (upper_half if upper else 0)
        self.state.context.gpr[RSP] = start - CODE + STACK + (upper_half if upper else 0)
        self.state.context.rflags = 0x202
        self.state.context.cs = 0xe033
        self.state.context.ss = 0xe02b
        self.state.context.kernel = not user
        self.state.context.dirty = CONTEXT_FLAGS | CONTEXT_SEGMENTS
        processor_bind(self.engine.processor, &self.state.context, &self.state, on_exit)
        self.engine.processor.ops.load_root(self.engine.processor, L4, False)
        if CR4:
            self.set_cr4(CR4)

    def run(self) -> bool:
        """Run until the program leaves (True) or is kicked (False).

        The program leaves with any exception, and with syscall eax=0; other calls go on: 1 to user mode, 2 to kernel
        mode, 3 entry edi of the page table becomes rsi, 4 the same without a flush, 5 byte esi is written to address
        rdi from outside, 6 nothing, 7 with edi as flags, 8 with the page tables of frame edi, 9 the same as user mode's
        own, 10 after all registers were pulled and pushed again, 1000 when the byte at rdi is not 0.
        """
        cdef bint left
        with nogil:
            left = self.engine.processor.ops.run(self.engine.processor)
        return left

    def kick(self) -> None:
        """Stop the program at the next translated block; from any thread."""
        with nogil:
            self.engine.processor.ops.kick(self.engine.processor)

    def end(self) -> None:
        """It never runs again: what a domain's end asks of its engine."""
        cdef Processor *processor = self.engine.processor
        if processor.ops.end != NULL:
            with nogil:
                processor.ops.end(processor)

    def move(self, engine: str | None = None) -> None:
        """Go on on another engine, just made, that one or `DESTINATION`: it gets the old one's registers alone."""
        cdef Engine old = self.engine
        cdef Engine new = engine_new(engine or DESTINATION, self.memory)
        old.processor.ops.pull(old.processor, STATE_ALL)
        processor_bind(new.processor, &self.state.context, &self.state, on_exit)
        new.processor.ops.push(new.processor, STATE_ALL)
        self.engine = new
        self.engine_name = engine or DESTINATION
        self.state.processor = new.processor

    def read(self, address: int, length: int) -> bytes:
        """Machine memory."""
        return self.state.memory[<uint64_t>address:<uint64_t>(address + length)]

    def write(self, address: int, data: bytes) -> None:
        """Machine memory, before the program runs."""
        cdef const uint8_t *source = data
        memcpy(self.state.memory + <uint64_t>address, source, len(data))

    def forget(self, address: int, length: int) -> None:
        """What was known of the code in these bytes, which were written from outside; of length 0, of all."""
        cdef uint64_t maddr = address, size = length
        with nogil:
            self.engine.processor.ops.code_dirty(self.engine.processor, maddr, size)

    def lend(self, address: int) -> None:
        """Somebody else may write to the frame there, as mm/ tells it; from any thread."""
        cdef uint64_t mfn = <uint64_t>address >> 12
        self.memory.machine.frames[mfn].lent += 1
        with nogil:
            full_barrier()
            if self.engine.processor.ops.frame_lent != NULL:
                self.engine.processor.ops.frame_lent(self.engine.processor, mfn)

    def take_back(self, address: int) -> None:
        """It may no longer."""
        self.memory.machine.frames[<uint64_t>address >> 12].lent -= 1

    def type_table(self, address: int) -> None:
        """The frame there becomes a page table."""
        cdef uint64_t mfn = <uint64_t>address >> 12
        self.memory.machine.frames[mfn].type = FRAME_L1
        with nogil:
            self.engine.processor.ops.table_typed(self.engine.processor, mfn, FRAME_L1)

    def describe(self, selector: int, descriptor: int) -> None:
        """That GDT entry."""
        self.write(GDT + (selector & 0xfff8), descriptor.to_bytes(8, "little"))

    def set_cr4(self, value: int) -> None:
        """As the guest wants it."""
        self.engine.processor.ops.set_cr4(self.engine.processor, value)

    def set_debugreg(self, n: int, value: int) -> None:
        """dr0 to dr3, dr6 or dr7."""
        self.engine.processor.ops.set_debugreg(self.engine.processor, n, value)

    def set_ts(self, on: bool) -> None:
        """CR0.TS."""
        self.engine.processor.ops.set_ts(self.engine.processor, on)

    def set_ldt(self, address: int, limit: int) -> None:
        """Where the local descriptor table is."""
        self.engine.processor.ops.set_ldt(self.engine.processor, address, limit)

    def set_tsc_offset(self, ticks: int) -> None:
        """How far the program's time-stamp counter is ahead of the host's."""
        self.engine.processor.ops.set_tsc_offset(self.engine.processor, ticks)

    def stale_translations(self) -> list[tuple[int, int, str, bool]]:
        """See Engine.stale_translations."""
        return self.engine.stale_translations()

    @property
    def statistics(self) -> dict[str, int]:
        """See Engine.statistics."""
        return self.engine.statistics

    @property
    def gpr(self) -> list[int]:
        """rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15."""
        return [self.state.context.gpr[i] for i in range(16)]

    @property
    def rip(self) -> int:
        """Where it stands."""
        return self.state.context.rip

    @property
    def rflags(self) -> int:
        """Its flags."""
        return self.state.context.rflags

    def go_to(self, rip: int, gpr: dict[int, int], user: bool = True) -> None:
        """It goes on there, in that mode, with these general registers, by number, and the others as they are."""
        for n, value in gpr.items():
            self.state.context.gpr[<int>n] = value
        self.state.context.rip = rip
        self.state.context.kernel = not user
        self.state.context.rflags = 0x202
        self.state.context.dirty |= CONTEXT_FLAGS | CONTEXT_SEGMENTS

    def set_rflags(self, value: int) -> None:
        """As the core would change them at an exit."""
        self.state.context.rflags = value
        self.state.context.dirty |= CONTEXT_FLAGS

    @property
    def registers(self) -> dict[str, object]:
        """All of them, as the engine gives them: see Context."""
        self.engine.processor.ops.pull(self.engine.processor, STATE_ALL)
        return dict(self.state.context)

    @property
    def kernel(self) -> bool:
        """Its mode."""
        return self.state.context.kernel

    @property
    def exits(self) -> int:
        """How often it left guest code."""
        return self.state.exits

    @property
    def last(self) -> tuple[str, int, int, int]:
        """The last exit: what it was, vector, error code, address."""
        kind = {EXIT_SYSCALL: "syscall", EXIT_SYSENTER: "sysenter", EXIT_SOFT_INTERRUPT: "interrupt",
                EXIT_EXCEPTION: "exception"}[self.state.last.kind]
        return kind, self.state.last.vector, self.state.last.error, self.state.last.address


cdef enum:
    MOST_SIBLINGS = 16


cdef void tell(Processor **processors, uint32_t count, unsigned page, uint64_t old, uint64_t new) noexcept nogil:
    # As mm/ does, who alone changes entries.
    cdef uint32_t i
    for i in range(count):
        processors[i].ops.pte_changed(processors[i], L1, page, old, new)


cdef void let_write(Processor **processors, uint32_t count, unsigned page, uint64_t *entry,
                    bint writable) noexcept nogil:
    cdef uint64_t old = entry_read(entry), new = 0
    while True:
        new = old | PAGE_RW if writable else old & ~<uint64_t>PAGE_RW
        if entry_swap(entry, &old, new):
            break
    tell(processors, count, page, old, new)


cdef class Siblings:
    """Programs in the same memory, made with `beside`, as the processors of one domain; before any of them runs.

    retries    page faults are tried again
    """

    cdef list programs
    cdef Processor *processors[MOST_SIBLINGS]
    cdef uint32_t count
    cdef uint8_t *memory

    def __init__(self, programs: list[Program], retries: bool = False) -> None:
        cdef Program program
        self.programs = list(programs)
        for program in programs:
            self.processors[self.count] = program.engine.processor
            self.memory = program.state.memory
            self.count += 1
        for program in programs:
            program.state.retries = retries
            program.together = self     # which it points into
            processor_share(program.engine.processor, self.processors, &self.count)

    def flush(self, page: int) -> None:
        """All of them drop their translations of that page, and have when this returns."""
        cdef uint64_t va = <uint64_t>page << 12
        with nogil:
            processors_ask(self.processors, self.count, ~<uint64_t>0, ASK_FLUSH_PAGE, va, 0)
            processors_ask(self.processors, self.count, ~<uint64_t>0, ASK_FLUSH_PAGE, upper_half + va, 0)

    def inside(self, number: int) -> bool:
        """Is that one?  See cpu/processor."""
        return processor_is_inside(self.processors[<int>number])

    def flush_all(self) -> None:
        """All translations."""
        with nogil:
            processors_ask(self.processors, self.count, ~<uint64_t>0, ASK_FLUSH_ALL, 0, 0)

    def forget_code(self, address: int, length: int) -> None:
        """Code that was written there from outside."""
        cdef uint64_t maddr = address, size = length
        with nogil:
            processors_ask(self.processors, self.count, ~<uint64_t>0, ASK_FORGET_CODE, maddr, size)

    def protect(self, page: int, times: int, by_frame: bool = False) -> int:
        """Take away the right to write to that page, flush, look whether its first word still changes, and give the
        right back; so many times, while they run.  How often it changed."""
        cdef uint64_t *entry = &(<uint64_t *>(self.memory + (L1 << 12)))[page]
        cdef volatile uint64_t *word = <volatile uint64_t *>(self.memory + (<uint64_t>page << 12))
        cdef uint64_t mfn = page, seen, wrong = 0, count = times, before
        cdef unsigned page_index = page
        cdef bint frame = by_frame
        with nogil:
            for _ in range(count):
                before = word[0]
                while word[0] == before:    # it is written to
                    pass
                let_write(self.processors, self.count, page_index, entry, False)
                if frame:
                    processors_ask(self.processors, self.count, ~<uint64_t>0, ASK_FLUSH_FRAME, mfn, 0)
                else:
                    processors_ask(self.processors, self.count, ~<uint64_t>0, ASK_FLUSH_PAGE, mfn << 12, 0)
                seen = word[0]
                for _ in range(100):
                    wrong += word[0] != seen
                let_write(self.processors, self.count, page_index, entry, True)
        return wrong

    def clean(self, page: int, times: int) -> int:
        """Take the accessed and dirty bits from that page's entry and flush, so many times, while they run.  How often
        its first word changed from one flush to the next, and no dirty bit tells of it."""
        cdef uint64_t *entry = &(<uint64_t *>(self.memory + (L1 << 12)))[page]
        cdef volatile uint64_t *word = <volatile uint64_t *>(self.memory + (<uint64_t>page << 12))
        cdef unsigned page_index = page
        cdef uint64_t old, now, last = word[0], wrong = 0, count = times, va = <uint64_t>page << 12
        with nogil:
            for _ in range(count):
                old = entry_exchange(entry, va | 7)
                tell(self.processors, self.count, page_index, old, va | 7)
                processors_ask(self.processors, self.count, ~<uint64_t>0, ASK_FLUSH_PAGE, va, 0)
                now = word[0]
                wrong += now != last and not (old | entry_read(entry)) & PAGE_DIRTY
                last = now
        return wrong
