# How it is decided which vcpu runs where, and for how long.  A policy is pure: it has no thread and no clock, and
# knows nothing of what a vcpu is.  Whoever asks says what time it is, in ns of a clock that is the same for all who
# ask; times do not go back.  The calls of one policy exclude one another: one pcpu of its own, or a lock of the
# caller's.  No call enters the interpreter or waits.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from xenia.sched.heap cimport HeapNode

cdef enum:
    NO_PCPU = -1
    MAX_PCPUS = 256
    MASK_WORDS = MAX_PCPUS // 64
    DEFAULT_WEIGHT = 256    # Xen's: 1 to 65535
    MAX_WEIGHT = 65535

cdef enum SchedState:
    SCHED_ASLEEP = 0        # it has nothing to do
    SCHED_WAITING = 1       # it could run
    SCHED_RUNNING = 2
    SCHED_PARKED = 3        # it could, if its domain had not used up what it is capped to, or what others did for it

cdef struct PcpuMask:       # a bit for each pcpu
    uint64_t[MASK_WORDS] words

# What a domain is entitled to; its owner's to set at any time, within the same exclusion.
cdef struct SchedDomain:
    uint32_t weight         # its share, relative to other domains'
    uint32_t cap            # at most so many hundredths of one pcpu; 0 none
    # the policy's own
    uint32_t active         # vcpus that are not asleep
    int64_t budget          # ns that it may still run in this period
    uint64_t refill_at      # when the next one begins
    int64_t owed            # ns that others worked for it, and it did not pay for
    uint64_t stands_until   # it paid for that, and none of its vcpus runs before then
    uint64_t slept_at       # when the last of its vcpus fell asleep
    HeapNode refill         # among the domains of which somebody is parked
    SchedVcpu *parked

# A vcpu, as a policy sees it.
cdef struct SchedVcpu:
    void *owner             # the caller's own
    SchedDomain *domain
    PcpuMask hard           # where it may run: one pcpu that there is, at least; see Policy.move
    PcpuMask soft           # where it had better
    uint8_t yields          # the caller's, cleared by pick: others that may run go first, this once
    # the policy's own
    SchedState state
    int32_t pcpu            # where it runs, or ran last; of the null policy: where it belongs
    uint64_t since          # the time up to which it has paid for running
    uint64_t entered        # when it was last picked from those who wait: its least slice counts from then
    HeapNode waiting        # in a queue: its key is what it has paid
    void *queue
    SchedVcpu *next_parked

cdef struct Choice:
    SchedVcpu *vcpu         # NULL: none
    uint64_t slice_ns       # choose again after so long, if nothing else happens; 0: not before
    int32_t poke            # another pcpu that had better choose anew, or NO_PCPU

cdef struct Policy:
    # `domain`, `hard` and `soft` are set, the rest zeroed memory; it is asleep.  False: there is no place for it.
    bint (*add)(Policy *policy, SchedVcpu *vcpu) noexcept nogil
    void (*remove)(Policy *policy, SchedVcpu *vcpu, uint64_t now) noexcept nogil
    # It has something to do, or nothing any more.  A pcpu that had better choose anew, or NO_PCPU.
    int (*wake)(Policy *policy, SchedVcpu *vcpu, uint64_t now) noexcept nogil
    void (*sleep)(Policy *policy, SchedVcpu *vcpu, uint64_t now) noexcept nogil
    # Who runs on `pcpu` from `now` on, instead of who did.
    Choice (*pick)(Policy *policy, uint32_t pcpu, uint64_t now) noexcept nogil
    # It may run elsewhere from now on: `hard` and `soft`.  A pcpu that had better choose anew, or NO_PCPU.
    # -2: there is no memory, and all is as it was.
    int (*move)(Policy *policy, SchedVcpu *vcpu, const PcpuMask *hard, const PcpuMask *soft,
                uint64_t now) noexcept nogil
    # So long the host's processors worked for the domain, beside what its vcpus ran.  As move.
    int (*charge)(Policy *policy, SchedDomain *domain, uint64_t ns) noexcept nogil


cdef inline bint mask_has(const PcpuMask *mask, uint32_t pcpu) noexcept nogil:
    return mask.words[pcpu >> 6] >> (pcpu & 63) & 1


cdef inline void mask_add(PcpuMask *mask, uint32_t pcpu) noexcept nogil:
    mask.words[pcpu >> 6] |= <uint64_t>1 << (pcpu & 63)
