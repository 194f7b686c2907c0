"""The `native` engine: user code on the host's own processor, in stubs; the guest's kernel in the emulated engine.

Theory of operation.  It is an emulated processor that has something beside it.  All registers are that processor's, and
all of the boundary is answered by it.  Whenever it is about to run user code, which is when an exit was answered so or
when it is entered, it asks here first; and here the code may run in a stub, until it leaves user mode.  A system call
and a page fault are exits as they are.  Whatever else guest code comes to, an exception, an instruction that tells of
the processor or of the time, a segment, is not looked into: the emulated processor goes on at that very instruction,
comes to the same, and knows what it means.  So what is native differs in nothing but speed.

Only what is the same on both runs natively: 64-bit code on the ABI's flat segments or Linux's, no single steps, no
breakpoints, an FPU that is not waited for, an address space that has nothing where stubs have themselves.

An address space moves to a stub when its bursts of user code are long enough (policy.pxd), and back.  It has one stub,
which nobody has after it.  With several processors each has its own stubs and its own mirror, as each has a TLB.

A kick, or a request of another processor, stops the guest code wherever it is: then the emulated processor has the
vcpu, and obeys.  A flush waits until the guest code is known not to run, and until what was taken away is mapped in no
stub any more (`settle`); so does the end of each run.  At the end of its domain all stubs end.
"""

import os

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from xenia.cpu.engine cimport Engine, engine_new
from xenia.cpu.engines.emulated.emulator cimport Emulator
from xenia.cpu.engines.native.arena cimport arena_await, arena_end, stub_ask
from xenia.cpu.engines.native.executable cimport executable_forget
from xenia.cpu.engines.native.mapping cimport (
    mapping_end, mapping_entry_changed, mapping_forget_frame, mapping_init, mapping_protect_frame, mapping_untyped,
)
from xenia.cpu.engines.native.native cimport Native, Space
from xenia.cpu.engines.native.page_tables cimport mapping_stale
from xenia.cpu.engines.native.placement cimport crossing, roam
from xenia.cpu.engines.native.policy cimport bursts_count
from xenia.cpu.engines.native.space cimport quiet, settle, space_at, space_slot
from xenia.cpu.engines.native.stub cimport STUB_ASKED, STUB_FRESH, STUB_SLOT, Stub, stub_kick, stub_ready
from xenia.cpu.engines.native.stubs cimport Stubs
from xenia.cpu.engines.native.user cimport user_code
from xenia.cpu.processor cimport RESUME, Exit, Processor, full_barrier, processor_is_mine
from xenia.machine.clock cimport monotonic
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport MachineMemory

from xenia.cpu.capabilities import Capabilities
from xenia.cpu.engines.native import host
from xenia.cpu.engines.native.stubs import Maker
from xenia.cpu.registry import engine_kind
from xenia.errors import ConfigError

cdef extern from "<sched.h>":
    int sched_yield() noexcept nogil

cdef enum:
    FIRST_NS = 5000000000       # for the first stub to be made


# --- what the emulated processor asks


cdef void count_burst(Native *native) noexcept nogil:
    # An emulated one, which ends here if there was one.
    cdef Emulator *engine = native.engine
    if native.since and not engine.processor.context.kernel:
        bursts_count(&space_at(native, engine.env.cr[3] >> 12).bursts, monotonic() - native.since,
                     crossing(native, NULL))
    native.since = 0


cdef int on_exit(Emulator *engine, Exit *exit) noexcept nogil:
    cdef Native *native = <Native *>engine.beside.owner
    cdef Processor *processor = &engine.processor
    cdef int verdict
    count_burst(native)
    verdict = processor.on_exit(processor.vcpu, exit)
    if native.root_dropped:     # its frames are the guest's to use, which flushes nothing for them
        native.root_dropped = False
        settle(native)
    if verdict == RESUME and not processor.context.kernel:
        verdict = user_code(native)
    return verdict


cdef int enters(Emulator *engine) noexcept nogil:
    return user_code(<Native *>engine.beside.owner)


cdef void on_translated(void *opaque, uint64_t mfn) noexcept nogil:
    mapping_protect_frame(&(<Native *>(<Emulator *>opaque).beside.owner).mapping, mfn)


cdef void on_forgotten(void *opaque, uint64_t mfn) noexcept nogil:
    # Before it is written to, or before user code runs again.
    cdef Native *native = <Native *>(<Emulator *>opaque).beside.owner
    if executable_forget(&native.mapping, mfn):
        let_go(native)


# --- ProcessorOps


cdef inline Native *native_of(Processor *processor) noexcept nogil:
    return <Native *>(<Emulator *>processor).beside.owner


cdef bint op_run(Processor *processor) noexcept nogil:
    cdef Native *native = native_of(processor)
    cdef bint left = native.inner.run(processor)
    count_burst(native)         # a timer's, say: who computes may not leave user mode otherwise
    settle(native)              # nothing of it computes outside of run()
    roam(native)
    return left


cdef void op_share(Processor *processor) noexcept nogil:
    cdef Native *native = native_of(processor)
    native.inner.share(processor)
    native.mapping.code_of_all = native.engine.interposed.watched


cdef void op_settle(Processor *processor) noexcept nogil:
    quiet(native_of(processor))


cdef void op_end(Processor *processor) noexcept nogil:
    arena_end(native_of(processor).arena)


cdef void stop(Native *native) noexcept nogil:
    full_barrier()
    lock(&native.kicking)
    if native.running:
        stub_kick(&native.arena.stubs[native.running - 1])
    unlock(&native.kicking)


cdef void op_kick(Processor *processor) noexcept nogil:
    native_of(processor).inner.kick(processor)
    stop(native_of(processor))


cdef void op_look(Processor *processor) noexcept nogil:
    native_of(processor).inner.look(processor)
    stop(native_of(processor))


cdef void op_pte_changed(Processor *processor, uint64_t table, unsigned index, uint64_t old,
                         uint64_t new) noexcept nogil:
    native_of(processor).inner.pte_changed(processor, table, index, old, new)
    mapping_entry_changed(&native_of(processor).mapping, table, index, old, new)
    if index == STUB_SLOT and processor.shared and table == native_of(processor).engine.env.cr[3] >> 12:
        op_look(processor)      # another processor puts something where stubs have themselves


cdef void op_frame_lent(Processor *processor, uint64_t mfn) noexcept nogil:
    # It is executable nowhere when user code runs next; and if it runs now, that is waited for.
    cdef Native *native = native_of(processor)
    cdef uint32_t entries
    if not executable_forget(&native.mapping, mfn):
        return
    if processor.shared and processor_is_mine(processor):
        let_go(native)
        return
    full_barrier()
    entries = native.entries
    stop(native)
    while native.running and native.entries == entries:
        sched_yield()


cdef void op_table_typed(Processor *processor, uint64_t mfn, int level) noexcept nogil:
    full_barrier()
    op_frame_lent(processor, mfn)       # Xen writes there from now on
    native_of(processor).inner.table_typed(processor, mfn, level)


cdef void op_table_untyped(Processor *processor, uint64_t mfn, int level) noexcept nogil:
    mapping_untyped(&native_of(processor).mapping, mfn)


cdef void op_root_dropped(Processor *processor, uint64_t root) noexcept nogil:
    cdef Space *space = space_slot(native_of(processor), root)
    if space.root == root:
        space.dropped = True
    native_of(processor).root_dropped = True


cdef inline void let_go(Native *native) noexcept nogil:
    if native.arena.owing:      # else all that is mapped is as the page tables say
        settle(native)


cdef void op_flush_page(Processor *processor, uint64_t va) noexcept nogil:
    let_go(native_of(processor))
    native_of(processor).inner.flush_page(processor, va)


cdef void op_flush_all(Processor *processor) noexcept nogil:
    let_go(native_of(processor))
    native_of(processor).inner.flush_all(processor)


cdef void op_flush_frame(Processor *processor, uint64_t mfn) noexcept nogil:
    mapping_forget_frame(&native_of(processor).mapping, mfn)
    let_go(native_of(processor))
    native_of(processor).inner.flush_frame(processor, mfn)


cdef void op_watch_code(Processor *processor, uint64_t mfn) noexcept nogil:
    mapping_protect_frame(&native_of(processor).mapping, mfn)
    let_go(native_of(processor))
    native_of(processor).inner.watch_code(processor, mfn)


cdef void op_load_root(Processor *processor, uint64_t root, bint is_user) noexcept nogil:
    settle(native_of(processor))
    native_of(processor).inner.load_root(processor, root, is_user)


# --- making one

CAPABILITIES: Capabilities = Capabilities(
    every_instruction=True, hides_instructions=False, segments=True, debug_registers=True, x87_bits=80,
    exact_preemption=True, siblings=True, guest_tables=False, shows_translations=True,
)
BESIDE = "emulated"             # the engine that runs what does not run natively

_maker: list[Maker] = []        # that was started before the process was walled in


@cython.no_gc_clear
cdef class NativeEngine(Engine):
    """The engine of one vcpu.

    eager    user code is native from its first instruction on, where it can be
    looks    what is executable is looked at for CPUID, whatever the host's processor can do
    """

    cdef Native *native
    cdef Engine inner
    cdef Stubs stubs

    def __cinit__(self, MachineMemory memory not None, bint eager=False, bint looks=False):
        cdef bint hides_cpuid = not looks and host.hides_cpuid()
        cdef Emulator *engine
        cdef Native *native = <Native *>calloc(1, sizeof(Native))
        if native == NULL:
            raise MemoryError
        self.native = native
        self.memory = memory
        self.inner = engine_new(BESIDE, memory)
        self.processor = self.inner.processor
        engine = <Emulator *>self.processor
        if not _maker:
            _maker.append(Maker())
        self.stubs = Stubs(memory.fd, _maker[0], hides_cpuid)
        native.arena = self.stubs.arena
        native.arena.ordering = &native.mapping.lock
        native.engine = engine
        native.eager = eager
        for cpu in os.sched_getaffinity(0):
            native.home |= (<uint64_t>1 << <int>cpu) if cpu < 64 else 0
        if not mapping_init(&native.mapping, self.processor, memory.machine, native.arena.stubs, not hides_cpuid):
            raise ConfigError("the host gives no memory for a native processor")
        native.inner = self.processor.ops
        native.mapping.watch_code = native.inner.watch_code
        replace_ops(native)
        engine.beside.owner = native
        engine.beside.on_exit = on_exit
        engine.beside.enters = enters
        engine.interposed.on_translated = on_translated
        if not hides_cpuid:
            engine.interposed.on_forgotten = on_forgotten
        stub_ask(&native.arena.stubs[0])

    def __dealloc__(self):
        if self.native != NULL:
            with nogil:
                mapping_end(&self.native.mapping)
            free(self.native)

    def stale_translations(self) -> list[tuple[int, int, str, bool]]:
        """Those of the emulated processor, and one of the mirror's if there are any."""
        cdef uint64_t va = 0, mfn = 0
        cdef uint32_t count
        with nogil:
            count = mapping_stale(&self.native.mapping, &va, &mfn)
        found = self.inner.stale_translations()
        return [*found, (va, mfn << 12, f"mapped natively, with {count - 1} more", True)] if count else found

    def has_stub(self) -> bool:
        """Whether the host makes stubs: one that was asked for is waited for."""
        cdef Stub *stub = &self.native.arena.stubs[0]
        cdef int64_t begun = monotonic()
        with nogil:
            while stub.state == STUB_ASKED and monotonic() - begun < FIRST_NS:
                arena_await(stub.arena)
            while not stub_ready(stub) and stub.state == STUB_FRESH and monotonic() - begun < FIRST_NS:
                sched_yield()
        return stub_ready(stub)

    @property
    def statistics(self) -> dict[str, int]:
        """And what happened natively."""
        cdef Native *native = self.native
        return {
            **self.inner.statistics, "native_syscalls": native.nr_syscalls, "native_faults": native.nr_faults,
            "native_pages": native.mapping.nr_mapped, "native_fills": native.nr_mapped,
            "native_unmapped": native.mapping.nr_unmapped, "native_others": native.nr_others,
            "native_moves": native.nr_moves,
            "native_lost": native.nr_lost,
        }


cdef void replace_ops(Native *native) noexcept nogil:
    native.ops = native.inner[0]
    native.ops.run = op_run
    native.ops.share = op_share
    native.ops.end = op_end
    native.ops.settle = op_settle
    native.ops.kick = op_kick
    native.ops.look = op_look
    native.ops.pte_changed = op_pte_changed
    native.ops.table_typed = op_table_typed
    native.ops.table_untyped = op_table_untyped
    native.ops.frame_lent = op_frame_lent
    native.ops.root_dropped = op_root_dropped
    native.ops.flush_page = op_flush_page
    native.ops.flush_all = op_flush_all
    native.ops.flush_frame = op_flush_frame
    native.ops.watch_code = op_watch_code
    native.ops.load_root = op_load_root
    native.engine.processor.ops = &native.ops


def new(MachineMemory memory not None) -> Engine:
    """See registry.EngineModule; these three."""
    return NativeEngine(memory)


def reserve(int nr) -> int:
    """The maker of stubs, and memory for translated code."""
    host.hides_cpuid()          # who is walled in can look no more
    if not _maker:
        _maker.append(Maker())
    return engine_kind(BESIDE).load().reserve(nr)


def self_test() -> str:
    """Have a stub made.  ConfigError where the host does not let it be."""
    engine = NativeEngine(MachineMemory(1 << 20))
    if not engine.has_stub():
        raise ConfigError("the native engine cannot run here: the host lets no process be made as it needs them")
    if host.hides_cpuid():
        return "by the host's processor"
    return "by the host's processor; pages with the bytes of CPUID are emulated, for it has no CPUID faulting"
