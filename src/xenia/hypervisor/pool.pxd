# A pool of pcpus that share one policy, and the vcpus that they run.  What a pcpu does is pcpu.pyx.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.domain.domain cimport Domain, Vcpu
from xenia.hypervisor.alarm cimport Alarm
from xenia.machine.errand cimport Errands
from xenia.machine.lock cimport Condition, Lock
from xenia.machine.waiting cimport Waiting
from xenia.sched.heap cimport Heap, HeapNode
from xenia.sched.policy cimport PcpuMask, Policy, SchedDomain, SchedVcpu

# A vcpu's place in a pool.
#   lock    check, check_argument: none, set before it is seated.  looked_at, now, due_at, nr_entries: none, who runs
#           it.  woken, fresh: none.  waited_since: its pcpu's thread sets it with the pool's or the turn, others read
#           it with both.  The rest: the pool's.
cdef struct Seat:
    SchedVcpu sched
    Vcpu *vcpu
    Party *party
    int (*check)(void *) noexcept nogil     # debug mode: called before each entry, non-zero stops the domain
    void *check_argument
    uint8_t seated
    uint8_t fresh           # it was not entered yet
    volatile uint8_t woken  # somebody wants it to be looked at
    volatile uint8_t held   # it stopped for a debugger: set by its thread, cleared while its domain is paused
    HeapNode due            # its timer, while it sleeps: in ns of the host's clock
    Pcpu *due_on            # who waits for that, NULL nobody
    uint64_t ran            # ns
    uint64_t since          # ns of the host's clock: when it was picked, pushed off or woken
    uint64_t waited_since   # the same, of one that was picked: since when it had waited, until it was looked at; then 0
    uint64_t looked_at      # ns of the host's clock
    uint64_t now            # of its domain, then
    uint64_t due_at         # ns of the host's clock, 0 none: its first timer, as of then
    uint64_t nr_entries
    uint64_t nr_idle

# The vcpus of one domain in a pool.
#   lock    the pool's.
cdef struct Party:
    SchedDomain sched
    Pool *pool
    Seat *seats             # of each vcpu
    uint32_t nr
    uint32_t nr_seated      # they leave one by one, when the domain has shut down or is to stop
    uint8_t paused
    uint8_t leaving         # for good
    Party *next


# It does not run, whoever wakes it.
cdef inline bint stands(const Seat *seat) noexcept nogil:
    return seat.party.paused or seat.held


#   lock    current, pushed_off, last, errands, idle, due: the pool's.  The rest: none, its thread.  Times are ns of the
#           host's clock.
cdef struct Pcpu:
    Pool *pool
    uint32_t id
    uint64_t now            # when it last chose
    uint64_t choose_at      # when it is to choose again, at the latest; 0 not before something happens
    Seat *current           # whom it was given, NULL none
    volatile uint8_t idle   # it waits, or is about to: who clears this writes to wake_fd
    Seat *pushed_off        # who could have gone on here, until its runstate says so; NULL none
    Seat *last              # who fell asleep here last, NULL if that one has left
    Errands *errands        # what it does while it waits: the last one's domain's.  NULL none
    Waiting waiting
    Heap due                # those whose timers it waits for
    int wake_fd             # eventfd that ends its wait
    Alarm alarm             # kicks it when a timer, or its slice, has run out
    uint64_t alarm_at       # 0 off

cdef struct Pool:
    Lock lock
    Policy *policy          # who chooses
    Pcpu *pcpus
    uint32_t nr_pcpus
    uint8_t closing         # its threads are to end
    uint8_t broken          # one of them never began
    Party *parties
    # A vcpu has left, or fell asleep while it is paused, or no pcpu has it any more that pushed it off; an errand of
    # one that leaves is over; the pool is broken.
    Condition changed
    uint32_t nr_leaving     # domains whose end is waited for: nobody else is told of an errand that is over

# Zeroed memory becomes a pool.  0 or an errno; then it is to be closed all the same.
cdef int pool_create(Pool *pool, Policy *policy, uint32_t nr_pcpus) noexcept nogil
cdef void pool_close(Pool *pool) noexcept nogil                 # no thread runs
# Its threads end, whatever they run.  `broken`: for one that never began.
cdef void pool_end(Pool *pool, bint broken) noexcept nogil

# The vcpus of a domain shall run in that pool, once they enter it, or enter it again after all have left: what follows
# may be called from here on.  `nr` and `seats` are set: zeroed at first, one for each vcpu.
cdef void party_begin(Party *party, Pool *pool, Domain *domain) noexcept nogil
# They come, and run from now on, unless they are paused or to leave.  What they are entitled to is set.
# False: there is no memory for them, or the pool is broken.
cdef bint party_enter(Party *party) noexcept nogil
# With the pool's lock: those that run are chosen anew, because what they are entitled to has changed.
cdef void party_nudge(Party *party) noexcept nogil
# Wait until all have left.  That begins when one of them leaves, or with party_leave; those that do not run leave then.
cdef void party_wait(Party *party) noexcept nogil
cdef void party_leave(Party *party) noexcept nogil
# None of them runs when it returns, until they may again, which may be before it returns.
cdef void party_pause(Party *party) noexcept nogil
cdef void party_unpause(Party *party) noexcept nogil
# 0, or -2 where there is no memory for it.
cdef int seat_move(Seat *seat, const PcpuMask *hard, const PcpuMask *soft) noexcept nogil
# It falls asleep, unless somebody woke it meanwhile; or it leaves.  By the thread that has it.
cdef void seat_sleep(Pcpu *pcpu, Seat *seat) noexcept nogil
cdef void seat_leave(Pcpu *pcpu, Seat *seat) noexcept nogil
# With the pool's lock: have a pcpu choose anew.  Whose wake_fd is to be written to, NULL nobody's.
cdef Pcpu *pool_poke(Pool *pool, int pcpu) noexcept nogil
# With the pool's lock: those of its vcpus whose timers have run out wake.
cdef void wake_due(Pcpu *pcpu, uint64_t now) noexcept nogil
# From any thread: have its vcpus looked at soon, whether they run or wait, and its errands left.
cdef void domain_wake(Domain *domain) noexcept nogil
# So long other threads have run for it.
cdef void domain_charge(Domain *domain, uint64_t ns) noexcept nogil
# To its wake_fd; NULL does nothing.
cdef void pcpu_write(Pcpu *pcpu) noexcept nogil
