"""A pcpu: a host thread with a timer and a way to wake it, which runs the vcpus that a policy picks.

Theory of operation.  The loop looks at each of its vcpus (what others left for it, which timers have run out, whether
it can run), tells the policy of those that woke or fell asleep, and lets it pick.  The one that is picked is entered;
nearly all its exits are answered where they are understood (domain/pv/exits), so that the guest goes on without coming
back here.  It comes back for what needs the world outside: the guest blocks, shuts down, crashes, or somebody kicked
it.  Where nobody is picked, the thread waits.

A kick has two halves: `vcpu.preempt`, which the loop clears before it looks at what there is to do, and the
processor's own stop request, which is obeyed at the next translated block and is never forgotten.  In that order, a
request that arrives at any moment is either seen by the loop or ends the next entry at once.

The alarm kicks whoever runs when the first deadline of any of the vcpus has come, or the slice that the policy gave is
over.  While nobody runs, no alarm is needed: the loop itself waits, for the deadline or for somebody to write to
`wake_fd`; and for what others have to wait for and left to it, as an errand (machine/errand).

The loop has the turn of the domain at whose vcpus it looks (domain/turn), and none while it waits or the guest runs.

Today a pcpu comes and goes with a vcpu and runs it under the null policy: the host's scheduler shares the processors
out.  What is missing for vcpus that share a pcpu is a kick that reaches who runs, not whom it is meant for.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t

from xenia.cpu.processor cimport LEAVE, RESUME
from xenia.domain.clock cimport RUNSTATE_blocked, RUNSTATE_offline, RUNSTATE_runnable, RUNSTATE_running
from xenia.domain.domain cimport SHUTDOWN_NONE, SHUTDOWN_suspend, Domain, Vcpu
from xenia.domain.events cimport events_apply_mailbox
from xenia.domain.lifecycle cimport domain_shutdown
from xenia.domain.pv.traps cimport deliver_pending
from xenia.domain.sleep cimport domain_idle, sleeps_for_good
from xenia.domain.time cimport (
    clock_warp_to, domain_timers_next, runstate_change, system_time, time_update, timers_fire, timers_next,
)
from xenia.domain.turn cimport turn_drop, turn_hold
from xenia.domain.upcall cimport events_pending, vcpu_nudge, vcpu_unblock, vcpu_wake
from xenia.domain.written cimport written_apply
from xenia.hypervisor.alarm cimport alarm_close, alarm_create, alarm_set
from xenia.machine.atomic cimport flag_store
from xenia.machine.errand cimport Sleeper, errands_begin, errands_end, sleeper_init
from xenia.machine.waiting cimport sleep_for, wait_for, waiting_init
from xenia.sched.policy cimport DEFAULT_WEIGHT, SCHED_ASLEEP, Choice

cdef extern from "<sys/eventfd.h>" nogil:
    int EFD_CLOEXEC, EFD_NONBLOCK
    int eventfd(unsigned int value, int flags)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    long read(int fd, void *buffer, size_t count)
    long write(int fd, const void *buffer, size_t count)


cdef int pcpu_create(Pcpu *pcpu, Policy *policy, uint32_t id) noexcept nogil:
    pcpu.policy = policy
    pcpu.id = id
    cdef int rc = alarm_create(&pcpu.alarm, ring, pcpu)
    pcpu.wake_fd = -1
    waiting_init(&pcpu.waiting)
    if rc == 0:
        pcpu.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        rc = errno if pcpu.wake_fd < 0 else 0
    return rc


cdef void pcpu_close(Pcpu *pcpu) noexcept nogil:
    alarm_close(&pcpu.alarm)
    if pcpu.wake_fd >= 0:
        close(pcpu.wake_fd)
        pcpu.wake_fd = -1


cdef bint pcpu_seat(Pcpu *pcpu, Seat *seat, Vcpu *vcpu) noexcept nogil:
    seat.vcpu = vcpu
    seat.domain.weight = DEFAULT_WEIGHT
    seat.sched.domain = &seat.domain
    seat.sched.owner = seat
    if not pcpu.policy.add(pcpu.policy, &seat.sched):
        return False
    seat.next = pcpu.seats
    pcpu.seats = seat
    pcpu.entered = vcpu
    vcpu.wake = poke
    vcpu.wake_argument = pcpu
    return True


cdef void ring(void *opaque) noexcept nogil:
    vcpu_nudge((<Pcpu *>opaque).entered)


cdef void poke(void *opaque) noexcept nogil:
    cdef uint64_t one = 1
    write((<Pcpu *>opaque).wake_fd, &one, 8)


cdef void domain_wake(Domain *domain) noexcept nogil:
    cdef uint32_t id
    for id in range(domain.nr_vcpus):
        vcpu_nudge(domain.vcpus[id])
        vcpu_wake(domain.vcpus[id])


cdef void pcpu_run(Pcpu *pcpu) noexcept nogil:
    cdef Seat *seat = pcpu.seats
    cdef Choice choice
    pcpu.alarm_at = 0
    pcpu.alarm_of = NULL
    while seat != NULL:
        turn_hold(seat.vcpu)
        time_update(seat.vcpu)
        turn_drop(seat.vcpu)
        seat = seat.next
    while look_round(pcpu):
        choice = pcpu.policy.pick(pcpu.policy, pcpu.id, pcpu.now)
        if choice.vcpu != NULL:
            enter(pcpu, <Seat *>choice.vcpu.owner, choice.slice_ns)
        else:
            idle(pcpu, choice.slice_ns)


cdef bint look_round(Pcpu *pcpu) noexcept nogil:
    # Whether there is still somebody here.
    cdef Seat **link = &pcpu.seats
    cdef Seat *seat
    while link[0] != NULL:
        seat = link[0]
        turn_hold(seat.vcpu)
        if look_at(pcpu, seat):
            link = &seat.next
        else:
            link[0] = seat.next
            leave(pcpu, seat)
        turn_drop(seat.vcpu)
    return pcpu.seats != NULL


cdef bint look_at(Pcpu *pcpu, Seat *seat) noexcept nogil:
    # Whether it stays.
    cdef Vcpu *vcpu = seat.vcpu
    cdef Domain *domain = vcpu.domain
    flag_store(&vcpu.preempt, 0)
    if domain.links.stop or domain.life.shutdown != SHUTDOWN_NONE:
        return False
    if domain.links.paused:
        rest(pcpu, seat)
        return True
    if domain.written.nr:
        written_apply(domain)
    if domain.links.mailbox_any:
        events_apply_mailbox(domain)
    vcpu.yielded = 0
    seat.now = system_time(domain)
    pcpu.now = max(pcpu.now, domain.clock.host_base + seat.now - domain.clock.warp)
    timers_fire(vcpu, seat.now)
    if vcpu.blocked and (events_pending(vcpu) or vcpu.traps.nmi_pending):
        vcpu_unblock(vcpu)
    if vcpu.is_up and not vcpu.blocked:
        if seat.sched.state == SCHED_ASLEEP:
            pcpu.policy.wake(pcpu.policy, &seat.sched, pcpu.now)
        return True
    if seat.sched.state != SCHED_ASLEEP:
        pcpu.policy.sleep(pcpu.policy, &seat.sched, pcpu.now)
    return fall_asleep(seat)


cdef void rest(Pcpu *pcpu, Seat *seat) noexcept nogil:
    # Its domain is paused: whatever happens to it waits.
    cdef Vcpu *vcpu = seat.vcpu
    cdef int state = RUNSTATE_blocked if vcpu.is_up and vcpu.blocked else RUNSTATE_offline
    if seat.sched.state != SCHED_ASLEEP:
        pcpu.policy.sleep(pcpu.policy, &seat.sched, pcpu.now)
    if vcpu.runstate.state != state:
        runstate_change(vcpu, state, system_time(vcpu.domain))


cdef bint fall_asleep(Seat *seat) noexcept nogil:
    # False: for good.
    cdef Vcpu *vcpu = seat.vcpu
    cdef int state = RUNSTATE_blocked if vcpu.is_up else RUNSTATE_offline
    if vcpu.runstate.state != state:
        runstate_change(vcpu, state, seat.now)
    if domain_idle(vcpu.domain) and sleeps_for_good(vcpu.domain, seat.now, domain_timers_next(vcpu.domain)):
        vcpu.domain.life.halted = 1
        domain_shutdown(vcpu.domain, SHUTDOWN_suspend)
        return False
    return True


cdef void leave(Pcpu *pcpu, Seat *seat) noexcept nogil:
    cdef Domain *domain = seat.vcpu.domain
    pcpu.policy.remove(pcpu.policy, &seat.sched, pcpu.now)
    runstate_change(seat.vcpu, RUNSTATE_offline if domain.life.shutdown != SHUTDOWN_NONE else RUNSTATE_runnable,
                    system_time(domain))


cdef void enter(Pcpu *pcpu, Seat *seat, uint64_t slice_ns) noexcept nogil:
    cdef Vcpu *vcpu = seat.vcpu
    cdef int verdict
    turn_hold(vcpu)
    if vcpu.runstate.state != RUNSTATE_running:
        runstate_change(vcpu, RUNSTATE_running, seat.now)
    verdict = deliver_pending(vcpu)
    if verdict == RESUME and seat.check != NULL and seat.check(seat.check_argument):
        vcpu.domain.links.stop = 1
        verdict = LEAVE
    turn_drop(vcpu)
    if verdict == LEAVE:
        return
    pcpu.entered = vcpu
    set_alarm(pcpu, seat, slice_ns)
    pcpu.nr_entries += 1
    vcpu.processor.ops.run(vcpu.processor)


cdef Seat *first_due(Pcpu *pcpu, uint64_t *deadline, uint64_t *wait) noexcept nogil:
    # Whose timer runs out first: at `deadline` of its domain, in `wait` ns.  NULL: nobody's.
    cdef Seat *seat = pcpu.seats
    cdef Seat *first = NULL
    cdef uint64_t when, left
    deadline[0] = wait[0] = 0
    while seat != NULL:
        when = 0 if seat.vcpu.domain.links.paused else timers_next(seat.vcpu)
        left = when - seat.now if when > seat.now else 0
        if when and (first == NULL or left < wait[0]):
            first = seat
            deadline[0] = when
            wait[0] = left
        seat = seat.next
    return first


cdef void set_alarm(Pcpu *pcpu, Seat *seat, uint64_t slice_ns) noexcept nogil:
    cdef uint64_t deadline, wait
    cdef Seat *due = first_due(pcpu, &deadline, &wait)
    if slice_ns and (due == NULL or wait > slice_ns):
        due = seat
        wait = slice_ns
        deadline = seat.now + slice_ns
    if deadline == pcpu.alarm_at and due == pcpu.alarm_of:
        return
    pcpu.alarm_at = deadline
    pcpu.alarm_of = due
    alarm_set(&pcpu.alarm, 0 if due == NULL else wait if wait else 1)


cdef void idle(Pcpu *pcpu, uint64_t slice_ns) noexcept nogil:
    # Wait for a deadline or a wake-up; with warped time, jump to the deadline unless a wake-up is there already.
    cdef uint64_t deadline, wait, drained
    cdef Seat *due = first_due(pcpu, &deadline, &wait)
    cdef Vcpu *warped = one_to_warp(pcpu)
    cdef Sleeper sleeper
    cdef Seat *seat = pcpu.seats
    cdef int64_t left
    cdef bint woken
    pcpu.nr_idle += 1
    if slice_ns and (due == NULL or wait > slice_ns):
        wait = slice_ns
    sleeper_init(&sleeper, pcpu.wake_fd)
    while seat != NULL and warped == NULL:
        errands_begin(&seat.vcpu.domain.links.errands, &sleeper)
        seat = seat.next
    left = 0 if warped != NULL else <int64_t>wait if due != NULL or slice_ns else -1
    if sleeper.nr_begun:
        woken = wait_for(&pcpu.waiting, sleeper.polls, sleeper.nr_polls, left) > 0
    else:
        woken = sleep_for(sleeper.polls, sleeper.nr_polls, left) > 0
    errands_end(&sleeper)
    if woken:
        # After the errands, of which what comes for the vcpus wakes this thread too.
        read(pcpu.wake_fd, &drained, 8)
    elif warped != NULL:
        warp(warped)


cdef Vcpu *one_to_warp(Pcpu *pcpu) noexcept nogil:
    # A vcpu of a domain whose time jumps: nobody there has anything to do before a timer that is still to come.
    cdef Seat *seat = pcpu.seats
    cdef Vcpu *found = NULL
    cdef Domain *domain
    while seat != NULL and found == NULL:
        domain = seat.vcpu.domain
        if domain.clock.warped and not domain.links.paused:
            turn_hold(seat.vcpu)
            if domain_idle(domain) and domain_timers_next(domain) > system_time(domain):
                found = seat.vcpu
            turn_drop(seat.vcpu)
        seat = seat.next
    return found


cdef void warp(Vcpu *vcpu) noexcept nogil:
    # To the first timer of all its domain's vcpus, unless one of them has something to do meanwhile.
    cdef Domain *domain = vcpu.domain
    cdef uint32_t id
    turn_hold(vcpu)
    if domain_idle(domain):
        clock_warp_to(domain, domain_timers_next(domain))
        for id in range(domain.nr_vcpus):
            if domain.vcpus[id] != vcpu:
                vcpu_wake(domain.vcpus[id])
    turn_drop(vcpu)
