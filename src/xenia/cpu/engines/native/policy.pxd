# Where user code runs: what it costs here and there, from how long it ran before it left user mode.  It knows nothing
# but these times.
#
# Crossing to a stub and back is dear, and code there is fast; so it pays where bursts are long.  Which they are is an
# average over the last ones, in which one counts for no more than LONG: a single long one shall be forgotten soon.  A
# burst on the emulated processor is measured by the clock.  One in a stub is not, for who crosses may have to wait
# until the host runs him; a number of them is, by the time that the host's processor took for them.
#
# A stub itself is dear as well: to have one made, and to have its pages mapped.  Most processes end before it pays.
# Who rents until he has paid the price, and then buys, never pays more than twice what he had to.
from libc.stdint cimport int64_t

cdef enum:
    WEIGHT = 8
    LONG = 200000           # ns
    MOVES_AT = 25000        # an average of emulated bursts
    ROUND = 32              # native ones that are measured together
    RETURNS_AT = 7000       # an average of these, with what the stub itself takes
    STUB = 4000000          # what one costs, in emulated time

cdef struct Bursts:
    int64_t average         # ns, of emulated ones
    int64_t spent           # and all of them
    int64_t begun           # processor time when the round began
    int left                # native ones in this round
    bint native


cdef inline void bursts_begin(Bursts *bursts) noexcept nogil:
    bursts.average = bursts.spent = 0
    bursts.native = False


# An emulated one was that long: where the next one runs.
cdef inline bint bursts_count(Bursts *bursts, int64_t ns) noexcept nogil:
    bursts.average += (min(ns, LONG) - bursts.average) // WEIGHT
    bursts.spent += ns
    if bursts.average > MOVES_AT and bursts.spent > STUB:
        bursts.native = True
        bursts.left = -1
    return bursts.native


# A native one ended: whether the round is over, and `bursts_measure` is to be told of the time.
cdef inline bint bursts_count_native(Bursts *bursts) noexcept nogil:
    bursts.left -= 1
    return bursts.left <= 0


cdef inline void bursts_measure(Bursts *bursts, int64_t time) noexcept nogil:
    if bursts.left == 0 and time - bursts.begun < ROUND * RETURNS_AT:
        bursts.native = False
        bursts.average = MOVES_AT // 4
    bursts.begun = time
    bursts.left = ROUND
