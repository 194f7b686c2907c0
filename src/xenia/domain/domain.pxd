# A domain and its vcpu as plain data.  The rules that act on them live in domain/ and hypercalls/.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from xenia.abi.event_channel cimport evtchn_fifo_control_block_t
from xenia.abi.memory cimport e820_entry_t
from xenia.abi.xen cimport XEN_LEGACY_MAX_VCPUS, shared_info_t, trap_info_t, vcpu_info_t
from xenia.cpu.context cimport Context
from xenia.cpu.processor cimport Processor
from xenia.machine.lock cimport Lock
from xenia.machine.machine cimport Machine
from xenia.mm.pv.pvmmu cimport PvMmu, VcpuMmu

cdef enum:
    NR_DOMIDS = 0x7ff0
    MAX_VCPUS = XEN_LEGACY_MAX_VCPUS    # as many as shared_info has a vcpu_info for
    WRITTEN_ROOM = 64

# The domains of one machine.  `lock` guards who is there, and every event channel that has two ends; whoever holds a
# domain's own lock does not wait for this one.
cdef struct Directory:
    Lock lock
    Domain *domains[NR_DOMIDS]
    volatile uint8_t taken[NR_DOMIDS]   # numbers of domains whose state lives, here or no longer

cdef enum:                  # EventChannel.state: Xen's ECS_*
    ECS_FREE = 0
    ECS_RESERVED = 1
    ECS_UNBOUND = 2
    ECS_INTERDOMAIN = 3
    ECS_PIRQ = 4
    ECS_VIRQ = 5
    ECS_IPI = 6
    ECS_XENIA = 7           # the other end is Xenia itself (console, xenstore); the guest sees ECS_INTERDOMAIN

cdef struct Listener:       # who answers an event on the thread that sends it
    bint (*answer)(void *argument) noexcept nogil     # whether to send one back
    void *argument
    int32_t inside          # calls under way

cdef struct EventChannel:
    uint8_t state           # ChannelState
    uint8_t virq
    uint8_t notify_vcpu
    uint8_t priority        # FIFO: the queue of notify_vcpu that its events go to
    uint8_t last_priority   # and the one that it was put on last
    uint8_t last_vcpu
    uint8_t unplaced        # FIFO: raised before the array had its word
    uint16_t remote_domid
    uint32_t remote_port
    void *remote            # Domain* of an interdomain channel
    int notify_fd           # ECS_XENIA: eventfd written when the guest sends; -1 none
    Listener *listener      # ECS_XENIA: asked instead; NULL none

# 64 ports.  Other threads (backends, other domains) set the bits of those that they want pending, atomically; the
# thread that runs the domain takes them between two entries.
cdef struct EventBucket:
    volatile uint64_t mailbox
    EventChannel channels[64]

cdef enum:                  # Domain.shutdown: SHUTDOWN_* of public/sched.h; -1 running
    SHUTDOWN_NONE = -1
    SHUTDOWN_poweroff = 0
    SHUTDOWN_reboot = 1
    SHUTDOWN_suspend = 2
    SHUTDOWN_crash = 3
    SHUTDOWN_watchdog = 4
    SHUTDOWN_soft_reset = 5

cdef enum:                  # Vcpu.runstate: RUNSTATE_* of public/vcpu.h
    RUNSTATE_running = 0
    RUNSTATE_runnable = 1
    RUNSTATE_blocked = 2
    RUNSTATE_offline = 3

cdef struct Callback:
    uint64_t address        # 0: none registered
    uint8_t disables_events  # CALLBACKF_mask_events

cdef struct Vcpu:
    Context context
    Domain *domain
    Processor *processor
    uint32_t id
    VcpuMmu mmu             # page-table roots, GDT, LDT
    # --- traps
    trap_info_t traps[256]
    Callback event_callback
    Callback failsafe_callback
    Callback syscall_callback
    Callback syscall32_callback
    Callback sysenter_callback
    uint8_t nmi_pending
    uint8_t nmi_masked
    uint64_t kernel_sp      # stack_switch; its stack segment is always the flat one
    uint8_t iopl
    uint64_t iobmp_va        # PHYSDEVOP_set_iobitmap: guest address of the port bitmap (a set bit refuses), 0 none
    uint32_t iobmp_limit    # ports it covers
    # --- segments and control state
    uint64_t gs_base_kernel
    uint64_t gs_base_user
    uint64_t cr0            # as the guest wrote it: TS matters
    uint64_t cr2
    uint64_t cr4
    uint64_t dr[8]
    uint32_t tsc_aux        # MSR_TSC_AUX
    uint64_t mcg_status     # machine checks, of which there are none
    uint64_t mc_ctl2[2]
    uint32_t pci_cf8        # what was last written to port 0xcf8
    uint8_t cmos_index      # and to port 0x70
    # --- events and time
    vcpu_info_t *info       # in shared_info, or where VCPUOP_register_vcpu_info put it
    uint64_t info_mfn       # frame held by register_vcpu_info, INVALID_M2P_ENTRY none
    uint32_t virq_port[24]
    evtchn_fifo_control_block_t *fifo_control       # in a frame that EVTCHNOP_init_control holds; NULL none
    uint64_t fifo_control_mfn
    uint32_t fifo_tail[16]  # the port at the end of each queue; 0: empty.  It may have left since
    uint8_t blocked         # SCHEDOP_block or poll
    uint8_t yielded
    uint64_t poll_nr        # number of ports of SCHEDOP_poll, 0 not polling
    uint32_t poll_ports[128]
    uint64_t timer_expires  # ns of system time, 0 none: singleshot (VCPUOP/set_timer_op)
    uint64_t periodic_period
    uint64_t periodic_expires
    uint64_t poll_expires   # 0 none
    uint8_t timers_changed  # a running vcpu's deadlines may have come nearer: the run loop has to look
    uint64_t runstate_va    # guest address of vcpu_runstate_info, 0 none
    uint64_t time_info_va   # guest address of a secondary vcpu_time_info, 0 none
    int32_t runstate
    uint64_t runstate_entry
    uint64_t runstate_time[4]
    uint8_t is_up

cdef struct GrantRecord:    # what others hold of one grant reference of the domain's
    uint64_t mfn
    uint16_t domid          # who
    uint32_t readers        # holds that only read
    uint32_t writers

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

cdef struct Domain:
    PvMmu mmu               # its lock guards the grant table as well
    Machine *machine
    Directory *directory    # the domains it can meet; NULL none
    # who uses this structure: itself, and each hold of a frame it granted; the last one frees it
    volatile int32_t users
    void *clock             # domain/time's Clock
    uint16_t domid
    uint8_t is_dying
    uint64_t vm_assist      # bit per VMASST_TYPE_*
    uint64_t shared_info_mfn
    shared_info_t *shared_info
    EventBucket *event_buckets[2048]
    volatile uint32_t valid_ports   # channels below exist; ports above are -EINVAL to everything
    uint32_t first_free      # ports below are taken
    volatile uint64_t mailbox[32]   # which buckets' mailboxes have something: set after those, before mailbox_any
    volatile uint8_t mailbox_any
    uint8_t fifo             # its events are in FIFO queues, not in shared_info
    uint64_t event_array[128]       # frames of event words, 1024 ports each, that EVTCHNOP_expand_array holds
    uint32_t nr_event_array
    volatile uint8_t preempt  # someone kicked
    volatile uint8_t stop    # leave run() at the next chance: pause, destroy, Ctrl-C
    int wake_fd              # eventfd that ends a blocked vcpu's wait
    int32_t shutdown         # Shutdown
    int32_t shutdown_code    # first reason given (SCHEDOP_shutdown_code or a shutdown); SHUTDOWN_NONE none.  It sticks.
    uint8_t is_linux         # what its kernel's notes say
    uint8_t has_listened     # it blocked with a channel open to the outside
    uint64_t deaf_since      # system time since when it blocks without one; 0 when it does not
    uint8_t halted           # it shut down without a word: its last vcpu went down, or sleeps for good
    char crash_reason[256]
    uint64_t watchdog_expires[2]
    uint64_t console_mfn
    uint32_t console_port
    uint64_t store_mfn
    uint32_t store_port
    uint8_t rings_held       # the store's and the console's frame are, for the backends that touch them
    uint32_t nr_vcpus
    Vcpu *vcpus[MAX_VCPUS]   # the first nr_vcpus are there, for as long as this structure
    uint64_t nr_hypercalls[64]   # statistics
    uint64_t nr_exceptions[32]
    # pipes (not blocking) that CONSOLEIO_write fills, before the guest uses its console ring and after; <= 0 none
    int emergency_fd
    int log_fd
    uint8_t console_used
    uint8_t handle[16]       # XENVER_guest_handle: the domain's UUID
    e820_entry_t e820[128]   # XENMEM_memory_map
    uint32_t nr_e820         # 0: none was set, the guest gets -ENOSYS
    uint64_t pirq_eoi_mfn    # frame held by PHYSDEVOP_pirq_eoi_gmfn, 0 none
    # Frames with code that others wrote: the processor must forget what it translated.  Guarded by mmu.lock.
    uint64_t written[WRITTEN_ROOM]
    volatile uint32_t nr_written    # more than there is room for: all that hold code
    uint64_t grant_frames[64]
    uint32_t nr_grant_frames
    uint32_t grant_version
    uint64_t status_frames[8]       # version 2: one grant_status_t for each entry
    uint32_t nr_status_frames
    GrantRecord *grant_records[64]  # 512 references each
    GrantMap *grant_maps            # touched by the domain's own thread only
    uint32_t nr_grant_maps
    uint32_t free_grant_map         # the first free one, nr_grant_maps none


# NULL: it has no such vcpu.
cdef inline Vcpu *domain_vcpu(Domain *domain, uint32_t id) noexcept nogil:
    return domain.vcpus[id] if id < domain.nr_vcpus else NULL
