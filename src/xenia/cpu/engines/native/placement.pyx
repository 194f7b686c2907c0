"""On which of the host's processors a vcpu's thread and its stubs run.

Theory of operation.  A vcpu's thread and a stub take turns.  Where there is a processor for each, the stub's guest
thread has another one (*apart*): who waits looks for a while whether the other is there, and sleeps then.  So a system
call is neither a switch of processes, at which the processor may have to forget its predictions, nor a call of the
host's kernel.  Otherwise, and where one of them sleeps most of the times before the other comes, they share one
(*together*): to wake a thread on another processor that idles is dearer than to switch to it.  It is counted how often
one was missed; a stub that has to stay together is asked again later, each time it was so twice as late.

There is one for each where at most every second of the processors is a vcpu's own.  The mapper stays with the vcpu's
thread, which sleeps while it waits for it.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from xenia.cpu.engines.native.native cimport Native
from xenia.cpu.engines.native.orders cimport orders_follow
from xenia.cpu.engines.native.stub cimport STUB_FRESH, STUB_USED, Stub, stub_crossing, stub_obeys, stub_settles
from xenia.machine.atomic cimport count_add, half_read

cdef extern from *:
    """
    #include <sched.h>

    /* This thread, to these of the first 64 processors. */
    static inline int set_affinity(uint64_t cpus)
    {
        cpu_set_t set;
        CPU_ZERO(&set);
        for (int i = 0; i < 64; i++)
            if (cpus >> i & 1)
                CPU_SET(i, &set);
        return sched_setaffinity(0, sizeof set, &set);
    }

    static inline int nr_of(uint64_t cpus) { return __builtin_popcountll(cpus); }
    """
    int set_affinity(uint64_t cpus) noexcept nogil
    int sched_getcpu() noexcept nogil
    int nr_of(uint64_t cpus) noexcept nogil

cdef enum:
    ROUND = 32                  # entries for which one is chosen
    MOST_MISSED = 16            # of them
    FIRST_PENALTY = 8           # rounds
    MOST_PENALTY = 256

cdef int32_t kept[64]           # how many are kept on each of the host's processors
cdef int32_t nr_kept            # and altogether
cdef int64_t known[2]           # what crossings take, together and apart


cdef int choose(Native *native) noexcept nogil:
    # Where it is; where another one is kept there, one that nobody is kept on.  -1: none is known.
    cdef int here = sched_getcpu(), cpu
    if not 0 <= here < 64:
        return -1
    if count_add(&kept[here], 1) == 1:
        return here
    for cpu in range(64):
        if native.home >> cpu & 1:
            if count_add(&kept[cpu], 1) == 1:
                count_add(&kept[here], -1)
                return cpu
            count_add(&kept[cpu], -1)
    return here


cdef bint stay_there(Native *native) noexcept nogil:
    cdef int cpu
    if native.pinned:
        return True
    cpu = choose(native)
    if cpu < 0:
        return False
    if set_affinity(<uint64_t>1 << cpu):
        count_add(&kept[cpu], -1)
        return False
    count_add(&nr_kept, 1)
    native.pinned = cpu + 1
    return True


cdef void roam(Native *native) noexcept nogil:
    if native.pinned:
        count_add(&kept[native.pinned - 1], -1)
        count_add(&nr_kept, -1)
        native.pinned = 0
        set_affinity(native.home)


cdef inline bint has_room(const Native *native) noexcept nogil:
    return 2 * max(1, <int32_t>half_read(<uint32_t *>&nr_kept)) <= nr_of(native.home)


cdef void judge(Stub *stub) noexcept nogil:
    # Once in a round.
    if stub.away:
        stub.away -= 1
    elif stub.missed > MOST_MISSED:
        stub.penalty = min(max(2 * stub.penalty, FIRST_PENALTY), MOST_PENALTY)
        stub.away = stub.penalty
    else:
        stub.penalty = 0
    stub.turns = stub.missed = 0


cdef void place(Native *native, Stub *stub, bint apart) noexcept nogil:
    cdef uint64_t own = <uint64_t>1 << (native.pinned - 1)
    orders_follow(stub, own, native.home & ~own if apart else own)
    stub.apart = apart


cdef void follow(Native *native, Stub *stub) noexcept nogil:
    if native.home & (native.home - 1) == 0 or not stay_there(native):
        return
    stub.turns += 1
    if stub.turns == ROUND:
        judge(stub)
    place(native, stub, has_room(native) and not stub.away)


cdef int64_t crossing(const Native *native, const Stub *stub) noexcept nogil:
    cdef bint apart = stub.apart if stub != NULL else has_room(native)
    return known[1] if apart and known[1] else known[0]


cdef void measure_crossings(Native *native, Stub *stub) noexcept nogil:
    cdef int apart
    if known[0]:
        return
    stub.state = STUB_USED
    for apart in range(2):
        if native.home & (native.home - 1) and stay_there(native):
            place(native, stub, apart)
        elif apart:
            break
        if stub_obeys(stub):
            known[apart] = stub_crossing(stub)
        if not stub_settles(stub):
            break
    stub.apart = False
    if stub.state == STUB_USED:
        stub.state = STUB_FRESH
