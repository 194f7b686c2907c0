"""The credit policy, in the manner of Xen's credit2: shares by weight, caps, one queue for all pcpus.

Theory of operation.  A vcpu that runs pays in credit: its time, divided by its domain's weight and multiplied by the
number of the domain's vcpus that are awake, so that weights are between domains however many vcpus they have.  The
vcpu with most credit runs.  When even that one has none left, everybody is given the same again; whoever slept through
it keeps no more than one gift and a little, so that sleep cannot be saved up.  As the gift is the same for all, it is
one number (`given`) that is added to every vcpu's credit, and giving takes no longer for a thousand vcpus than for
one: what is stored is credit less what had been given by then.  (Who runs while nobody waits makes no debts, either.)

Once picked, a vcpu runs for a millisecond at least, as long as it can run: who wakes waits so long at most for a pcpu
whose vcpu has less credit.

A domain with a cap has a budget for each period, which its vcpus use up together.  A vcpu of a domain without budget is
parked; a period that begins fills the budget up, less what was overdrawn, and parked vcpus wait again.

Decisions take O(log vcpus), and O(domains that are parked).  A vcpu runs on any pcpu.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc

from xenia.sched.policy cimport (
    DEFAULT_WEIGHT, NO_PCPU, SCHED_ASLEEP, SCHED_PARKED, SCHED_RUNNING, SCHED_WAITING, Choice, Policy, SchedDomain,
    SchedVcpu,
)

cdef enum:
    GIFT = 10_000_000           # ns of a vcpu alone in a domain of the default weight
    CARRIED_OVER = 500_000      # that a vcpu may have above a gift
    LEAST_SLICE_NS = 1_000_000  # Xen's ratelimit_us
    LONGEST_SLICE_NS = 10_000_000
    SHORTEST_SLICE_NS = 10_000  # of what is left of a budget
    PERIOD_NS = 10_000_000      # of budgets


cdef bint credit_init(CreditPolicy *policy, uint32_t nr_pcpus) noexcept nogil:
    policy.ops = Policy(credit_add, credit_remove, credit_wake, credit_sleep, credit_pick)
    policy.nr_pcpus = nr_pcpus
    policy.queue = NULL
    policy.nr_queued = policy.nr_vcpus = policy.room = 0
    policy.given = 0
    policy.turns = 0
    policy.parked = NULL
    policy.running = <SchedVcpu **>calloc(nr_pcpus, sizeof(SchedVcpu *))
    policy.poked = <uint8_t *>calloc(nr_pcpus, 1)
    return policy.running != NULL and policy.poked != NULL


cdef void credit_free(CreditPolicy *policy) noexcept nogil:
    free(policy.running)
    free(policy.poked)
    free(policy.queue)


# --- credit


cdef inline int64_t credit(CreditPolicy *policy, SchedVcpu *vcpu) noexcept nogil:
    return vcpu.credit + policy.given


cdef inline int64_t price(SchedVcpu *vcpu) noexcept nogil:
    # Credit for DEFAULT_WEIGHT ns, weighed.
    return max(vcpu.domain.active, <uint32_t>1) * <int64_t>DEFAULT_WEIGHT


cdef inline int64_t weight(SchedVcpu *vcpu) noexcept nogil:
    return max(vcpu.domain.weight, <uint32_t>1)


cdef void pay(SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    cdef int64_t ran = <int64_t>(now - vcpu.since) if now > vcpu.since else 0
    vcpu.since = now
    vcpu.credit -= ran * price(vcpu) // weight(vcpu)
    if vcpu.domain.cap:
        vcpu.domain.budget -= ran


cdef inline void keep_no_more_than_a_gift(CreditPolicy *policy, SchedVcpu *vcpu) noexcept nogil:
    if credit(policy, vcpu) > GIFT + CARRIED_OVER:
        vcpu.credit = GIFT + CARRIED_OVER - policy.given


# --- who waits: a binary heap


cdef inline bint before(SchedVcpu *one, SchedVcpu *other) noexcept nogil:
    return one.credit > other.credit or one.credit == other.credit and one.turn < other.turn


cdef inline void put(CreditPolicy *policy, SchedVcpu *vcpu, uint32_t place) noexcept nogil:
    policy.queue[place] = vcpu
    vcpu.place = place


cdef void rise(CreditPolicy *policy, SchedVcpu *vcpu, uint32_t place) noexcept nogil:
    while place and before(vcpu, policy.queue[(place - 1) // 2]):
        put(policy, policy.queue[(place - 1) // 2], place)
        place = (place - 1) // 2
    put(policy, vcpu, place)


cdef void sink(CreditPolicy *policy, SchedVcpu *vcpu, uint32_t place) noexcept nogil:
    cdef uint32_t child = 2 * place + 1
    while child < policy.nr_queued:
        if child + 1 < policy.nr_queued and before(policy.queue[child + 1], policy.queue[child]):
            child += 1
        if before(vcpu, policy.queue[child]):
            break
        put(policy, policy.queue[child], place)
        place = child
        child = 2 * place + 1
    put(policy, vcpu, place)


cdef void enqueue(CreditPolicy *policy, SchedVcpu *vcpu) noexcept nogil:
    vcpu.state = SCHED_WAITING
    vcpu.pcpu = NO_PCPU
    vcpu.turn = policy.turns
    policy.turns += 1
    policy.nr_queued += 1
    rise(policy, vcpu, policy.nr_queued - 1)


cdef void dequeue(CreditPolicy *policy, SchedVcpu *vcpu) noexcept nogil:
    cdef uint32_t place = vcpu.place
    cdef SchedVcpu *last
    policy.nr_queued -= 1
    last = policy.queue[policy.nr_queued]
    if last == vcpu:
        return
    if before(last, vcpu):
        rise(policy, last, place)
    else:
        sink(policy, last, place)


# --- caps


cdef inline int64_t whole_budget(SchedDomain *domain) noexcept nogil:
    return <int64_t>domain.cap * (PERIOD_NS // 100)


cdef void refill(SchedDomain *domain, uint64_t now) noexcept nogil:
    cdef int64_t periods
    if now < domain.refill_at:
        return
    periods = 1 + <int64_t>((now - domain.refill_at) // PERIOD_NS)
    domain.budget = min(domain.budget + periods * whole_budget(domain), whole_budget(domain))
    domain.refill_at += periods * PERIOD_NS


cdef bint within_cap(SchedDomain *domain, uint64_t now) noexcept nogil:
    if domain.cap == 0:
        return True
    refill(domain, now)
    return domain.budget > 0


cdef void park(CreditPolicy *policy, SchedVcpu *vcpu) noexcept nogil:
    cdef SchedDomain *domain = vcpu.domain
    if domain.parked == NULL:
        domain.next_parked = policy.parked
        policy.parked = domain
    vcpu.state = SCHED_PARKED
    vcpu.pcpu = NO_PCPU
    vcpu.next_parked = domain.parked
    domain.parked = vcpu


cdef void unpark(CreditPolicy *policy, SchedVcpu *vcpu) noexcept nogil:
    # One that sleeps or goes.
    cdef SchedVcpu **link = &vcpu.domain.parked
    cdef SchedDomain **domains = &policy.parked
    while link[0] != vcpu:
        link = &link[0].next_parked
    link[0] = vcpu.next_parked
    if vcpu.domain.parked == NULL:
        while domains[0] != vcpu.domain:
            domains = &domains[0].next_parked
        domains[0] = vcpu.domain.next_parked


cdef uint64_t unpark_all(CreditPolicy *policy, uint64_t now) noexcept nogil:
    # Those whose domain has budget again.  When the next of the others will, 0 never.
    cdef SchedDomain **link = &policy.parked
    cdef SchedDomain *domain
    cdef SchedVcpu *vcpu
    cdef uint64_t soonest = 0
    while link[0] != NULL:
        domain = link[0]
        if not within_cap(domain, now):
            if soonest == 0 or domain.refill_at < soonest:
                soonest = domain.refill_at
            link = &domain.next_parked
            continue
        link[0] = domain.next_parked
        while domain.parked != NULL:
            vcpu = domain.parked
            domain.parked = vcpu.next_parked
            keep_no_more_than_a_gift(policy, vcpu)
            enqueue(policy, vcpu)
    return soonest


# --- the policy


cdef bint credit_add(Policy *ops, SchedVcpu *vcpu) noexcept nogil:
    cdef CreditPolicy *policy = <CreditPolicy *>ops
    cdef SchedVcpu **queue
    if policy.nr_vcpus == policy.room:
        queue = <SchedVcpu **>realloc(policy.queue, (2 * policy.room + 16) * sizeof(SchedVcpu *))
        if queue == NULL:
            return False
        policy.queue = queue
        policy.room = 2 * policy.room + 16
    policy.nr_vcpus += 1
    vcpu.state = SCHED_ASLEEP
    vcpu.pcpu = NO_PCPU
    vcpu.credit = GIFT - policy.given
    return True


cdef void credit_remove(Policy *ops, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    credit_sleep(ops, vcpu, now)
    (<CreditPolicy *>ops).nr_vcpus -= 1


cdef int credit_wake(Policy *ops, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    cdef CreditPolicy *policy = <CreditPolicy *>ops
    cdef int pcpu
    if vcpu.state != SCHED_ASLEEP:
        return NO_PCPU
    if policy.nr_queued == 0:
        forgive(policy, now)
    vcpu.domain.active += 1
    keep_no_more_than_a_gift(policy, vcpu)
    enqueue(policy, vcpu)
    pcpu = worst(policy, now)
    if pcpu == NO_PCPU or policy.running[pcpu] != NULL and policy.running[pcpu].credit >= vcpu.credit:
        return NO_PCPU
    policy.poked[pcpu] = 1
    return pcpu


cdef void forgive(CreditPolicy *policy, uint64_t now) noexcept nogil:
    # Who ran while nobody waited owes nothing to who comes now.
    cdef SchedVcpu *vcpu
    cdef uint32_t pcpu
    for pcpu in range(policy.nr_pcpus):
        vcpu = policy.running[pcpu]
        if vcpu != NULL:
            pay(vcpu, now)
            give(policy, vcpu)
    for pcpu in range(policy.nr_pcpus):
        if policy.running[pcpu] != NULL:
            keep_no_more_than_a_gift(policy, policy.running[pcpu])


cdef int worst(CreditPolicy *policy, uint64_t now) noexcept nogil:
    # The pcpu that would lose least by choosing anew, of those that will not anyway: an idle one, or the one with the
    # poorest vcpu.
    cdef SchedVcpu *vcpu
    cdef int found = NO_PCPU
    cdef uint32_t pcpu
    for pcpu in range(policy.nr_pcpus):
        vcpu = policy.running[pcpu]
        if policy.poked[pcpu]:
            continue
        if vcpu == NULL:
            return pcpu
        pay(vcpu, now)
        if found == NO_PCPU or vcpu.credit < policy.running[found].credit:
            found = pcpu
    return found


cdef void credit_sleep(Policy *ops, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    cdef CreditPolicy *policy = <CreditPolicy *>ops
    if vcpu.state == SCHED_ASLEEP:
        return
    if vcpu.state == SCHED_RUNNING:
        pay(vcpu, now)
        policy.running[vcpu.pcpu] = NULL
    elif vcpu.state == SCHED_WAITING:
        dequeue(policy, vcpu)
    else:
        unpark(policy, vcpu)
    vcpu.state = SCHED_ASLEEP
    vcpu.pcpu = NO_PCPU
    vcpu.domain.active -= 1


cdef Choice credit_pick(Policy *ops, uint32_t pcpu, uint64_t now) noexcept nogil:
    cdef CreditPolicy *policy = <CreditPolicy *>ops
    cdef SchedVcpu *vcpu = policy.running[pcpu]
    cdef uint64_t soonest = unpark_all(policy, now)
    cdef Choice choice
    policy.poked[pcpu] = 0
    if vcpu != NULL:
        pay(vcpu, now)
        keep_no_more_than_a_gift(policy, vcpu)
        if not within_cap(vcpu.domain, now) or now - vcpu.entered >= LEAST_SLICE_NS:
            policy.running[pcpu] = NULL
            enqueue(policy, vcpu)
            vcpu = best(policy, now)
    else:
        vcpu = best(policy, now)
    if vcpu != NULL and policy.running[pcpu] != vcpu:
        policy.running[pcpu] = vcpu
        vcpu.state = SCHED_RUNNING
        vcpu.pcpu = pcpu
        vcpu.since = vcpu.entered = now
        give(policy, vcpu)
    if policy.parked != NULL:
        soonest = unpark_all(policy, now)
    choice.vcpu = vcpu
    choice.poke = idle_one(policy) if policy.nr_queued else NO_PCPU
    choice.slice_ns = slice_of(policy, vcpu, now) if vcpu != NULL else 0
    if soonest and (choice.slice_ns == 0 or soonest - now < choice.slice_ns):
        choice.slice_ns = soonest - now
    return choice


cdef int idle_one(CreditPolicy *policy) noexcept nogil:
    # For who was pushed off a pcpu, or parked together with another.
    cdef uint32_t pcpu
    for pcpu in range(policy.nr_pcpus):
        if policy.running[pcpu] == NULL and not policy.poked[pcpu]:
            policy.poked[pcpu] = 1
            return pcpu
    return NO_PCPU


cdef SchedVcpu *best(CreditPolicy *policy, uint64_t now) noexcept nogil:
    # Whoever has most credit and may run, taken out of the queue.
    cdef SchedVcpu *vcpu
    while policy.nr_queued:
        vcpu = policy.queue[0]
        dequeue(policy, vcpu)
        if within_cap(vcpu.domain, now):
            return vcpu
        park(policy, vcpu)
    return NULL


cdef void give(CreditPolicy *policy, SchedVcpu *richest) noexcept nogil:
    if credit(policy, richest) <= 0:
        policy.given += (1 - credit(policy, richest) // GIFT) * <int64_t>GIFT


cdef uint64_t slice_of(CreditPolicy *policy, SchedVcpu *vcpu, uint64_t now) noexcept nogil:
    # Until it has less credit than who waits next; for a domain with a cap, until its budget is gone.
    cdef int64_t slice_ns = 0
    cdef int64_t left
    if policy.nr_queued:
        slice_ns = (vcpu.credit - policy.queue[0].credit) * weight(vcpu) // price(vcpu)
        left = <int64_t>LEAST_SLICE_NS - <int64_t>(now - vcpu.entered)
        slice_ns = min(max(slice_ns, left, <int64_t>1), <int64_t>LONGEST_SLICE_NS)
    if vcpu.domain.cap:
        left = max(vcpu.domain.budget // min(vcpu.domain.active, policy.nr_pcpus), <int64_t>SHORTEST_SLICE_NS)
        slice_ns = min(slice_ns, left) if slice_ns else left
    return slice_ns
