# The boundary to whatever runs guest code: the exits it makes, and the calls the core makes on it.  The vcpu's
# registers are context.pxd.  Nothing above cpu/ knows which engine runs.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from xenia.cpu.context cimport Context, SegmentDescriptor

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

cdef enum:                  # Verdict: what the core answers to an exit
    RESUME = 0              # run on with the (changed) context
    LEAVE = 1               # return from run(): blocked, shut down, crashed, preempted, or Python is wanted

cdef struct Exit:
    int kind                # ExitKind
    int vector
    uint32_t error
    uint64_t address        # cr2 of a #PF, dr6 of a #DB

cdef struct Processor

# The engine calls this for every exit, without the GIL, with the context's first part pulled.  Returns a Verdict.
ctypedef int (*exit_fn)(void *vcpu, Exit *exit) noexcept nogil

cdef struct ProcessorOps:
    # Run the vcpu from its context until the core answers LEAVE (True) or someone kicks (False).
    bint (*run)(Processor *) noexcept nogil
    # --- MMU notifications, called by mm/ only, which is the only writer of PTEs.  An engine that walks the guest's own
    # tables needs little of them; one that keeps shadows of them, to run guest code on the host's processor, needs them
    # all.
    void (*pte_changed)(Processor *, uint64_t table_mfn, unsigned index, uint64_t old, uint64_t new) noexcept nogil
    # frame became a page table / LDT / GDT
    void (*table_typed)(Processor *, uint64_t mfn, int level) noexcept nogil
    void (*table_untyped)(Processor *, uint64_t mfn, int level) noexcept nogil
    void (*root_dropped)(Processor *, uint64_t root_mfn) noexcept nogil
    void (*flush_page)(Processor *, uint64_t va) noexcept nogil
    void (*flush_all)(Processor *) noexcept nogil       # also advances Processor.flush_clock
    # every cached translation to this frame, at whatever address
    void (*flush_frame)(Processor *, uint64_t mfn) noexcept nogil
    # someone else wrote machine memory: drop translations of it
    void (*code_dirty)(Processor *, uint64_t maddr, uint64_t length) noexcept nogil
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
    void (*set_tsc_offset)(Processor *, int64_t offset) noexcept nogil
    # --- from any thread.
    void (*kick)(Processor *) noexcept nogil            # make run() return soon, without an exit

cdef struct Processor:      # first member of an engine's own struct
    ProcessorOps *ops
    Context *context        # the vcpu's; see processor_bind
    void *vcpu
    exit_fn on_exit
    # a bit for each machine frame that code was translated from; any thread may look; NULL none
    const uint8_t *code_frames
    uint32_t flush_clock    # counts full flushes (Xen's tlbflush clock)
    uint64_t nr_flush_all
    uint64_t nr_flush_page


# Whose registers it runs with, and who answers its exits.
cdef inline void processor_bind(Processor *processor, Context *context, void *vcpu, exit_fn on_exit) noexcept nogil:
    processor.context = context
    processor.vcpu = vcpu
    processor.on_exit = on_exit
