"""A pool of pcpus, and who comes, goes, sleeps and wakes in it.

Theory of operation.  The pool's lock is what makes the calls of its policy exclude one another, and guards which vcpu
is where.  It is the innermost of all locks, and held for a moment: nothing below it waits.

A vcpu that is awake in its policy's eyes has something to look at, and the pcpu that is given it looks (pcpu.pyx): at
events that others left for its domain, at its timers, and whether it can run.  So whoever wakes a vcpu (`Vcpu.wake`)
need not know what for.  One that is about to fall asleep has cleared `woken` before it looked, and whoever wakes it
sets that first and takes the lock afterwards: either the sleeper sees it, and stays awake, or the waker sees that it is
asleep.

What the policy wants another pcpu to do is to choose anew.  A pcpu that waits is told by its wake_fd, mostly after
the lock has been let go of; one that runs somebody by a kick to that one's processor, which is never forgotten; one
that is between the two will come for the lock.

The timer of a vcpu that sleeps is in the heap of the pcpu on which it fell asleep, which sets its alarm, or ends its
wait, by the first of them.

A domain leaves when it has shut down or is to stop: each vcpu that runs when it looks at itself next, and the others
as soon as one has left, so that nobody need have a turn in order to go.
"""

from libc.errno cimport ENOMEM, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from xenia.domain.upcall cimport vcpu_nudge, vcpu_wake
from xenia.hypervisor.alarm cimport alarm_close, alarm_create
from xenia.machine.atomic cimport flag_read, flag_set
from xenia.machine.clock cimport monotonic
from xenia.machine.errand cimport Errands
from xenia.machine.lock cimport RANK_SCHED, condition_signal_and_unlock, condition_wait, lock, lock_init, unlock
from xenia.machine.waiting cimport waiting_init
from xenia.sched.heap cimport heap_add, heap_free, heap_remove, heap_room
from xenia.sched.policy cimport NO_PCPU, SCHED_ASLEEP, SCHED_PARKED, SCHED_RUNNING, SCHED_WAITING

cdef extern from "<sys/eventfd.h>" nogil:
    int EFD_CLOEXEC, EFD_NONBLOCK
    int eventfd(unsigned int value, int flags)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    long write(int fd, const void *buffer, size_t count)


# --- the pool


cdef int pool_create(Pool *pool, Policy *policy, uint32_t nr_pcpus) noexcept nogil:
    cdef Pcpu *pcpu
    cdef uint32_t id
    cdef int rc
    lock_init(&pool.lock, RANK_SCHED)
    pool.policy = policy
    pool.pcpus = <Pcpu *>calloc(nr_pcpus, sizeof(Pcpu))
    if pool.pcpus == NULL:
        return ENOMEM
    pool.nr_pcpus = nr_pcpus
    for id in range(nr_pcpus):
        pool.pcpus[id].alarm.fd = pool.pcpus[id].wake_fd = -1
    for id in range(nr_pcpus):
        pcpu = &pool.pcpus[id]
        pcpu.pool = pool
        pcpu.id = id
        waiting_init(&pcpu.waiting)
        rc = alarm_create(&pcpu.alarm, ring, pcpu)
        if rc:
            return rc
        pcpu.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if pcpu.wake_fd < 0:
            return errno
    return 0


cdef void pool_close(Pool *pool) noexcept nogil:
    cdef uint32_t id
    for id in range(pool.nr_pcpus):
        alarm_close(&pool.pcpus[id].alarm)
        heap_free(&pool.pcpus[id].due)
        if pool.pcpus[id].wake_fd >= 0:
            close(pool.pcpus[id].wake_fd)
    free(pool.pcpus)
    pool.pcpus = NULL
    pool.nr_pcpus = 0


cdef void pool_end(Pool *pool, bint broken) noexcept nogil:
    cdef uint32_t id
    lock(&pool.lock)
    pool.closing = True
    pool.broken = pool.broken or broken
    for id in range(pool.nr_pcpus):
        if pool.pcpus[id].current != NULL:
            vcpu_nudge(pool.pcpus[id].current.vcpu)
        pcpu_write(&pool.pcpus[id])
    condition_signal_and_unlock(&pool.changed, True, &pool.lock)


cdef void pcpu_write(Pcpu *pcpu) noexcept nogil:
    cdef uint64_t one = 1
    if pcpu != NULL:
        write(pcpu.wake_fd, &one, 8)


cdef void ring(void *opaque) noexcept nogil:
    # The alarm's: a timer or a slice has run out.
    cdef Pcpu *pcpu = <Pcpu *>opaque
    lock(&pcpu.pool.lock)
    if pcpu.current != NULL:
        vcpu_nudge(pcpu.current.vcpu)
    unlock(&pcpu.pool.lock)


cdef Pcpu *pool_poke(Pool *pool, int number) noexcept nogil:
    cdef Pcpu *pcpu
    if number == NO_PCPU:
        return NULL
    pcpu = &pool.pcpus[number]
    if flag_read(&pcpu.idle):
        pcpu.idle = False
        return pcpu
    if pcpu.current != NULL:
        vcpu_nudge(pcpu.current.vcpu)
    return NULL


# --- one vcpu


cdef inline void forget_due(Seat *seat) noexcept nogil:
    if seat.due_on != NULL:
        heap_remove(&seat.due_on.due, &seat.due)
        seat.due_on = NULL


cdef Pcpu *wake(Seat *seat, uint64_t now) noexcept nogil:
    # With the pool's lock.  Whom to write to.
    cdef Pool *pool = seat.party.pool
    if not seat.seated or stands(seat) or seat.sched.state != SCHED_ASLEEP:
        return NULL
    forget_due(seat)
    seat.since = now
    return pool_poke(pool, pool.policy.wake(pool.policy, &seat.sched, now))


cdef void seat_wake(void *opaque) noexcept nogil:
    # Vcpu.wake, from any thread.
    cdef Seat *seat = <Seat *>opaque
    cdef Pcpu *told
    flag_set(&seat.woken)
    lock(&seat.party.pool.lock)
    told = wake(seat, monotonic())
    unlock(&seat.party.pool.lock)
    pcpu_write(told)


cdef uint64_t waits_since(void *opaque) noexcept nogil:
    # Vcpu.waits_since.  Who was picked waits until it is looked at, which needs the turn.
    cdef Seat *seat = <Seat *>opaque
    cdef uint64_t since
    lock(&seat.party.pool.lock)
    if seat.seated and seat.sched.state in (SCHED_WAITING, SCHED_PARKED):
        since = seat.since
    else:
        since = seat.waited_since
    unlock(&seat.party.pool.lock)
    return since


cdef void wake_due(Pcpu *pcpu, uint64_t now) noexcept nogil:
    cdef Pcpu *told
    cdef Seat *seat
    while pcpu.due.nr and pcpu.due.nodes[0].key <= now:
        seat = <Seat *>pcpu.due.nodes[0].owner
        forget_due(seat)
        told = wake(seat, now)
        if told != pcpu:
            pcpu_write(told)


cdef void domain_wake(Domain *domain) noexcept nogil:
    cdef Pool *pool
    cdef uint32_t id
    for id in range(domain.nr_vcpus):
        vcpu_nudge(domain.vcpus[id])
        vcpu_wake(domain.vcpus[id])
    if domain.vcpus[0].wake == seat_wake:
        pool = (<Seat *>domain.vcpus[0].wake_argument).party.pool
        lock(&pool.lock)
        end_errands(pool, &domain.links.errands)
        unlock(&pool.lock)


cdef void domain_charge(Domain *domain, uint64_t ns) noexcept nogil:
    cdef Party *party
    cdef Pool *pool
    if domain.vcpus[0].wake != seat_wake:
        return
    party = (<Seat *>domain.vcpus[0].wake_argument).party
    pool = party.pool
    lock(&pool.lock)
    pcpu_write(pool_poke(pool, pool.policy.charge(pool.policy, &party.sched, ns)))
    unlock(&pool.lock)


cdef bint end_errands(Pool *pool, Errands *errands) noexcept nogil:
    # With the pool's lock: those who are about these are told to leave them.  Whether there are any.
    cdef uint32_t id
    cdef bint any = False
    for id in range(pool.nr_pcpus):
        if pool.pcpus[id].errands == errands:
            any = True
            pcpu_write(pool_poke(pool, id))
    return any


cdef void seat_sleep(Pcpu *pcpu, Seat *seat) noexcept nogil:
    cdef Pool *pool = pcpu.pool
    lock(&pool.lock)
    if flag_read(&seat.woken) and not stands(seat):
        unlock(&pool.lock)
        return
    fall_asleep(seat)
    pcpu.current = NULL
    pcpu.last = seat
    if seat.due_at and not stands(seat):
        seat.due.owner = seat
        seat.due_on = pcpu
        heap_add(&pcpu.due, &seat.due, seat.due_at)
    if seat.party.leaving or seat.party.paused:
        condition_signal_and_unlock(&pool.changed, True, &pool.lock)
    else:
        unlock(&pool.lock)


cdef void fall_asleep(Seat *seat) noexcept nogil:
    cdef Policy *policy = seat.party.pool.policy
    cdef uint64_t now = monotonic()
    if seat.sched.state == SCHED_RUNNING:
        seat.ran += now - seat.since
    seat.since = now
    seat.nr_idle += 1
    policy.sleep(policy, &seat.sched, now)


cdef void seat_leave(Pcpu *pcpu, Seat *seat) noexcept nogil:
    lock(&pcpu.pool.lock)
    pcpu.current = NULL
    leave(seat)
    condition_signal_and_unlock(&pcpu.pool.changed, True, &pcpu.pool.lock)


cdef void leave(Seat *seat) noexcept nogil:
    cdef Policy *policy = seat.party.pool.policy
    cdef uint32_t id
    for id in range(seat.party.pool.nr_pcpus):
        if seat.party.pool.pcpus[id].last == seat:
            seat.party.pool.pcpus[id].last = NULL
    forget_due(seat)
    if seat.sched.state != SCHED_ASLEEP:
        fall_asleep(seat)
    policy.remove(policy, &seat.sched, seat.since)
    seat.seated = False
    seat.party.nr_seated -= 1


cdef int seat_move(Seat *seat, const PcpuMask *hard, const PcpuMask *soft) noexcept nogil:
    cdef Pool *pool = seat.party.pool
    cdef Pcpu *told = NULL
    cdef int pcpu = NO_PCPU
    lock(&pool.lock)
    if seat.seated:
        pcpu = pool.policy.move(pool.policy, &seat.sched, hard, soft, monotonic())
        if pcpu >= NO_PCPU:
            told = pool_poke(pool, pcpu)
    else:
        seat.sched.hard = hard[0]
        seat.sched.soft = soft[0]
    unlock(&pool.lock)
    pcpu_write(told)
    return min(pcpu, 0) if pcpu != NO_PCPU else 0


# --- the vcpus of a domain


cdef void party_begin(Party *party, Pool *pool, Domain *domain) noexcept nogil:
    cdef Seat *seat
    cdef uint32_t id
    party.pool = pool
    party.leaving = False
    for id in range(party.nr):
        seat = &party.seats[id]
        seat.vcpu = domain.vcpus[id]
        seat.party = party
        seat.sched.domain = &party.sched
        seat.sched.owner = seat
        seat.fresh = True


cdef bint party_enter(Party *party) noexcept nogil:
    cdef Pool *pool = party.pool
    cdef Seat *seat
    cdef uint32_t id
    cdef bint done
    lock(&pool.lock)
    done = not pool.broken and room_for(pool, party)
    for id in range(party.nr):
        seat = &party.seats[id]
        done = done and pool.policy.add(pool.policy, &seat.sched)
        if done:
            seat.seated = True
            party.nr_seated += 1
    party.next = pool.parties
    pool.parties = party
    unlock(&pool.lock)
    if not done:
        party_leave(party)
        party_wait(party)
        return False
    for id in range(party.nr):
        seat = &party.seats[id]
        seat.vcpu.wake_argument = seat
        seat.vcpu.waits_since = waits_since
        seat.vcpu.wake = seat_wake
        seat_wake(seat)
    return True


cdef bint room_for(Pool *pool, Party *party) noexcept nogil:
    # Every pcpu has room for the timers of all vcpus.
    cdef Party *other = pool.parties
    cdef uint32_t id, nr = party.nr
    while other != NULL:
        nr += other.nr
        other = other.next
    for id in range(pool.nr_pcpus):
        if not heap_room(&pool.pcpus[id].due, nr):
            return False
    return True


cdef uint32_t withdraw(Party *party, bint for_good) noexcept nogil:
    # With the pool's lock: those that no pcpu has leave, or fall asleep; the others are told to look.  How many pcpus
    # have to do with them.
    cdef Pool *pool = party.pool
    cdef uint32_t id, nr = 0
    cdef Seat *seat
    for id in range(party.nr):
        seat = &party.seats[id]
        if not seat.seated:
            continue
        if seat.sched.state == SCHED_RUNNING and pool.pcpus[seat.sched.pcpu].current == seat:
            nr += 1
            vcpu_nudge(seat.vcpu)
        elif for_good:
            leave(seat)
        elif seat.sched.state != SCHED_ASLEEP:
            fall_asleep(seat)
    for id in range(pool.nr_pcpus):
        nr += pool.pcpus[id].pushed_off != NULL and pool.pcpus[id].pushed_off.party == party
    return nr


cdef void party_nudge(Party *party) noexcept nogil:
    cdef uint32_t id
    for id in range(party.nr):
        if party.seats[id].sched.state == SCHED_RUNNING:
            vcpu_nudge(party.seats[id].vcpu)


cdef void party_leave(Party *party) noexcept nogil:
    lock(&party.pool.lock)
    party.leaving = True
    condition_signal_and_unlock(&party.pool.changed, True, &party.pool.lock)


cdef void party_wait(Party *party) noexcept nogil:
    cdef Pool *pool = party.pool
    cdef Party **link = &pool.parties
    lock(&pool.lock)
    while party.nr_seated == party.nr and not (party.leaving or pool.broken):
        condition_wait(&pool.changed, &pool.lock)
    party.leaving = True
    pool.nr_leaving += 1
    while withdraw(party, True) or end_errands(pool, &party.seats[0].vcpu.domain.links.errands):
        condition_wait(&pool.changed, &pool.lock)
    pool.nr_leaving -= 1
    while link[0] != party:
        link = &link[0].next
    link[0] = party.next
    unlock(&pool.lock)


cdef void party_pause(Party *party) noexcept nogil:
    lock(&party.pool.lock)
    party.paused = True
    while party.paused and withdraw(party, False):
        condition_wait(&party.pool.changed, &party.pool.lock)
    unlock(&party.pool.lock)


cdef void party_unpause(Party *party) noexcept nogil:
    cdef uint32_t id
    lock(&party.pool.lock)
    party.paused = False
    condition_signal_and_unlock(&party.pool.changed, True, &party.pool.lock)
    for id in range(party.nr):
        seat_wake(&party.seats[id])
