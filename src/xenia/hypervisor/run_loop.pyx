"""The run loop: what one host thread does for one domain, from its first instruction to its end.

Theory of operation.  `run` enters the processor again and again.  Nearly all exits are answered where they are
understood (domain/pv/exits), so that the guest goes on without coming back here.  It comes back for what needs the
world outside: the guest blocks, shuts down, crashes, or somebody kicked it.

A kick has two halves: `domain.links.preempt`, which the loop clears before it looks at what there is to do, and the
processor's own stop request, which is obeyed at the next translated block and is never forgotten.  In that order, a
request that arrives at any moment is either seen by the loop or ends the next entry at once.

Timers: the earliest deadline of the vcpu is put into a timerfd; a thread of its own waits for it and kicks.  A blocked
vcpu needs no alarm: the loop itself waits, for the deadline or for somebody to write to `domain.links.wake_fd`.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from xenia.cpu.processor cimport LEAVE
from xenia.domain.clock cimport RUNSTATE_blocked, RUNSTATE_offline, RUNSTATE_runnable, RUNSTATE_running
from xenia.domain.domain cimport SHUTDOWN_NONE, SHUTDOWN_suspend, Domain, Vcpu
from xenia.domain.events cimport events_apply_mailbox, vcpu_nudge
from xenia.domain.lifecycle cimport domain_shutdown
from xenia.domain.sleep cimport sleeps_for_good
from xenia.domain.time cimport clock_warp_to, runstate_change, system_time, time_update, timers_fire, timers_next
from xenia.domain.pv.traps cimport deliver_pending
from xenia.domain.upcall cimport events_pending, vcpu_unblock
from xenia.domain.written cimport written_apply

cdef extern from "<sys/timerfd.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    struct itimerspec:
        timespec it_interval
        timespec it_value
    int timerfd_settime(int fd, int flags, const itimerspec *new, itimerspec *old)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    short POLLIN
    int ppoll(pollfd *fds, unsigned long count, const timespec *timeout, void *sigmask)

cdef extern from "<unistd.h>" nogil:
    long read(int fd, void *buffer, size_t count)
    long write(int fd, const void *buffer, size_t count)

cdef extern from *:
    """
    #define ATOMIC_SET(place, value) __atomic_store_n(&(place), (value), __ATOMIC_SEQ_CST)
    """
    void ATOMIC_SET(uint8_t place, uint8_t value) nogil

cdef enum:
    NS = 1000000000


cdef void run(RunLoop *loop) noexcept nogil:
    cdef Domain *domain = loop.domain
    cdef Vcpu *vcpu = domain.vcpus[0]
    cdef uint64_t now
    time_update(vcpu)
    while True:
        ATOMIC_SET(domain.links.preempt, 0)
        if domain.links.stop or domain.life.shutdown != SHUTDOWN_NONE:
            break
        if domain.written.nr:
            written_apply(domain)
        if domain.links.mailbox_any:
            events_apply_mailbox(domain)
        vcpu.yielded = 0
        now = system_time(domain)
        timers_fire(vcpu, now)
        if vcpu.blocked:
            if events_pending(vcpu) or vcpu.traps.nmi_pending:
                vcpu_unblock(vcpu)
            else:
                idle(loop, now)
                continue
        if vcpu.runstate.state != RUNSTATE_running:
            runstate_change(vcpu, RUNSTATE_running, now)
        if deliver_pending(vcpu) == LEAVE:
            continue
        set_alarm(loop, now)
        if loop.check != NULL and loop.check(loop.check_argument):
            break
        loop.nr_entries += 1
        vcpu.processor.ops.run(vcpu.processor)
    runstate_change(vcpu, RUNSTATE_offline if domain.life.shutdown != SHUTDOWN_NONE else RUNSTATE_runnable,
                    system_time(domain))


cdef void idle(RunLoop *loop, uint64_t now) noexcept nogil:
    # Wait for a deadline or a wake-up; with warped time, jump to the deadline unless a wake-up is there already.
    cdef Domain *domain = loop.domain
    cdef Vcpu *vcpu = domain.vcpus[0]
    cdef uint64_t deadline = timers_next(vcpu)
    cdef uint64_t wait = deadline - now if deadline > now else 0
    cdef uint64_t drained
    cdef timespec timeout
    cdef pollfd waiting
    loop.nr_idle += 1
    if vcpu.runstate.state != RUNSTATE_blocked:
        runstate_change(vcpu, RUNSTATE_blocked, now)
    if sleeps_for_good(vcpu, now, deadline):
        domain.life.halted = 1
        domain_shutdown(domain, SHUTDOWN_suspend)
        return
    if deadline and domain.clock.warped:
        wait = 0
    timeout.tv_sec = wait // NS
    timeout.tv_nsec = wait % NS
    waiting.fd = domain.links.wake_fd
    waiting.events = POLLIN
    waiting.revents = 0
    if ppoll(&waiting, 1, &timeout if deadline else NULL, NULL) > 0:
        read(domain.links.wake_fd, &drained, 8)
    elif deadline and domain.clock.warped:
        clock_warp_to(domain, deadline)


cdef void set_alarm(RunLoop *loop, uint64_t now) noexcept nogil:
    cdef Vcpu *vcpu = loop.domain.vcpus[0]
    cdef uint64_t deadline = timers_next(vcpu)
    cdef uint64_t wait
    cdef itimerspec setting
    if loop.slice_ns and (deadline == 0 or deadline > now + loop.slice_ns):
        deadline = now + loop.slice_ns
    if deadline == loop.alarm_at:
        return
    loop.alarm_at = deadline
    wait = deadline - now if deadline > now else 1
    if deadline == 0:
        wait = 0                    # disarm
    setting.it_interval.tv_sec = 0
    setting.it_interval.tv_nsec = 0
    setting.it_value.tv_sec = wait // NS
    setting.it_value.tv_nsec = wait % NS
    timerfd_settime(loop.alarm_fd, 0, &setting, NULL)


cdef void alarm_thread(RunLoop *loop) noexcept nogil:
    # Runs on a thread of its own until `stop` is set and the alarm rings once more.
    cdef Domain *domain = loop.domain
    cdef uint64_t rings
    while read(loop.alarm_fd, &rings, 8) == 8:
        if domain.links.stop or domain.life.shutdown != SHUTDOWN_NONE:
            return
        vcpu_nudge(domain.vcpus[0])


cdef void wake(Domain *domain) noexcept nogil:
    # From any thread: make run() look around soon, whether the vcpu runs or waits.
    cdef uint64_t one = 1
    cdef uint32_t id
    for id in range(domain.nr_vcpus):
        vcpu_nudge(domain.vcpus[id])
    write(domain.links.wake_fd, &one, 8)
