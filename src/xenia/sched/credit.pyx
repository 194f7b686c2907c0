"""The credit policy, in the manner of Xen's credit2: shares by weight, caps, affinity, wake-ups that do not wait.

Theory of operation.  A vcpu that runs pays: its time, divided by its domain's weight and multiplied by the number of
the domain's vcpus that are awake, so that weights are between domains however many vcpus they have.  Whoever has paid
least runs, so all who compete pay the same in the long run.  What they have paid is a virtual time, which each pcpu
keeps: the least that anybody has paid who runs there or could, while others wait; while nobody waits, it goes on as
fast as the one that runs pays, but not past it.

Who wakes after a while has paid less than that time: it gets it for a present but for LAG_NS, so that sleep cannot be
saved up, and that is enough to come before those that burn.  Nobody keeps more than MOST_LAG_NS either, which one would
that has a weight for more than the one pcpu on which it can run.  Nor is anybody further ahead than by a longest slice
of its own, when it wakes or is moved to other pcpus with another time.

Once picked, a vcpu runs for a millisecond at least, as long as it can run: who wakes waits so long at most for a pcpu
whose vcpu has paid more.  (One that is FAR_NS ahead does not: it would live on the short sleeps of a heavier one.)  Who
yields to another keeps no more of what it has paid less than a sleeper does: it would otherwise be back at once, to
yield again.

A domain with a cap has a budget for each period, which its vcpus use up together.  A vcpu of a domain without budget is
parked; a period that begins fills the budget up, less what was overdrawn, and parked vcpus wait again.  What was left
over, because others ran, is kept for one more period.

What the host does for a domain on other threads (its disk, its console, the store) the domain owes (`charge`), but for
the time that it slept meanwhile.  The next of its vcpus to be picked pays that as if it had run; and while every pcpu
is busy and others want to run, the domain stands for as long: the thread that worked for it took a processor from
somebody, and so it has been its own.  A host with more processors than pcpus has one for such threads.

Where a vcpu may run (hard affinity), and where it had better (soft), is its queue: those with the same wait in the same
one, and a pcpu looks at the first of each queue that may run there.  One whose soft affinity names it goes before one
that has paid a little less.  So a decision takes O(log vcpus), O(queues), which are few, and for a wake-up O(pcpus).
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from xenia.sched.cap cimport within_cap
from xenia.sched.charge cimport again_at, may_run, owe, owes, settle, slept
from xenia.sched.heap cimport HeapNode, heap_add, heap_free, heap_remove, heap_room
from xenia.sched.paid cimport lag_at_most, less, pay, price, time_for, time_of
from xenia.sched.policy cimport (
    NO_PCPU, SCHED_ASLEEP, SCHED_PARKED, SCHED_RUNNING, SCHED_WAITING, Choice, PcpuMask, Policy, SchedDomain, SchedVcpu,
    mask_has,
)
from xenia.sched.queues cimport CreditQueue, drop_queue, queue_for

cdef enum:
    LAG_NS = 1_000_000          # of its own time, that who wakes may have paid less than others
    MOST_LAG_NS = 20_000_000    # the same of who runs
    LEAST_SLICE_NS = 1_000_000  # Xen's ratelimit_us
    FAR_NS = 3_000_000          # of its own time, by which who runs may be ahead of who waits and keep its least slice
    LONGEST_SLICE_NS = 10_000_000
    SHORTEST_SLICE_NS = 10_000  # of what is left of a budget
    SOFT_NS = 500_000           # of its own time, that soft affinity is worth
    NO_MEMORY = -2


cdef bint credit_init(CreditPolicy *policy, uint32_t nr_pcpus, bint spare) noexcept nogil:
    memset(policy, 0, sizeof(policy[0]))
    policy.ops = Policy(credit_add, credit_remove, credit_wake, credit_sleep, credit_pick, credit_move,
                        credit_charge)
    policy.nr_pcpus = nr_pcpus
    policy.spare = spare
    policy.pcpus = <CreditPcpu *>calloc(nr_pcpus, sizeof(CreditPcpu))
    return policy.pcpus != NULL


cdef void credit_free(CreditPolicy *policy) noexcept nogil:
    cdef CreditQueue *queue
    while policy.queues != NULL:
        queue = policy.queues
        policy.queues = queue.next
        heap_free(&queue.waiting)
        free(queue)
    heap_free(&policy.parked)
    free(policy.pcpus)


# --- what is paid


cdef void join(CreditPolicy *policy, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    # By who comes to compete.
    cdef uint64_t most
    cdef uint32_t pcpu
    for pcpu in range(policy.nr_pcpus):
        if policy.pcpus[pcpu].running != NULL and mask_has(&vcpu.hard, pcpu):
            pay(policy, policy.pcpus[pcpu].running, now)
    most = time_of(policy, vcpu) + price(vcpu, LONGEST_SLICE_NS)
    lag_at_most(policy, vcpu, LAG_NS)
    if less(most, vcpu.waiting.key):
        vcpu.waiting.key = most


# --- who waits


cdef void count_queue(CreditPolicy *policy, CreditQueue *queue, bint waits, uint64_t now) noexcept nogil:
    # Its first one came, or its last one went: who runs where they may has paid until now as one who had no company,
    # or who had.
    cdef uint32_t pcpu
    for pcpu in range(policy.nr_pcpus):
        if mask_has(&queue.hard, pcpu):
            if policy.pcpus[pcpu].running != NULL:
                pay(policy, policy.pcpus[pcpu].running, now)
            policy.pcpus[pcpu].nr_queues += 1 if waits else -1


cdef void enqueue(CreditPolicy *policy, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    cdef CreditQueue *queue = <CreditQueue *>vcpu.queue
    vcpu.state = SCHED_WAITING
    if queue.waiting.nr == 0:
        count_queue(policy, queue, True, now)
    heap_add(&queue.waiting, &vcpu.waiting, vcpu.waiting.key)


cdef void dequeue(CreditPolicy *policy, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    cdef CreditQueue *queue = <CreditQueue *>vcpu.queue
    heap_remove(&queue.waiting, &vcpu.waiting)
    if queue.waiting.nr == 0:
        count_queue(policy, queue, False, now)


# --- caps


cdef void park(CreditPolicy *policy, SchedVcpu *vcpu) noexcept nogil:
    cdef SchedDomain *domain = vcpu.domain
    if domain.parked == NULL:
        domain.refill.owner = domain
        heap_add(&policy.parked, &domain.refill, again_at(domain))
    vcpu.state = SCHED_PARKED
    vcpu.next_parked = domain.parked
    domain.parked = vcpu


cdef void unpark(CreditPolicy *policy, SchedVcpu *vcpu) noexcept nogil:
    # One that sleeps or goes.
    cdef SchedVcpu **link = &vcpu.domain.parked
    while link[0] != vcpu:
        link = &link[0].next_parked
    link[0] = vcpu.next_parked
    if vcpu.domain.parked == NULL:
        heap_remove(&policy.parked, &vcpu.domain.refill)


cdef SchedVcpu *unpark_all(CreditPolicy *policy, uint64_t now) noexcept nogil:
    # Those whose domain may run again: one of them, NULL where there was none.
    cdef HeapNode *first
    cdef SchedDomain *domain
    cdef SchedVcpu *vcpu = NULL
    while policy.parked.nr and not less(now, policy.parked.nodes[0].key):
        first = policy.parked.nodes[0]
        domain = <SchedDomain *>first.owner
        heap_remove(&policy.parked, first)
        if not may_run(domain, now):
            heap_add(&policy.parked, first, again_at(domain))
            continue
        while domain.parked != NULL:
            vcpu = domain.parked
            domain.parked = vcpu.next_parked
            join(policy, vcpu, now)
            enqueue(policy, vcpu, now)
    return vcpu


# --- the policy


cdef bint credit_add(Policy *ops, SchedVcpu *vcpu) noexcept nogil:
    cdef CreditPolicy *policy = <CreditPolicy *>ops
    cdef CreditQueue *queue = queue_for(&policy.queues, &vcpu.hard, &vcpu.soft)
    if queue == NULL:
        return False
    if not heap_room(&policy.parked, policy.nr_vcpus + 1):
        drop_queue(&policy.queues, queue)
        return False
    policy.nr_vcpus += 1
    queue.nr_vcpus += 1
    vcpu.queue = queue
    vcpu.waiting.owner = vcpu
    vcpu.state = SCHED_ASLEEP
    vcpu.pcpu = NO_PCPU
    vcpu.waiting.key = time_of(policy, vcpu)
    return True


cdef void credit_remove(Policy *ops, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    cdef CreditPolicy *policy = <CreditPolicy *>ops
    cdef CreditQueue *queue = <CreditQueue *>vcpu.queue
    credit_sleep(ops, vcpu, now)
    policy.nr_vcpus -= 1
    queue.nr_vcpus -= 1
    vcpu.queue = NULL
    drop_queue(&policy.queues, queue)


cdef int credit_wake(Policy *ops, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    cdef CreditPolicy *policy = <CreditPolicy *>ops
    if vcpu.state != SCHED_ASLEEP:
        return NO_PCPU
    if vcpu.domain.active == 0:
        policy.nr_awake += 1
        slept(vcpu.domain, now - vcpu.domain.slept_at)
    vcpu.domain.active += 1
    join(policy, vcpu, now)
    enqueue(policy, vcpu, now)
    return place_for(policy, vcpu, now)


cdef int place_for(CreditPolicy *policy, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    # A pcpu that had better choose anew for who waits now, of those that will not anyway: an idle one, or else the one
    # whose vcpu has paid most, if that is more; at best one of its soft affinity.  Or one whose vcpu may run for ever,
    # as it was told when nobody waited.
    cdef SchedVcpu *other
    cdef int found = NO_PCPU, pcpu, rank, best_rank = 0
    cdef uint64_t most = 0
    for pcpu in range(<int>policy.nr_pcpus):
        if policy.pcpus[pcpu].poked or not mask_has(&vcpu.hard, pcpu):
            continue
        other = policy.pcpus[pcpu].running
        rank = 1 + mask_has(&vcpu.soft, pcpu) + (2 if other == NULL else 0)
        if other != NULL:
            pay(policy, other, now)
            if not less(vcpu.waiting.key, other.waiting.key):
                if found == NO_PCPU and policy.pcpus[pcpu].for_ever:
                    found = pcpu
                continue
        if rank > best_rank or rank == best_rank and (pcpu == vcpu.pcpu if other == NULL
                                                      else less(most, other.waiting.key)):
            found = pcpu
            best_rank = rank
            most = 0 if other == NULL else other.waiting.key
    if found != NO_PCPU:
        policy.pcpus[found].poked = 1
    return found


cdef void credit_sleep(Policy *ops, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    cdef CreditPolicy *policy = <CreditPolicy *>ops
    if vcpu.state == SCHED_ASLEEP:
        return
    if vcpu.state == SCHED_RUNNING:
        pay(policy, vcpu, now)
        policy.pcpus[vcpu.pcpu].running = NULL
    elif vcpu.state == SCHED_WAITING:
        dequeue(policy, vcpu, now)
    else:
        unpark(policy, vcpu)
    vcpu.state = SCHED_ASLEEP
    vcpu.domain.active -= 1
    if vcpu.domain.active == 0:
        policy.nr_awake -= 1
        vcpu.domain.slept_at = now


cdef Choice credit_pick(Policy *ops, uint32_t number, uint64_t now) noexcept nogil:
    cdef CreditPolicy *policy = <CreditPolicy *>ops
    cdef CreditPcpu *pcpu = &policy.pcpus[number]
    cdef SchedVcpu *vcpu = pcpu.running
    cdef SchedVcpu *pushed_off = unpark_all(policy, now)
    cdef SchedVcpu *next
    cdef Choice choice
    cdef uint64_t soonest, least
    pcpu.poked = 0
    if vcpu != NULL:
        pay(policy, vcpu, now)
        lag_at_most(policy, vcpu, MOST_LAG_NS)
    if vcpu == NULL or not goes_on(policy, vcpu, number, now):
        pcpu.running = NULL
        next = best(policy, number, now) if vcpu == NULL or vcpu.yields else NULL
        if vcpu != NULL:
            pushed_off = vcpu
            enqueue(policy, vcpu, now)
        vcpu = next if next != NULL else best(policy, number, now)
        if vcpu != NULL:
            pcpu.running = vcpu
            vcpu.state = SCHED_RUNNING
            vcpu.pcpu = number
            vcpu.since = now
            vcpu.yields = 0
            if vcpu == pushed_off:
                pushed_off = NULL
            elif pushed_off != NULL and pushed_off.yields:
                give_up(policy, pushed_off, vcpu, now)
            vcpu.entered = now
    next = first_for(policy, number)
    if vcpu != NULL and next != NULL:
        least = vcpu.waiting.key if less(vcpu.waiting.key, next.waiting.key) else next.waiting.key
        if less(pcpu.time, least):
            pcpu.time = least
    choice.vcpu = vcpu
    choice.poke = NO_PCPU
    if pushed_off != NULL and pushed_off.state == SCHED_WAITING:
        pushed_off.yields = 0
        choice.poke = place_for(policy, pushed_off, now)
    if choice.poke == NO_PCPU:
        choice.poke = idle_one(policy)
    choice.slice_ns = slice_of(policy, vcpu, next, now) if vcpu != NULL else 0
    pcpu.for_ever = choice.slice_ns == 0
    if policy.parked.nr:
        soonest = max(policy.parked.nodes[0].key, now + 1) - now
        choice.slice_ns = min(soonest, choice.slice_ns) if choice.slice_ns else soonest
    return choice


cdef void give_up(CreditPolicy *policy, SchedVcpu *vcpu, SchedVcpu *other, uint64_t now) noexcept nogil:
    # It waits, having yielded to the other, on which it keeps an advantage of LAG_NS of that one's time at most.
    cdef uint64_t least = other.waiting.key - price(other, LAG_NS)
    if less(vcpu.waiting.key, least):
        dequeue(policy, vcpu, now)
        vcpu.waiting.key = least
        enqueue(policy, vcpu, now)


cdef bint goes_on(CreditPolicy *policy, SchedVcpu *vcpu, uint32_t pcpu, uint64_t now) noexcept nogil:
    # Who runs there, whoever else waits: unless it is far ahead of that one, having run while that one was away.
    cdef SchedVcpu *first
    if (not mask_has(&vcpu.hard, pcpu) or vcpu.yields or not within_cap(vcpu.domain, now) or owes(vcpu.domain)
            or now - vcpu.entered >= LEAST_SLICE_NS):
        return False
    first = first_for(policy, pcpu)
    return first == NULL or not less(first.waiting.key + price(vcpu, FAR_NS), vcpu.waiting.key)


cdef int idle_one(CreditPolicy *policy) noexcept nogil:
    # For who was parked together with another.
    cdef uint32_t pcpu
    for pcpu in range(policy.nr_pcpus):
        if policy.pcpus[pcpu].running == NULL and policy.pcpus[pcpu].nr_queues and not policy.pcpus[pcpu].poked:
            policy.pcpus[pcpu].poked = 1
            return pcpu
    return NO_PCPU


cdef SchedVcpu *first_for(CreditPolicy *policy, uint32_t pcpu) noexcept nogil:
    # Who has paid least of those who wait and may run there, NULL nobody.
    cdef CreditQueue *queue = policy.queues
    cdef SchedVcpu *first = NULL
    cdef SchedVcpu *vcpu
    cdef uint64_t least = 0, paid
    while queue != NULL:
        if queue.waiting.nr and mask_has(&queue.hard, pcpu):
            vcpu = <SchedVcpu *>queue.waiting.nodes[0].owner
            paid = vcpu.waiting.key
            if mask_has(&queue.soft, pcpu):
                paid -= price(vcpu, SOFT_NS)
            if first == NULL or less(paid, least):
                first = vcpu
                least = paid
        queue = queue.next
    return first


cdef SchedVcpu *best(CreditPolicy *policy, uint32_t pcpu, uint64_t now) noexcept nogil:
    # Whoever comes first there and may run, taken out of its queue.
    cdef SchedVcpu *vcpu = first_for(policy, pcpu)
    while vcpu != NULL:
        dequeue(policy, vcpu, now)
        if owes(vcpu.domain):
            settle(policy, vcpu, pcpu, now)
            enqueue(policy, vcpu, now)
        elif may_run(vcpu.domain, now):
            return vcpu
        else:
            park(policy, vcpu)
        vcpu = first_for(policy, pcpu)
    return NULL


cdef uint64_t slice_of(CreditPolicy *policy, SchedVcpu *vcpu, SchedVcpu *next, uint64_t now) noexcept nogil:
    # Until it has paid more than who waits next; for a domain with a cap, until its budget is gone.
    cdef int64_t slice_ns = 0
    cdef int64_t left
    if next != NULL:
        if less(vcpu.waiting.key, next.waiting.key):
            slice_ns = <int64_t>min(time_for(vcpu, next.waiting.key - vcpu.waiting.key), <uint64_t>LONGEST_SLICE_NS)
        left = <int64_t>LEAST_SLICE_NS - <int64_t>(now - vcpu.entered)
        slice_ns = max(slice_ns, left, <int64_t>1)
    if vcpu.domain.cap:
        left = max(vcpu.domain.budget // min(vcpu.domain.active, policy.nr_pcpus), <int64_t>SHORTEST_SLICE_NS)
        slice_ns = min(slice_ns, left) if slice_ns else left
    return <uint64_t>slice_ns


cdef int credit_move(Policy *ops, SchedVcpu *vcpu, const PcpuMask *hard, const PcpuMask *soft,
                     uint64_t now) noexcept nogil:
    cdef CreditPolicy *policy = <CreditPolicy *>ops
    cdef CreditQueue *before = <CreditQueue *>vcpu.queue
    cdef CreditQueue *queue = queue_for(&policy.queues, hard, soft)
    if queue == NULL:
        return NO_MEMORY
    if vcpu.state == SCHED_WAITING:
        dequeue(policy, vcpu, now)
    vcpu.hard = hard[0]
    vcpu.soft = soft[0]
    vcpu.queue = queue
    queue.nr_vcpus += 1
    before.nr_vcpus -= 1
    drop_queue(&policy.queues, before)
    if vcpu.state == SCHED_WAITING:
        join(policy, vcpu, now)
        enqueue(policy, vcpu, now)
        return place_for(policy, vcpu, now)
    if vcpu.state == SCHED_RUNNING:
        pay(policy, vcpu, now)
        join(policy, vcpu, now)
    if vcpu.state == SCHED_RUNNING and not mask_has(hard, vcpu.pcpu) and not policy.pcpus[vcpu.pcpu].poked:
        policy.pcpus[vcpu.pcpu].poked = 1
        return vcpu.pcpu
    return NO_PCPU


cdef int credit_charge(Policy *ops, SchedDomain *domain, uint64_t ns) noexcept nogil:
    cdef CreditPolicy *policy = <CreditPolicy *>ops
    cdef SchedVcpu *vcpu
    cdef uint32_t pcpu
    if policy.spare:
        return NO_PCPU
    owe(domain, ns)
    for pcpu in range(policy.nr_pcpus):
        vcpu = policy.pcpus[pcpu].running
        if owes(domain) and vcpu != NULL and vcpu.domain == domain and not policy.pcpus[pcpu].poked:
            policy.pcpus[pcpu].poked = 1
            return <int>pcpu
    return NO_PCPU
