"""Stubs: processes in which user code of a guest runs on the host's processor, as Xenia sees them.

Theory of operation.  What runs in a stub, and why it is believed so little, is in stub.c.  Here is the other end: two
threads that each wait for a number to change, and a page of orders.

The guest thread.  Entry `n` is made by writing registers into the frame on its handler's stack, then `go = n`; the
handler returns to guest code.  It has ended when the handler says `exit = n`, with the frame anew.  Guest code could
say so as well, and run on.  Nothing comes of that by itself: what it says are registers, which it could have had.  But
that it takes no more of the host's time needs proof: `stub_settles`.  A thread that sleeps at `go` is moved to
`parked`, which the kernel does for one that sleeps there alone.  Xenia alone wakes it, or a signal: a kick may still be
on its way to it.  So one that was kicked is woken when the mapper has said that it sent all, and when it sleeps again
it has been back in user mode meanwhile, and has had what came.

The mapper.  A batch of orders is carried out when it has written to its event, which nobody else can.  What was taken
away is gone then, wherever the guest thread is.  That it sleeps would not do: a signal on its way to it is written to a
stack that guest code has chosen.  The first batch of a stub takes everything from it, and is waited for before guest
code runs: so the mapper has its filter by then.

Orders that take nothing away, which is what a page fault leads to, are handed over with the entry, and the last of them
wakes the guest thread: two switches between processes instead of four, each of which may cost the processor all that it
has predicted.  A guest thread that had not slept yet is on its way before they are carried out, and faults once more.
That they are is waited for when it has left.  One that has another processor (placement.pyx) may not sleep at all: for
it they are carried out before.

There each looks for the other's number for a while, and sleeps then.  Who is about to sleep says so, and then looks
once more; who has changed a number then looks whether he has to wake the other.  What the guest thread says of that is
believed, for nobody else waits in vain.

Where they share a processor both sleep until they are woken, so all of it is the host's to schedule.  A stub that ended
is told of by its maker (arena.pyx); a guest thread that does not leave guest code when it is kicked is given up after a
while.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from posix.unistd cimport read

from xenia.cpu.context cimport Context
from xenia.cpu.engines.native.arena cimport LOOK_NS, arena_await, arena_look, readable, stub_ask
from xenia.cpu.engines.native.orders cimport orders_are_void, orders_hand_over
from xenia.machine.atomic cimport count_add, count_store, half_read
from xenia.machine.clock cimport monotonic

cdef extern from "frame.h":
    ctypedef struct Frame:
        pass
    enum:
        REG_CSGSFS, REG_ERR, REG_TRAPNO, REG_CR2
    bint frame_find(StubReport *report, Frame *frame) noexcept nogil
    void frame_take(const Frame *frame, uint64_t *gpr, uint64_t *rip, uint64_t *rflags, uint8_t *fpu) noexcept nogil
    void frame_put(const Frame *frame, const uint64_t *gpr, uint64_t rip, uint64_t rflags,
                   const uint8_t *fpu) noexcept nogil
    uint64_t frame_word(const Frame *frame, int number) noexcept nogil

cdef extern from *:
    """
    #include <errno.h>
    #include <linux/audit.h>
    #include <linux/futex.h>
    #include <sched.h>
    #include <signal.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    static inline long futex_wake(volatile uint32_t *word) { return syscall(SYS_futex, word, FUTEX_WAKE, 1, 0, 0, 0); }

    /* Nonzero: it was not woken. */
    static inline int futex_wait(volatile uint32_t *word, uint32_t value, int64_t ns)
    {
        struct timespec timeout = {ns / 1000000000, ns % 1000000000};
        return syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout, 0, 0) ? errno : 0;
    }

    static inline void pause_once(void) { __builtin_ia32_pause(); }

    static inline void rest(void)
    {
        struct timespec while_it_runs = {0, 20000};
        nanosleep(&while_it_runs, NULL);
    }

    /* From the one to the other, while it is that value: how many. */
    static inline long futex_move(volatile uint32_t *word, volatile uint32_t *other, uint32_t value)
    {
        return syscall(SYS_futex, word, FUTEX_CMP_REQUEUE, 0, 1, other, value);
    }

    static inline int64_t process_time(uint32_t process)
    {
        struct timespec time;
        return clock_gettime((clockid_t)(~process << 3 | 2 /* CPUCLOCK_SCHED */), &time)
            ? 0 : (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
    }

    """
    long futex_wake(volatile uint32_t *word) noexcept nogil
    int futex_wait(volatile uint32_t *word, uint32_t value, int64_t ns) noexcept nogil
    long futex_move(volatile uint32_t *word, volatile uint32_t *other, uint32_t value) noexcept nogil
    void pause_once() noexcept nogil
    void rest() noexcept nogil
    int64_t process_time(uint32_t process) noexcept nogil
    int sched_yield() noexcept nogil
    enum:
        SIGILL, SIGSYS, SIGSEGV, SIGTRAP, SIGUSR1, AUDIT_ARCH_X86_64

cdef extern from *:
    """
    static inline uint32_t frame_arch(const Frame *frame) { return frame->info->si_arch; }
    """
    uint32_t frame_arch(const Frame *frame) noexcept nogil

cdef enum:
    KICK_NS = 1600000000        # so long guest code runs before it is kicked to see whether it obeys
    PATIENCE_NS = 30000000000   # for one that the host does not let run: nothing that guest code does comes to that
    KICKED_NS = 200000000       # of the host's processor, that a stub may take until it obeys a kick
    LEFT_NS = 20000000          # and to fall asleep
    ROUNDS = 4
    CROSSINGS = 8               # in each
    TRIES = 8                   # to find it asleep, before one rests between
    SPINS = 2500                # of a guest thread, 40 to 140 cycles each: 50 to 100 us
    SPIN_NS = 50000             # so long one looks for what it leaves for, before one sleeps
    LOOKS = 32                  # between two looks at the clock
    TRAP_STEPPED = 1
    TRAP_BREAKPOINT = 3
    TRAP_OVERFLOW = 4
    TRAP_PAGE_FAULT = 14


# --- the mapper


cdef bint stub_obeys(Stub *stub) noexcept nogil:
    cdef uint32_t count
    if stub.state != STUB_USED:
        return False
    count = orders_hand_over(stub, False)
    if count == 0:
        return True
    command(stub, count)
    return carries_out(stub)


cdef inline void command(Stub *stub, uint32_t count) noexcept nogil:
    count_store(&stub.control.count, count)
    count_add(<int32_t *>&stub.control.batch, 1)
    ring(stub)


cdef bint carries_out(Stub *stub) noexcept nogil:
    cdef uint64_t done
    while not readable(stub.event, LOOK_NS // 1000000):
        arena_look(stub.arena)
        if stub.state != STUB_USED:
            return False
    return read(stub.event, &done, 8) == 8


cdef void arena_lets_go(Arena *arena) noexcept nogil:
    cdef Stub *stub
    cdef uint32_t i
    if arena.owing == 0:
        return
    for i in range(NR_STUBS):
        stub = &arena.stubs[i]
        if arena.owing >> i & 1:
            while stub.state == STUB_ASKED:     # the old one is dead when the new one is there
                arena_await(arena)
            if stub.state != STUB_USED:
                orders_are_void(stub)
            stub_obeys(stub)


cdef inline void ring(Stub *stub) noexcept nogil:
    count_add(<int32_t *>&stub.control.bell, 1)
    futex_wake(&stub.control.bell)


# --- the guest thread


cdef bint stub_settles(Stub *stub) noexcept nogil:
    cdef uint32_t kicks = half_read(&stub.control.kicks)
    if not sleeps(stub):
        return False
    if kicks == stub.heard:
        return True
    if stub.state != STUB_USED:
        return False
    command(stub, orders_hand_over(stub, False))
    if not carries_out(stub):
        return False
    stub.settled = False
    futex_wake(&stub.control.parked)
    stub.heard = kicks
    return sleeps(stub)


cdef bint sleeps(Stub *stub) noexcept nogil:
    cdef int64_t begun = 0, had = 0
    cdef uint32_t tries = 0
    count_store(&stub.control.spins, 0)
    while not stub.settled and futex_move(&stub.control.go, &stub.control.parked, stub.entry) != 1:
        tries += 1
        if tries < TRIES:
            sched_yield()
            continue
        arena_look(stub.arena)
        if begun == 0:
            begun, had = monotonic(), stub_time(stub)
        if stub.state == STUB_NONE:
            return False
        if stub_time(stub) - had > LEFT_NS or monotonic() - begun > PATIENCE_NS:
            stub.arena.nr_unruly += 1
            return False
        rest()      # who only yields may have the processor again and again
    stub.settled = True
    return True


cdef int64_t stub_time(const Stub *stub) noexcept nogil:
    return process_time(stub.process)


cdef int64_t stub_busy(Stub *stub) noexcept nogil:
    cdef int64_t had = stub_time(stub)
    stub.busy += min(had - stub.had, stub.ran)
    stub.had = had
    stub.ran = 0
    return stub.busy


cdef bint stub_ready(Stub *stub) noexcept nogil:
    if stub.state == STUB_ASKED:
        arena_look(stub.arena)
    if stub.state != STUB_FRESH:
        return False
    stub.settled = stub.settled or futex_move(&stub.control.go, &stub.control.parked, stub.entry) == 1
    if stub.settled and half_read(&stub.report.signal) != SIGILL:       # not from where its filter stands
        stub_ask(stub)
    return stub.settled and stub.state == STUB_FRESH


cdef int64_t stub_crossing(Stub *stub) noexcept nogil:
    # It is let go on, and comes to the same undefined instruction again.  The least of some rounds: the host may have
    # been elsewhere meanwhile, and have counted that.
    cdef int64_t begun, took, least = 0
    stub.kicks = half_read(&stub.control.kicks)
    for _ in range(ROUNDS):
        begun = stub_time(stub)
        for _ in range(CROSSINGS):
            go_on(stub)
            wake(stub)
            if not await_exit(stub, 0):
                return 0
        took = (stub_time(stub) - begun) // CROSSINGS
        least = took if least == 0 or took < least else least
    return max(least, 0)


cdef inline void go_on(Stub *stub) noexcept nogil:
    stub.control.waits = not stub.apart
    stub.control.spins = SPINS if stub.apart else 0
    stub.entry += 1
    count_store(&stub.control.go, stub.entry)


cdef inline void wake(Stub *stub) noexcept nogil:
    # Who says falsely that he does not sleep is woken when he is waited for in vain.
    if stub.apart and not stub.settled and not half_read(&stub.report.asleep):
        return
    stub.missed += stub.apart
    if not stub.settled or futex_wake(&stub.control.parked) == 0:
        futex_wake(&stub.control.go)
    stub.settled = False


cdef void stub_kick(Stub *stub) noexcept nogil:
    count_add(<int32_t *>&stub.control.kicks, 1)
    ring(stub)


cdef void stub_run(Stub *stub, Context *context, uint64_t fs, uint64_t gs, Left *left) noexcept nogil:
    cdef Frame frame
    cdef uint32_t count = 0
    cdef int64_t begun = monotonic()
    left.why = LEFT_NOT
    if not frame_find(stub.report, &frame):
        return
    frame_put(&frame, context.gpr, context.rip, context.rflags, context.fpu)
    stub.control.fs = fs
    stub.control.gs = gs
    if stub.apart and not stub_obeys(stub):     # it does not sleep until they are carried out
        return
    go_on(stub)
    if not stub.apart:
        count = orders_hand_over(stub, True)
    if count:
        command(stub, count)
        stub.settled = False
    else:
        wake(stub)
    if await_exit(stub, count) and (count == 0 or carries_out(stub)) and frame_find(stub.report, &frame):
        frame_take(&frame, context.gpr, &context.rip, &context.rflags, context.fpu)
        left.fs = base_of(stub.report.fs, fs)
        left.gs = base_of(stub.report.gs, gs)
        explain(stub, &frame, left)
        stub.ran += monotonic() - begun
        if not is_canonical(context.rip):
            left.why = LEFT_FORGED


cdef inline bint is_canonical(uint64_t va) noexcept nogil:
    return <int64_t>va >> 47 == 0 or <int64_t>va >> 47 == -1


cdef inline uint64_t base_of(uint64_t said, uint64_t before) noexcept nogil:
    return said if is_canonical(said) else before


cdef inline bint comes(Stub *stub, int64_t until) noexcept nogil:
    # What it leaves for, while one looks; where it is kicked its mapper needs the processor.
    while monotonic() < until and half_read(&stub.control.kicks) == stub.kicks:
        for _ in range(LOOKS):
            if half_read(&stub.report.exit) == stub.entry:
                return True
            pause_once()
    return False


cdef bint await_exit(Stub *stub, uint32_t ordered) noexcept nogil:
    # However often it says something meanwhile: what counts is the clock.
    cdef int64_t now = monotonic(), looked = now, kicked = 0, had = 0
    cdef int64_t kicks_at = now + KICK_NS
    cdef uint32_t said
    if stub.apart:
        if comes(stub, now + SPIN_NS):
            return True
        stub.missed += 1
        count_store(&stub.control.waits, 1)
        futex_wake(&stub.control.go)
    while True:
        said = half_read(&stub.report.exit)
        if said == stub.entry:
            return True
        futex_wait(&stub.report.exit, said, LOOK_NS)
        now = monotonic()
        if now - looked < LOOK_NS:
            continue
        looked = now
        arena_look(stub.arena)
        if stub.state != STUB_USED:
            return False
        if not kicked and now > kicks_at:
            stub_kick(stub)
        if not kicked and half_read(&stub.control.kicks) != stub.kicks:
            kicked, had = now, stub_time(stub)
        if not kicked:
            continue
        # Before the mapper is done it may be that nobody has woken it yet.
        stub.settled = ((ordered == 0 or readable(stub.event, 0))
                        and futex_move(&stub.control.go, &stub.control.parked, stub.entry) == 1)
        if stub.settled and half_read(&stub.report.exit) == stub.entry:
            return True
        if stub.settled or stub_time(stub) - had > KICKED_NS or now - kicked > PATIENCE_NS:
            stub.arena.nr_unruly += 1
            return False


cdef void explain(Stub *stub, const Frame *frame, Left *left) noexcept nogil:
    cdef uint32_t signal = stub.report.signal
    cdef uint64_t trap = frame_word(frame, REG_TRAPNO)
    left.why = LEFT_OTHER
    left.cs = <uint16_t>frame_word(frame, REG_CSGSFS)
    if signal == SIGSYS:
        left.why = LEFT_SYSCALL if frame_arch(frame) == AUDIT_ARCH_X86_64 else LEFT_OLD_SYSCALL
    elif signal == SIGSEGV and trap == TRAP_PAGE_FAULT:
        left.why = LEFT_PAGE_FAULT
        left.error = <uint32_t>frame_word(frame, REG_ERR)
        left.address = frame_word(frame, REG_CR2)
    elif signal == SIGTRAP and trap == TRAP_BREAKPOINT or signal == SIGSEGV and trap == TRAP_OVERFLOW:
        left.why = LEFT_INTERRUPT
        left.vector = <uint32_t>trap
    elif signal == SIGTRAP and trap == TRAP_STEPPED:
        left.why = LEFT_STEPPED
    elif signal == SIGUSR1:
        left.why = LEFT_KICKED
