# Where user code runs: what it costs here and there, from how long it ran before it left user mode.  It knows nothing
# but these times, and what a crossing takes of the host's processor in a stub that does nothing else.  That differs
# much, with the processor, with what it is to forget between two processes, and where it is itself a virtual one; all
# that is said below is for CROSSING, and grows with it.
#
# Crossing to a stub and back is dear, and code there is fast; so it pays where bursts are long.  Which they are is an
# average over the last ones, in which one counts for no more than LONG: a single long one shall be forgotten soon.  A
# burst on the emulated processor is measured by the clock.  One in a stub is not, for who crosses may have to wait
# until the host runs him; a number of them is, by the time that the host's processor took for them.
#
# A stub itself is dear as well: to have one made, and to have its pages mapped.  Most processes end before it pays.
# Who rents until he has paid the price, and then buys, never pays more than twice what he had to.
#
# Code in a stub may come to what only the emulated processor can do (it is *foiled*), which then has it for a while.
# Each is a crossing, and counts as one; a store to what was executed counts as STORED, since most of the stub's time is
# then what that takes the host's kernel.  Where they are what took an address space back, it has to be worth more each
# time before it moves again: what foils it is most likely still there.
#
# What a burst would take on the other processor is not known.  Between what is certainly too short for a stub and what
# is certainly long enough, it is tried now and then: TRIAL bursts are emulated, which may take no longer than they took
# in the stub.  If they do, it goes on there, and the next trial is twice as far away; if not, it has moved for nothing.
from libc.stdint cimport int64_t

cdef enum:
    WEIGHT = 8
    CROSSING = 4000         # ns
    LONG = 200000           # ns
    MOVES_AT = 25000        # an average of emulated bursts
    ROUND = 32              # native ones that are measured together
    RETURNS_AT = 7000       # an average of these, with what the stub itself takes
    STORED = 8
    FOILED = 20000          # so much longer they have to be that were foiled: a fault is dearer than a system call
    STUB = 4000000          # what one costs, in emulated time; most of it crossings, for its pages
    MOST_PRICE = 64 * STUB  # for what was foiled again and again, or moved for nothing
    DOUBTFUL = 40000        # an average of native ones that is long enough
    TRIAL = 64              # bursts
    FIRST_TRIAL = 8         # after so many rounds
    LONG_IN_TRIAL = 8       # times the average: one that takes longer was kept from its processor, or is one of many

cdef struct Bursts:
    int64_t average         # ns, of emulated ones
    int64_t spent           # and all of them
    int64_t begun           # processor time when the round began
    int64_t price           # to be spent before it moves
    int left                # native ones in this round
    int foiled              # how often these were
    bint native
    int64_t in_stub         # ns, an average of native ones
    int64_t allowed         # ns that the trial may still take
    int trial               # bursts that are left of it, 0: there is none
    int rounds              # until the next one
    int apart               # and from there to the one after it


cdef inline int64_t dear(int64_t ns, int64_t crossing) noexcept nogil:
    return ns if crossing <= CROSSING else ns * crossing // CROSSING


cdef inline void bursts_begin(Bursts *bursts) noexcept nogil:
    bursts.average = bursts.spent = 0
    bursts.price = STUB
    bursts.foiled = bursts.trial = 0
    bursts.native = False


cdef inline void bursts_regret(Bursts *bursts) noexcept nogil:
    bursts.price = min(2 * bursts.price, MOST_PRICE)
    bursts.spent = bursts.average = 0


cdef inline void bursts_try(Bursts *bursts, int64_t ns) noexcept nogil:
    bursts.allowed -= min(ns, LONG_IN_TRIAL * bursts.in_stub)
    bursts.trial -= 1
    if bursts.allowed < 0:
        bursts.trial = 0
        bursts.native = True
        bursts.left = -1
    elif not bursts.trial:
        bursts_regret(bursts)


# An emulated one was that long: where the next one runs.
cdef inline bint bursts_count(Bursts *bursts, int64_t ns, int64_t crossing) noexcept nogil:
    bursts.average += (min(ns, dear(LONG, crossing)) - bursts.average) // WEIGHT
    bursts.spent += ns
    if bursts.trial:
        bursts_try(bursts, ns)
    elif (not bursts.native and bursts.average > dear(MOVES_AT, crossing)
          and bursts.spent > dear(bursts.price, crossing)):
        bursts.native = True
        bursts.left = -1
        bursts.in_stub = 0
        bursts.rounds = bursts.apart = FIRST_TRIAL
    return bursts.native


# A native one ended, or was foiled (1, or STORED): whether the round is over, and `bursts_measure` is to be told of the
# time.
cdef inline bint bursts_count_native(Bursts *bursts, int foiled) noexcept nogil:
    bursts.left -= 1
    bursts.foiled += foiled
    return bursts.left <= 0


cdef inline void bursts_measure(Bursts *bursts, int64_t time, int64_t crossing) noexcept nogil:
    cdef int64_t took = time - bursts.begun
    if bursts.left == 0 and took < dear(ROUND * RETURNS_AT + bursts.foiled * FOILED, crossing):
        bursts.native = False
        bursts.average = dear(MOVES_AT, crossing) // 4
        if bursts.foiled > ROUND // 2:
            bursts_regret(bursts)
    elif bursts.left == 0:
        bursts.in_stub += (took // ROUND - bursts.in_stub) // (4 if bursts.in_stub else 1)
        bursts.rounds -= 1
        if bursts.rounds <= 0:
            bursts.apart *= 2
            bursts.rounds = bursts.apart
            if bursts.in_stub < dear(DOUBTFUL, crossing):
                bursts.native = False
                bursts.trial = TRIAL
                bursts.allowed = TRIAL * bursts.in_stub
    bursts.begun = time
    bursts.left = ROUND
    bursts.foiled = 0
