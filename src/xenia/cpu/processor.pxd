# The boundary to whatever runs guest code: the exits it makes, and the calls the core makes on it.  The vcpu's
# registers are context.pxd.  Nothing above cpu/ knows which engine runs.  What several processors over the same memory
# ask of each other is processor.pyx.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from xenia.cpu.context cimport Context, SegmentDescriptor
from xenia.machine.lock cimport Condition, Lock

cdef enum:
    TRAP_DE = 0
    TRAP_DB = 1
    TRAP_NMI = 2
    TRAP_BP = 3
    TRAP_OF = 4
    TRAP_BR = 5
    TRAP_UD = 6
    TRAP_NM = 7
    TRAP_DF = 8
    TRAP_TS = 10
    TRAP_NP = 11
    TRAP_SS = 12
    TRAP_GP = 13
    TRAP_PF = 14
    TRAP_MF = 16
    TRAP_AC = 17
    TRAP_XM = 19

cdef enum:
    PFEC_PRESENT = 1
    PFEC_WRITE = 2
    PFEC_USER = 4
    PFEC_RESERVED = 8
    PFEC_FETCH = 16

cdef enum:                  # Exit.kind
    EXIT_SYSCALL            # a `syscall`; rip is past it
    # a fault or trap: vector, error, (#PF: cr2; #DB: dr6); rip at the instruction, or past it for a trap
    EXIT_EXCEPTION
    EXIT_SOFT_INTERRUPT     # int n / int3 / into: vector; rip is past it
    EXIT_SYSENTER           # sysenter; rip is past it
    # a debugger's: vector is a StopReason.  address: of STOP_BREAKPOINT rip, of STOP_WATCHPOINT its Stop's.  The core
    # answers LEAVE
    EXIT_DEBUG

cdef enum:                  # StopReason
    STOP_STEPPED            # the instruction is done, or what it was an exit for
    STOP_BREAKPOINT         # before the instruction
    STOP_WATCHPOINT         # after the instruction that touched the data

cdef enum:                  # Verdict: what the core answers to an exit
    RESUME = 0              # run on with the (changed) context
    LEAVE = 1               # return from run(): blocked, shut down, crashed, preempted, or Python is wanted

cdef struct Exit:
    int kind                # ExitKind
    int vector
    uint32_t error
    uint64_t address        # cr2 of a #PF, dr6 of a #DB

cdef enum:                  # Stepping
    STEPPING_NOT = 0
    STEPPING_WANTED         # a STOP_STEPPED
    STEPPING_BEGUN          # and the engine knows

cdef enum:                  # Stop.kind
    STOP_AT_CODE = 0
    STOP_AT_WRITE = 1
    STOP_AT_READ = 2        # and both

cdef enum:
    MAX_STOPS = 128

cdef struct Stop:           # where a debugger wants the guest to stop, whatever is mapped there
    uint64_t address
    uint64_t length         # of data
    int kind

cdef struct Processor

# The engine calls this for every exit, without the GIL, with the context's first part pulled.  Returns a Verdict.
ctypedef int (*exit_fn)(void *vcpu, Exit *exit) noexcept nogil

cdef struct ProcessorOps:
    # Run the vcpu from its context until the core answers LEAVE (True) or someone kicks (False).
    bint (*run)(Processor *) noexcept nogil
    # From now on others run over the same memory (Processor.siblings), and it is asked by mailbox.  Before it runs.
    # NULL: it never runs, and its operations may be called by any thread.
    void (*share)(Processor *) noexcept nogil
    # Its domain is at its end: no guest code runs when this returns, nor later, and none of the machine's memory is
    # mapped for it anywhere.  While it does not run.  NULL: that is so whenever it does not run.
    void (*end)(Processor *) noexcept nogil
    # Guest code that may run on elsewhere (Processor.unsettled) does not when this returns, and nothing that it began
    # goes on.  On its own thread.  NULL: there is never any.
    void (*settle)(Processor *) noexcept nogil
    # --- MMU notifications, called by mm/ only, which is the only writer of PTEs.  An engine that walks the guest's own
    # tables needs little of them; one that keeps shadows of them, to run guest code on the host's processor, needs them
    # all.  These four come on any thread, with the memory's lock held, and count from the next flush on.
    void (*pte_changed)(Processor *, uint64_t table_mfn, unsigned index, uint64_t old, uint64_t new) noexcept nogil
    # frame became a page table / LDT / GDT
    void (*table_typed)(Processor *, uint64_t mfn, int level) noexcept nogil
    void (*table_untyped)(Processor *, uint64_t mfn, int level) noexcept nogil
    void (*root_dropped)(Processor *, uint64_t root_mfn) noexcept nogil
    # Others than the domain's processors may write to this frame from now on, as long as Frame.lent says so: what that
    # would be to guest code, it is when this returns.  On any thread, with the memory's lock held.  NULL: nothing.
    void (*frame_lent)(Processor *, uint64_t mfn) noexcept nogil
    # On its own thread, or while it is outside and not shared: see processor_apply.
    void (*flush_page)(Processor *, uint64_t va) noexcept nogil
    void (*flush_all)(Processor *) noexcept nogil       # also advances Processor.flush_clock
    # every cached translation to this frame, at whatever address
    void (*flush_frame)(Processor *, uint64_t mfn) noexcept nogil
    # someone else wrote machine memory: drop translations of it; of length 0: of all memory
    void (*code_dirty)(Processor *, uint64_t maddr, uint64_t length) noexcept nogil
    # another processor is about to translate code from this frame (or some did, from any: EVERY_FRAME): tell it of
    # stores there, from now on
    void (*watch_code)(Processor *, uint64_t mfn) noexcept nogil
    # --- the vcpu's own state, called from inside an exit or while not running.
    # All of it, by parts (STATE_* of context.pxd, which says what both promise).
    void (*pull)(Processor *, int what) noexcept nogil
    void (*push)(Processor *, int what) noexcept nogil
    # CR3; implies a flush of everything.  The guest's own user bits mean nothing: user mode reaches all that a root of
    # its own (is_user) maps, and the lower half of the kernel's, which it runs on where the two agree there.
    void (*load_root)(Processor *, uint64_t root_mfn, bint is_user) noexcept nogil
    void (*get_segment)(Processor *, int sreg, uint16_t *selector, uint64_t *base) noexcept nogil
    void (*set_segment)(Processor *, int sreg, uint16_t selector, SegmentDescriptor *descriptor) noexcept nogil
    void (*set_segment_base)(Processor *, int sreg, uint64_t base) noexcept nogil  # FS or GS, selector untouched
    void (*set_gdt)(Processor *, uint64_t va, uint32_t limit) noexcept nogil
    void (*set_ldt)(Processor *, uint64_t va, uint32_t limit) noexcept nogil
    void (*set_ts)(Processor *, bint on) noexcept nogil                           # CR0.TS: next FPU use raises #NM
    void (*set_debugreg)(Processor *, int n, uint64_t value) noexcept nogil
    # bits that change execution: TSD, DE, FSGSBASE, OSFXSR...
    void (*set_cr4)(Processor *, uint64_t guest_cr4) noexcept nogil
    uint64_t (*read_tsc)(Processor *) noexcept nogil
    # These and no others from now on, MAX_STOPS at the most.  The guest sees nothing of them: they are beside its debug
    # registers, and not in its memory.  While it does not run.  NULL: this engine has none, and does not step.
    void (*set_stops)(Processor *, const Stop *, unsigned nr) noexcept nogil
    void (*set_tsc_offset)(Processor *, int64_t offset) noexcept nogil
    # --- from any thread.
    void (*kick)(Processor *) noexcept nogil            # make run() return soon, without an exit
    void (*look)(Processor *) noexcept nogil            # make it look into its mailbox soon

cdef enum:                  # what processors are asked
    ASK_FLUSH_ALL
    ASK_FLUSH_PAGE          # at: an address
    ASK_FLUSH_FRAME         # at: a frame
    ASK_WATCH_CODE          # at: a frame
    ASK_FORGET_CODE         # at: a machine address; length
    ASK_STAND               # stay outside while another one is alone

cdef enum:
    MAILBOX_ROOM = 16

cdef extern from *:
    """
    #define XENIA_EVERY_FRAME (~0ULL)
    """
    const uint64_t EVERY_FRAME "XENIA_EVERY_FRAME"

cdef struct Request:
    int what
    uint64_t at
    uint64_t length

cdef struct Mailbox:
    Lock lock                       # guards what was asked
    Request requests[MAILBOX_ROOM]
    uint32_t nr_requests
    uint8_t all_translations        # more was asked than there is room for
    uint8_t all_code
    uint8_t stand
    volatile uint32_t posted        # counts what was asked, and applied is how far it was done
    volatile uint32_t applied
    volatile uint32_t state         # odd: inside; it changes when the processor goes in or out
    volatile int32_t awaited        # who waits for it
    Condition progress

cdef struct Processor:      # first member of an engine's own struct
    ProcessorOps *ops
    Context *context        # the vcpu's; see processor_bind
    void *vcpu
    exit_fn on_exit
    uint32_t apic_id        # what CPUID says it is called
    # a bit for each machine frame that code was translated from; any thread may look; NULL none
    const uint8_t *code_frames
    uint32_t flush_clock    # counts full flushes (Xen's tlbflush clock)
    uint64_t nr_flush_all
    uint64_t nr_flush_page
    # A Stepping.  Set by a debugger while it does not run, taken back by the engine with any EXIT_DEBUG; no breakpoint
    # is before the first instruction.  Its guest gets no events meanwhile
    uint8_t stepping
    # --- of several
    bint shared             # it has a mailbox, and siblings
    Processor **siblings    # all that run over the same memory, and itself
    uint32_t *nr_siblings
    void *thread            # that is in run(); NULL none
    volatile uint8_t kicked
    bint alone              # no other is inside
    bint unsettled          # guest code may run on elsewhere: it is to be settled before it is outside
    Mailbox mailbox
    Lock exclusion          # of the first of several, for all: who runs alone


# Whose registers it runs with, and who answers its exits.
cdef inline void processor_bind(Processor *processor, Context *context, void *vcpu, exit_fn on_exit) noexcept nogil:
    processor.context = context
    processor.vcpu = vcpu
    processor.on_exit = on_exit


# --- inside and outside (processor.pyx).  A processor is inside while its thread may use translations or walked page
# tables without a lock: in guest code, and in exits that take no lock.  Who takes a lock, waits or sleeps is outside.

cdef extern from *:
    """
    #ifndef XENIA_PROCESSOR
    #define XENIA_PROCESSOR
    static inline void processor_step(volatile uint32_t *state) { __atomic_fetch_add(state, 1, __ATOMIC_SEQ_CST); }
    static inline void full_barrier(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    static inline void *this_thread(void) { return __builtin_thread_pointer(); }
    #endif
    """
    void processor_step(volatile uint32_t *state) noexcept nogil
    void full_barrier() noexcept nogil
    void *this_thread() noexcept nogil


# One thing that is asked, done.  On its own thread, or before it runs.
cdef inline void processor_apply(Processor *processor, int what, uint64_t at, uint64_t length) noexcept nogil:
    if what == ASK_FLUSH_PAGE:
        processor.ops.flush_page(processor, at)
    elif what == ASK_FLUSH_ALL:
        processor.ops.flush_all(processor)
    elif what == ASK_FLUSH_FRAME:
        processor.ops.flush_frame(processor, at)
    elif what == ASK_FORGET_CODE:
        processor.ops.code_dirty(processor, at, length)
    else:
        processor.ops.watch_code(processor, at)


# Did it translate code from any frame of these bytes?
cdef inline bint processor_has_code(const Processor *processor, uint64_t maddr, uint64_t length) noexcept nogil:
    cdef uint64_t mfn = maddr >> 12
    if processor.code_frames == NULL:
        return True
    while mfn <= (maddr + length - 1) >> 12:
        if processor.code_frames[mfn >> 3] >> (mfn & 7) & 1:
            return True
        mfn += 1
    return False


# Is this the thread that runs it?
cdef inline bint processor_is_mine(const Processor *processor) noexcept nogil:
    return processor.thread == this_thread()


cdef inline bint processor_is_inside(const Processor *processor) noexcept nogil:
    return processor.mailbox.state & 1


# Outside from now on: before its thread waits for a lock, or for anything.
cdef inline void processor_leave(Processor *processor) noexcept nogil:
    if processor.shared:
        if processor.unsettled:
            processor.ops.settle(processor)
        processor_step(&processor.mailbox.state)
        if processor.mailbox.awaited:
            processor_tell(processor)


# Inside from now on, with all done that was asked of it meanwhile.  Its thread holds no lock then; or the turn, and
# leaves again at once.
cdef inline void processor_enter(Processor *processor) noexcept nogil:
    if processor.shared:
        processor_step(&processor.mailbox.state)
        if processor.mailbox.posted != processor.mailbox.applied:
            processor_obey(processor)


cdef void processor_tell(Processor *processor) noexcept nogil
# What its mailbox asks.  On its own thread, inside.
cdef void processor_obey(Processor *processor) noexcept nogil

# Its run(): it is inside between the two, but for where the core leaves.
cdef void processor_begin(Processor *processor) noexcept nogil
cdef void processor_end(Processor *processor) noexcept nogil

# None of the others is inside between the two.  Called inside; what others asked meanwhile is done when the first
# returns.
cdef void processor_begin_alone(Processor *processor) noexcept nogil
cdef void processor_end_alone(Processor *processor) noexcept nogil


# A bit for each of its siblings but itself.
cdef inline uint64_t processor_others(const Processor *processor) noexcept nogil:
    cdef uint32_t i
    for i in range(processor.nr_siblings[0]):
        if processor.siblings[i] == processor:
            return ~(<uint64_t>1 << i)
    return ~<uint64_t>0


# Others run over the same memory.
cdef void processor_share(Processor *processor, Processor **siblings, uint32_t *nr_siblings) noexcept nogil

# Ask the processors of `which` (a bit for each, by number) for that, and, unless it is to forget code, wait until each
# has done so or is outside, where it does so before it comes in.  On any thread; the caller's own processor does it
# at once.
cdef void processors_ask(Processor **processors, uint32_t count, uint64_t which, int what, uint64_t at,
                         uint64_t length) noexcept nogil
