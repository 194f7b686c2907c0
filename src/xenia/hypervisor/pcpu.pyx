"""A pcpu: a host thread with a timer and a way to wake it, which runs the vcpus that a policy picks.

Theory of operation.  The loop lets the policy pick, and looks at the vcpu that it is given: what others left for its
domain, which of its timers have run out, whether it can run.  If so it is entered; nearly all its exits are answered
where they are understood (domain/pv/exits), so that the guest goes on without coming back here.  It comes back for what
needs the world outside: the guest blocks, shuts down, crashes, or somebody kicked it.  One that cannot run falls
asleep, and the policy picks again.  Where nobody is picked, the thread waits.

A kick has two halves: `vcpu.preempt`, which the loop clears before it looks at what there is to do, and the
processor's own stop request, which is obeyed at the next translated block and is never forgotten.  In that order, a
request that arrives at any moment is either seen by the loop or ends the next entry at once.

The alarm kicks whoever runs when its own first deadline has come, or that of somebody who sleeps here, or the slice
that the policy gave is over.  While nobody runs, no alarm is needed: the loop itself waits, for the deadline or for
somebody to write to `wake_fd`; and for what others have to wait for and left to the domain that ran here last, as an
errand (machine/errand): what comes of it is most likely for that one's vcpu, which then goes on here.

The loop has the turn of the domain at whose vcpu it looks (domain/turn), and none while it waits or the guest runs.

A vcpu's runstate is written where it changes: when it is entered, when it falls asleep, and when another is picked in
its place, unless somebody has its domain's turn at that moment.  That it could run since somebody woke it, or since it
was pushed off, is added when it is entered, or when somebody asks for its runstate before then (`Vcpu.waits_since`).
What was told once is not told otherwise later (`Runstate.told`).
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from xenia.cpu.processor cimport LEAVE
from xenia.domain.clock cimport (
    RUNSTATE_blocked, RUNSTATE_offline, RUNSTATE_runnable, RUNSTATE_running,
)
from xenia.domain.domain cimport SHUTDOWN_NONE, SHUTDOWN_suspend, Domain, Vcpu
from xenia.domain.events cimport events_apply_mailbox
from xenia.domain.lifecycle cimport domain_shutdown
from xenia.domain.pv.traps cimport deliver_pending
from xenia.domain.sleep cimport domain_idle, sleeps_for_good
from xenia.domain.time cimport (
    clock_warp_to, domain_timers_next, runnable_since, runstate_add, runstate_change, system_time, time_update,
    timers_fire, timers_next,
)
from xenia.domain.turn cimport turn_drop, turn_hold, turn_try
from xenia.domain.upcall cimport events_pending, vcpu_unblock, vcpu_wake
from xenia.domain.written cimport written_apply
from xenia.hypervisor.alarm cimport alarm_set
from xenia.hypervisor.pool cimport (
    Pool, Seat, domain_wake, pcpu_write, pool_poke, seat_leave, seat_sleep, stands, wake_due,
)
from xenia.machine.atomic cimport flag_read, flag_set, flag_store
from xenia.machine.clock cimport monotonic
from xenia.machine.errand cimport Errands, Sleeper, errands_begin, errands_end, sleeper_init
from xenia.machine.lock cimport condition_signal, condition_signal_and_unlock, lock, unlock
from xenia.machine.waiting cimport sleep_for, wait_for
from xenia.sched.policy cimport Choice

cdef extern from "<unistd.h>" nogil:
    long read(int fd, void *buffer, size_t count)

cdef enum:
    EARLY_NS = 5000     # an alarm that rings so much too soon will do

cdef enum Outcome:
    RUNS
    SLEEPS
    LEAVES


cdef void pcpu_run(Pcpu *pcpu) noexcept nogil:
    pcpu.alarm_at = 0
    while choose(pcpu):
        if pcpu.current != NULL:
            attend(pcpu, pcpu.current)
        else:
            idle(pcpu)
    lock(&pcpu.pool.lock)
    pcpu.current = NULL
    condition_signal_and_unlock(&pcpu.pool.changed, True, &pcpu.pool.lock)


cdef bint choose(Pcpu *pcpu) noexcept nogil:
    # False: the pool ends.
    cdef Pool *pool = pcpu.pool
    cdef Seat *before = pcpu.current
    cdef Pcpu *told
    cdef Choice choice
    cdef bint goes_on
    lock(&pool.lock)
    pcpu.idle = False
    if pcpu.errands != NULL:
        pcpu.errands = NULL
        if pool.nr_leaving:
            condition_signal(&pool.changed, True)
    pcpu.now = monotonic()
    wake_due(pcpu, pcpu.now)
    choice = pool.policy.pick(pool.policy, pcpu.id, pcpu.now)
    pcpu.current = <Seat *>choice.vcpu.owner if choice.vcpu != NULL else NULL
    if pcpu.current != before:
        change(pcpu, before)
    pcpu.choose_at = pcpu.now + choice.slice_ns if choice.slice_ns else 0
    if pcpu.due.nr and (pcpu.choose_at == 0 or pcpu.due.nodes[0].key < pcpu.choose_at):
        pcpu.choose_at = pcpu.due.nodes[0].key
    told = pool_poke(pool, choice.poke)
    goes_on = not pool.closing
    pcpu.idle = goes_on and pcpu.current == NULL
    if pcpu.idle:
        pcpu.errands = errands_of(pcpu)
    unlock(&pool.lock)
    pcpu_write(told)
    if pcpu.pushed_off != NULL:
        push_off(pcpu, pcpu.pushed_off)
    return goes_on


cdef inline Errands *errands_of(Pcpu *pcpu) noexcept nogil:
    if pcpu.last == NULL or pcpu.last.party.paused or pcpu.last.party.leaving:
        return NULL
    return &pcpu.last.vcpu.domain.links.errands


cdef void change(Pcpu *pcpu, Seat *before) noexcept nogil:
    # With the pool's lock: another one was picked.
    if before != NULL:
        before.ran += pcpu.now - before.since
        before.since = pcpu.now
        pcpu.pushed_off = before
    if pcpu.current != NULL:
        pcpu.current.waited_since = pcpu.current.since
        pcpu.current.since = pcpu.now


cdef void push_off(Pcpu *pcpu, Seat *seat) noexcept nogil:
    # Its runstate says that it waits, while it does: who looks at it next needs its turn for that.
    cdef uint64_t since
    if turn_try(seat.vcpu):
        since = runnable_since(seat.vcpu)
        if since:
            runstate_change(seat.vcpu, RUNSTATE_runnable, since)
        turn_drop(seat.vcpu)
    lock(&pcpu.pool.lock)
    pcpu.pushed_off = NULL
    if seat.party.leaving or seat.party.paused:
        condition_signal(&pcpu.pool.changed, True)
    unlock(&pcpu.pool.lock)


cdef void attend(Pcpu *pcpu, Seat *seat) noexcept nogil:
    # Look at who was picked, and run it if it can.
    cdef Vcpu *vcpu = seat.vcpu
    cdef int outcome
    cdef bint enters = False
    turn_hold(vcpu)
    outcome = look_at(seat)
    if outcome == RUNS:
        enters = begin(seat)
        seat.due_at = due_at(seat)
    seat.waited_since = 0
    turn_drop(vcpu)
    if enters:
        set_alarm(pcpu, seat)
        seat.nr_entries += 1
        vcpu.processor.ops.run(vcpu.processor)
        seat.sched.yields = vcpu.yielded
        if may_not_go_on(seat):
            turn_hold(vcpu)
            outcome = look_at(seat)
            turn_drop(vcpu)
    if outcome == SLEEPS:
        seat_sleep(pcpu, seat)
    elif outcome == LEAVES:
        vcpu.domain.links.stop = 1
        seat_leave(pcpu, seat)


cdef inline bint may_not_go_on(Seat *seat) noexcept nogil:
    cdef Vcpu *vcpu = seat.vcpu
    return (vcpu.blocked or not vcpu.is_up or vcpu.domain.links.stop or vcpu.domain.life.shutdown != SHUTDOWN_NONE
            or stands(seat))


cdef int look_at(Seat *seat) noexcept nogil:
    cdef Vcpu *vcpu = seat.vcpu
    cdef Domain *domain = vcpu.domain
    flag_store(&seat.woken, 0)
    flag_store(&vcpu.preempt, 0)
    seat.due_at = 0
    seat.looked_at = monotonic()     # before: a timer then rings too soon rather than too late
    seat.now = system_time(domain)
    if domain.links.stop or domain.life.shutdown != SHUTDOWN_NONE:
        runstate_change(vcpu, RUNSTATE_offline if domain.life.shutdown != SHUTDOWN_NONE else RUNSTATE_runnable,
                        seat.now)
        return LEAVES
    if stands(seat):
        if vcpu.is_up and not vcpu.blocked:
            runstate_change(vcpu, RUNSTATE_offline, seat.now)
        return SLEEPS
    if domain.written.nr:
        written_apply(domain)
    if domain.links.mailbox_any:
        events_apply_mailbox(domain)
    vcpu.yielded = 0
    timers_fire(vcpu, seat.now)
    if domain.life.shutdown != SHUTDOWN_NONE:
        return look_at(seat)
    if vcpu.blocked and (events_pending(vcpu) or vcpu.traps.nmi_pending):
        vcpu_unblock(vcpu)
    if vcpu.is_up and not vcpu.blocked:
        return RUNS
    return fall_asleep(seat)


cdef int fall_asleep(Seat *seat) noexcept nogil:
    cdef Vcpu *vcpu = seat.vcpu
    cdef Domain *domain = vcpu.domain
    cdef int state = RUNSTATE_blocked if vcpu.is_up else RUNSTATE_offline
    if vcpu.runstate.state != state:
        runstate_change(vcpu, state, seat.now)
    if domain_idle(domain):
        if sleeps_for_good(domain, seat.now, domain_timers_next(domain)):
            domain.life.halted = 1
            domain_shutdown(domain, SHUTDOWN_suspend)
            return look_at(seat)
        if domain.clock.warped and not flag_read(&seat.woken):
            warp(seat)
    seat.due_at = due_at(seat)
    return SLEEPS


cdef inline uint64_t due_at(Seat *seat) noexcept nogil:
    cdef uint64_t when = timers_next(seat.vcpu)
    return seat.looked_at + max(when, seat.now) - seat.now if when else 0


cdef void warp(Seat *seat) noexcept nogil:
    # To the first timer of all its domain's vcpus.
    cdef Domain *domain = seat.vcpu.domain
    cdef uint64_t deadline = domain_timers_next(domain)
    cdef uint32_t id
    if deadline <= seat.now:
        return
    clock_warp_to(domain, deadline)
    seat.now = deadline
    flag_set(&seat.woken)
    for id in range(domain.nr_vcpus):
        if domain.vcpus[id] != seat.vcpu:
            vcpu_wake(domain.vcpus[id])


cdef bint begin(Seat *seat) noexcept nogil:
    # Whether it is to be entered.
    cdef Vcpu *vcpu = seat.vcpu
    cdef Domain *domain = vcpu.domain
    cdef uint64_t since
    if seat.fresh:
        time_update(vcpu)
        seat.fresh = False
    if seat.waited_since:
        since = runnable_since(vcpu)
        if since:
            runstate_add(&vcpu.runstate, RUNSTATE_runnable, since)
    if vcpu.runstate.state != RUNSTATE_running:
        runstate_change(vcpu, RUNSTATE_running, seat.now)
    if deliver_pending(vcpu) == LEAVE:
        return False
    if seat.check != NULL and seat.check(seat.check_argument):
        domain.links.stop = 1
        domain_wake(domain)
        return False
    return True


cdef void set_alarm(Pcpu *pcpu, Seat *seat) noexcept nogil:
    # For the first of its own timers, those of others that sleep here, and the end of its slice.
    cdef uint64_t when = pcpu.choose_at
    cdef uint64_t now = seat.looked_at
    if seat.due_at and (when == 0 or seat.due_at < when):
        when = seat.due_at
    if when == 0 and pcpu.alarm_at == 0 or pcpu.alarm_at > now and pcpu.alarm_at <= when <= pcpu.alarm_at + EARLY_NS:
        return
    pcpu.alarm_at = when
    alarm_set(&pcpu.alarm, max(when, now + 1) - now if when else 0)


cdef void idle(Pcpu *pcpu) noexcept nogil:
    # Wait for a deadline or a wake-up, and do errands meanwhile.
    cdef Sleeper sleeper
    cdef uint64_t drained
    cdef int64_t left = -1
    cdef bint woken
    if pcpu.choose_at:
        left = <int64_t>(max(pcpu.choose_at, pcpu.now) - pcpu.now)
    sleeper_init(&sleeper, pcpu.wake_fd)
    if pcpu.errands != NULL:
        errands_begin(pcpu.errands, &sleeper)
    if sleeper.nr_begun:
        woken = wait_for(&pcpu.waiting, sleeper.polls, sleeper.nr_polls, left) > 0
    else:
        woken = sleep_for(sleeper.polls, sleeper.nr_polls, left) > 0
    # What the errands bring a vcpu that sleeps here need wake nobody: this thread looks for whom to run next.
    flag_store(&pcpu.idle, 0)
    errands_end(&sleeper)
    if woken and sleeper.polls[0].revents:
        read(pcpu.wake_fd, &drained, 8)
