"""A thread's wait for descriptors, which looks for a while before it sleeps where that pays.

Who sleeps on a processor that then has nothing to do is woken late: the processor halts, and on a virtual machine it
takes tens of microseconds until it runs again.  So after waits that were short, the thread looks again and again before
it sleeps, as KVM's halt_poll_ns does: for twice as long after each wait that it could have looked through (up to
LONGEST), and not at all after one that it could not.

Between two looks it yields.  Whoever else wants that processor has it; and where somebody did, and what is waited for
has not come of it, the thread sleeps at once and looks at nothing for its next waits, more of them each time.
"""

from libc.string cimport memset
from posix.time cimport timespec
from xenia.machine.clock cimport monotonic

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <poll.h>
    #include <sched.h>
    static inline int nr_processors(void)
    {
        cpu_set_t allowed;
        return sched_getaffinity(0, sizeof allowed, &allowed) ? 1 : CPU_COUNT(&allowed);
    }
    """
    int nr_processors() nogil
    int ppoll(pollfd *fds, unsigned long count, const timespec *timeout, const void *mask) nogil
    int sched_yield() nogil

cdef enum:
    NS = 1000000000
    FIRST = 20000               # ns
    LONGEST = 120000
    TAKEN = 4000                # a yield that took so long was somebody else's turn
    KEPT = 100000               # and this one was too long
    LEAST_SKIPS = 16
    MOST_SKIPS = 4096


cdef void waiting_init(Waiting *waiting) noexcept nogil:
    memset(waiting, 0, sizeof(Waiting))
    waiting.may_look = nr_processors() > 1


cdef int wait_for(Waiting *waiting, pollfd *polls, int count, int64_t left) noexcept nogil:
    cdef int64_t begun, waited
    cdef int found
    if not waiting.may_look:
        return sleep_for(polls, count, left)
    begun = monotonic()
    if waiting.skips:
        waiting.skips -= 1
    elif waiting.window:
        found = look(waiting, polls, count, begun, left)
        if found:
            waiting.nr_found += 1
            return found
        if left > 0:
            left = max(0, left - (monotonic() - begun))
    waiting.nr_slept += 1
    found = sleep_for(polls, count, left)
    waited = monotonic() - begun
    if waited > LONGEST:
        waiting.window = 0
    elif waiting.window < LONGEST:
        waiting.window = max(FIRST, min(LONGEST, 2 * waiting.window))
    return found


cdef int look(Waiting *waiting, pollfd *polls, int count, int64_t begun, int64_t left) noexcept nogil:
    # How many are ready; 0: to sleep.
    cdef int64_t end = begun + (waiting.window if left < 0 else min(left, waiting.window))
    cdef int64_t before, now = begun
    cdef int found
    while True:
        found = sleep_for(polls, count, 0)
        if found or now >= end:
            return found
        before = monotonic()
        sched_yield()
        now = monotonic()
        if now - before < TAKEN:
            continue
        found = sleep_for(polls, count, 0)
        if found == 0 or now - before > KEPT:
            waiting.last_skips = min(MOST_SKIPS, max(LEAST_SKIPS, 2 * waiting.last_skips))
            waiting.skips = waiting.last_skips
            waiting.window = 0
            return found
        waiting.last_skips = 0
        return found


cdef int sleep_for(pollfd *polls, int count, int64_t left) noexcept nogil:
    cdef timespec timeout
    timeout.tv_sec = left // NS
    timeout.tv_nsec = left % NS
    return ppoll(polls, count, NULL if left < 0 else &timeout, NULL)
