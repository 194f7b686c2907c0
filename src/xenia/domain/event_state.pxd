# A domain's event channels as data: what is bound to what, and what is on its way.  The rules are in events.pyx,
# two_level.pyx and fifo.pyx.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from xenia.abi.event_channel cimport evtchn_fifo_control_block_t

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
    uint8_t state           # ECS_*
    uint8_t virq
    uint8_t notify_vcpu     # the number of a vcpu that is there
    uint8_t priority        # FIFO: the queue of notify_vcpu that its events go to
    uint8_t last_priority   # and the one that it was put on last
    uint8_t last_vcpu
    uint8_t unplaced        # FIFO: raised before the array had its word
    uint16_t remote_domid
    uint32_t remote_port
    void *remote            # Domain* of an interdomain channel
    int notify_fd           # ECS_XENIA: eventfd written when the guest sends; -1 none
    Listener *listener      # ECS_XENIA: asked instead; NULL none

# 64 ports.  Other threads (backends, other domains) set the bits of those that they want pending, atomically; a thread
# that runs one of the domain's vcpus takes them between two entries, with the turn.
cdef struct EventBucket:
    volatile uint64_t mailbox
    EventChannel channels[64]

# A domain's.
#   lock    the Directory's for what has two ends (state, remote*, notify_fd, listener); the rest the turn.
#   saved   all but who is at the other end, who binds anew.  A guest that suspends itself gives all of it up.
cdef struct EventState:
    EventBucket *buckets[2048]
    volatile uint32_t valid_ports   # channels below exist; ports above are -EINVAL to everything
    uint32_t first_free     # ports below are taken
    uint8_t fifo            # its events are in FIFO queues, not in shared_info
    uint64_t array[128]     # frames of event words, 1024 ports each, that EVTCHNOP_expand_array holds
    uint32_t nr_array
    uint64_t pirq_eoi_mfn   # frame held by PHYSDEVOP_pirq_eoi_gmfn, 0 none

# A vcpu's.
#   lock    the turn.
#   saved   all, as the domain's.
cdef struct VcpuEvents:
    uint32_t virq_port[24]
    evtchn_fifo_control_block_t *fifo_control       # in a frame that EVTCHNOP_init_control holds; NULL none
    uint64_t fifo_control_mfn
    uint32_t fifo_tail[16]  # the port at the end of each queue; 0: empty.  It may have left since
    uint64_t poll_nr        # number of ports of SCHEDOP_poll, 0 not polling
    uint32_t poll_ports[128]
