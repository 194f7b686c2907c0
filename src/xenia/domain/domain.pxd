# A domain and its vcpus as plain data, noun by noun.  The rules that act on them live in domain/ and hypercalls/.
#
# Each noun says by what it is guarded, and whether it belongs to what a saved domain consists of or is made anew.
# `turn` is Domain.turn, by which the vcpus of a domain exclude one another in Xenia (turn.pxd); while none runs,
# whoever has stopped them has it.  The order of the locks is that of machine/lock.pxd: a domain's turn, the machine's
# directory, a domain's memory, the machine's frames.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from xenia.abi.memory cimport e820_entry_t
from xenia.abi.xen cimport XEN_LEGACY_MAX_VCPUS, shared_info_t, vcpu_info_t
from xenia.cpu.context cimport Context
from xenia.cpu.processor cimport Exit, Processor
from xenia.domain.clock cimport Clock, Runstate, VcpuTimers
from xenia.domain.event_state cimport EventState, VcpuEvents
from xenia.domain.grant_state cimport GrantState
from xenia.domain.vcpu_state cimport VcpuControl, VcpuPorts, VcpuTraps
from xenia.machine.errand cimport Errands
from xenia.machine.lock cimport Lock
from xenia.machine.machine cimport Machine
from xenia.mm.memory cimport DomainMemory
from xenia.mm.pv.pvmmu cimport PvMmu, VcpuMmu

cdef enum:
    NR_DOMIDS = 0x7ff0
    MAX_VCPUS = XEN_LEGACY_MAX_VCPUS    # as many as shared_info has a vcpu_info for
    WRITTEN_ROOM = 64

# The domains of one machine.  `lock` guards who is there, and every event channel that has two ends.
cdef struct Directory:
    Lock lock
    Domain *domains[NR_DOMIDS]
    volatile uint8_t taken[NR_DOMIDS]   # numbers of domains whose state lives, here or no longer

# Which vcpu of a domain acts in Xenia: see turn.pxd.
cdef struct Turn:
    Lock lock
    Vcpu *holder            # NULL: none

#   lock    none: the vcpu's own thread counts, anybody reads.
#   saved   no.
cdef struct VcpuCounts:
    uint64_t hypercalls[64]
    uint64_t exceptions[32]

#   lock    context, traps, control, ports: none, the vcpu's own thread, or while it is down the turn.  The rest: the
#           turn.  `blocked`, `is_up` are read, `preempt` is set by anybody.
#   saved   context, is_up, blocked, info and where it is; the processor is a new one, and gets all from here.
cdef struct Vcpu:
    Context context
    Domain *domain
    Processor *processor
    uint32_t id
    uint8_t initialised     # it has a context to start with
    volatile uint8_t is_up
    volatile uint8_t blocked    # SCHEDOP_block or poll
    uint8_t yielded
    volatile uint8_t preempt    # somebody wants it to look round
    # from any thread: have its pcpu look at it soon, though it does not run; of whoever runs it, NULL none
    void (*wake)(void *argument) noexcept nogil
    # by who has the turn: since when it could run, and waits for a pcpu, in ns of the host's clock; 0: it does not
    uint64_t (*waits_since)(void *argument) noexcept nogil
    void *wake_argument     # of both
    VcpuMmu mmu             # page-table roots, GDT, LDT
    vcpu_info_t *info       # in shared_info, or where VCPUOP_register_vcpu_info put it
    uint64_t info_mfn       # frame held by register_vcpu_info, INVALID_M2P_ENTRY none
    VcpuTraps traps
    VcpuControl control
    VcpuPorts ports
    VcpuEvents events
    VcpuTimers timers
    Runstate runstate
    VcpuCounts counts

# a granted frame that somebody holds: a handle of another domain's, a backend, an operation under way
cdef struct GrantHold:
    Domain *granter
    uint64_t mfn
    uint32_t ref
    uint16_t start          # the part of the frame that was granted, in bytes
    uint16_t length
    uint8_t writable

cdef struct GrantMap:       # a handle: what map_grant_ref gave out
    GrantHold hold
    uint16_t flags          # GNTMAP_* of what is still mapped; 0: the handle is free
    uint16_t domid
    uint32_t next_free

# The handles of frames that others granted it.
#   lock    the turn.
#   saved   no: a domain that maps others' frames (a driver domain) is not saved.
cdef struct Maptrack:
    GrantMap *maps
    uint32_t nr
    uint32_t first_free     # `nr`: none is

cdef enum:                  # DomainLife.shutdown: SHUTDOWN_* of public/sched.h; -1 running
    SHUTDOWN_NONE = -1
    SHUTDOWN_poweroff = 0
    SHUTDOWN_reboot = 1
    SHUTDOWN_suspend = 2
    SHUTDOWN_crash = 3
    SHUTDOWN_watchdog = 4
    SHUTDOWN_soft_reset = 5

# How it goes on, or why not.
#   lock    the turn; is_dying is set under memory.lock; shutdown, shutdown_code and the reason are set once, by
#           domain_shutdown and domain_crash of any thread, and read by anybody.
#   saved   has_listened.  The rest begins anew, as of a domain that runs: what hypervisor/persist saves has suspended
#           itself, and what it waits for without a channel it waits for from then on.
cdef struct DomainLife:
    uint8_t is_dying
    volatile int32_t shutdown       # SHUTDOWN_*
    # the first reason given (SCHEDOP_shutdown_code or a shutdown); SHUTDOWN_NONE none.  It sticks.
    volatile int32_t shutdown_code
    volatile uint8_t has_reason
    char crash_reason[256]
    uint8_t halted          # it shut down without a word: its last vcpu went down, or sleeps for good
    uint8_t has_listened    # it blocked with a channel open to the outside
    uint64_t deaf_since     # system time since when it blocks without one; 0 when it does not

# XENMEM_memory_map.
#   lock    memory.lock.
#   saved   all.
cdef struct MemoryMap:
    e820_entry_t entries[128]
    uint32_t nr             # 0: none was set, the guest gets -ENOSYS

# The rings that start_info names: the store's and the console's.
#   lock    none: the builder's, and then they stay.
#   saved   the frames by pfn, console_used; ports are opened and frames held anew.
cdef struct StartRings:
    uint64_t store_mfn
    uint64_t console_mfn
    uint32_t store_port
    uint32_t console_port
    uint8_t held            # both frames are, for the backends that touch them
    uint8_t console_used    # the guest has written to its console ring

# Frames with code that others wrote: the processors must forget what they translated.
#   lock    memory.lock.
#   saved   no: new processors have translated nothing.
cdef struct WrittenFrames:
    uint64_t frames[WRITTEN_ROOM]
    volatile uint32_t nr    # more than there is room for: all that hold code

# What ties it to this process.
#   lock    none: each is one word, or a file descriptor for as long as the domain lives.
#   saved   no.
cdef struct DomainLinks:
    volatile uint8_t stop       # leave run() at the next chance: destroy, Ctrl-C
    volatile uint8_t mailbox_any
    volatile uint64_t mailbox[32]   # which buckets' mailboxes have something: set after those, before mailbox_any
    Errands errands         # of its idle vcpus' threads
    # a debugger, NULL none, and what is called where a vcpu stops for it (EXIT_DEBUG), on that vcpu's thread.  Set
    # while none of them runs
    void *debugger
    void (*stopped)(Vcpu *vcpu, const Exit *exit) noexcept nogil
    # pipes (not blocking) that CONSOLEIO_write fills, before the guest uses its console ring and after; <= 0 none
    int emergency_fd
    int log_fd

cdef enum:                  # GuestAbi.column
    GUEST_PV64 = 0
    NR_GUESTS

# What one kind of guest sees differently from another, chosen when its domain is built, and then the same for good.
# 32-bit PV guests and translated ones will have one each.  Constant: no lock, and not saved.
cdef struct GuestAbi:
    unsigned column         # of the hypercall table: who answers it
    unsigned levels         # of its page tables
    # the hypercall in vcpu.context: takes the arguments from where this guest has them, and puts back what is left of
    # them.  A Verdict
    int (*hypercall)(Vcpu *vcpu) noexcept nogil
    # enter its kernel at `handler` with a frame of its layout on the stack.  A Verdict
    int (*bounce)(Vcpu *vcpu, uint64_t handler, int how, uint32_t error) noexcept nogil
    # go where such a frame says.  0, IRET_CRASHED, or the vector of what the guest did wrong, with `error`
    int (*iret)(Vcpu *vcpu, uint32_t *error) noexcept nogil

#   lock    what its nouns say; the rest does not change after it was made, but for vm_assist (the turn) and users
#           (atomic).
#   saved   handle, is_linux, vm_assist, what is in shared_info; it gets another domid, and is in another directory.
cdef struct Domain:
    const GuestAbi *abi
    Turn turn
    DomainMemory memory     # its lock guards the grant table as well
    PvMmu mmu
    Machine *machine
    Directory *directory    # the domains it can meet; NULL none
    # who uses this structure: itself, and each hold of a frame it granted; the last one frees it
    volatile int32_t users
    uint16_t domid
    uint8_t handle[16]      # XENVER_guest_handle: the domain's UUID
    uint8_t is_linux        # what its kernel's notes say
    uint32_t nr_vcpus
    Vcpu *vcpus[MAX_VCPUS]  # the first nr_vcpus are there, for as long as this structure
    uint64_t vm_assist      # bit per VMASST_TYPE_*
    uint64_t shared_info_mfn
    shared_info_t *shared_info
    uint64_t watchdog_expires[2]    # ns of system time, 0 not set.  The turn; saved
    DomainLife life
    DomainLinks links
    Clock clock
    EventState events
    GrantState grants
    Maptrack maptrack
    MemoryMap memory_map
    StartRings rings
    WrittenFrames written


# NULL: it has no such vcpu.
cdef inline Vcpu *domain_vcpu(Domain *domain, uint32_t id) noexcept nogil:
    return domain.vcpus[id] if id < domain.nr_vcpus else NULL
