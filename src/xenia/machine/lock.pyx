"""A lock that nobody waits long for, whoever else wants it.

Theory of operation.  Where nobody waits, a lock is one atomic operation to take and one to drop, and whoever drops it
may take it again at once: handing it over each time would put a switch of threads between any two.  But a holder that
takes it again and again, or for long, would keep it from one that sleeps, for seconds.  So who has waited for PATIENCE
reserves it, and then nobody who came later gets it before one of those who waited.  A holder with much to do asks now
and then whether anybody waits (`give_way`, one load), and lends the lock then: it is reserved for whoever waits, and
the holder waits behind them (LOAN at most: they may get no processor).  So one waits for what a holder does between two
such questions, and for PATIENCE where holders are many.

A thread that holds the interpreter's lock must not wait for one of these: nothing that is Python would run meanwhile.
It is a mistake to call `lock` there where it may be held for long (the tests look for it, in the source and in
`waits_with_the_interpreter`); if it happens all the same, the interpreter runs on.

The order of locks (lock.pxd) is checked where locks are watched: the rank of one that is made then stands in the upper
bits of its word.  So it is never what the quick way expects, and each of its holders comes by here, where a thread
notes the ranks that it holds.  A lock that is not watched costs what it did.
"""

from xenia.machine.clock cimport monotonic      # no-cython-lint: for the C below

from xenia.errors import HypervisorBug

cdef extern from *:
    """
    #include <errno.h>
    #include <limits.h>
    #include <linux/futex.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    enum { PATIENCE_NS = 1000000, LOAN_NS = 5000000, MEASURED_LOAN_NS = 1, SPINS = 32 };

    static int futex_wait(volatile uint32_t *word, uint32_t value, uint64_t timeout_ns)     /* whether it slept */
    {
        struct timespec timeout = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
        return !syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout_ns ? &timeout : NULL, NULL, 0)
            || errno == ETIMEDOUT;
    }

    static void futex_wake(volatile uint32_t *word, int most)
    {
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, most, NULL, NULL, 0);
    }

    static void relax(void)
    {
    #ifdef __x86_64__
        __builtin_ia32_pause();
    #endif
    }

    static uint64_t longest_ns;     /* that anybody waited */

    static int take_any(volatile uint32_t *word)        /* watched or not */
    {
        uint32_t seen = *word;
        return !(seen & LOCK_STATE)
            && __atomic_compare_exchange_n(word, &seen, seen | LOCK_HELD, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    }

    static void wait_for(volatile uint32_t *word, uint64_t sleep_ns)
    {
        uint64_t since, waited;
        uint32_t seen;
        int entitled;               /* to take it while it is reserved: it was here before that, or has slept since */
        for (int i = 0; i < SPINS; i++) {
            relax();
            if (take_any(word))
                return;
        }
        since = (uint64_t)monotonic();
        entitled = !(__atomic_fetch_add(word, LOCK_WAITER, __ATOMIC_SEQ_CST) & LOCK_RESERVED);
        for (;;) {
            seen = __atomic_load_n(word, __ATOMIC_SEQ_CST);
            if (!(seen & LOCK_HELD) && (entitled || !(seen & LOCK_RESERVED))) {
                uint32_t taken = ((seen - LOCK_WAITER) | LOCK_HELD) & ~LOCK_RESERVED;
                if (__atomic_compare_exchange_n(word, &seen, taken, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
                    break;
            } else if (!(seen & LOCK_RESERVED) && (uint64_t)monotonic() - since > PATIENCE_NS) {
                __atomic_fetch_or(word, LOCK_RESERVED, __ATOMIC_SEQ_CST);
            } else if (futex_wait(word, seen, sleep_ns)) {
                entitled = 1;
            }
        }
        waited = (uint64_t)monotonic() - since;
        if (waited > __atomic_load_n(&longest_ns, __ATOMIC_RELAXED))
            __atomic_store_n(&longest_ns, waited, __ATOMIC_RELAXED);
    }

    static uint32_t waits_with_interpreter;

    static void wait_and_let_python_run(volatile uint32_t *word, uint64_t sleep_ns)
    {
        PyThreadState *state;
        if (!PyGILState_Check()) {
            wait_for(word, sleep_ns);
            return;
        }
        __atomic_fetch_add(&waits_with_interpreter, 1, __ATOMIC_RELAXED);
        state = PyEval_SaveThread();
        wait_for(word, sleep_ns);
        PyEval_RestoreThread(state);
    }

    static void wake(volatile uint32_t *word)
    {
        /* Only one may take what is reserved, and which one the kernel would wake is not known. */
        futex_wake(word, *word & LOCK_RESERVED ? INT_MAX : 1);
    }

    /* What a test asks to be measured on its thread, of the locks that others wait for. */
    static __thread int measuring;
    static __thread uint32_t nr_lent;
    static __thread uint64_t stretch_since, longest_stretch_ns;

    static uint64_t worked_ns(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }

    static void begin_stretch(void)
    {
        if (measuring)
            stretch_since = worked_ns();
    }

    static void end_stretch(void)
    {
        uint64_t length = measuring ? worked_ns() - stretch_since : 0;
        if (length > longest_stretch_ns)
            longest_stretch_ns = length;
    }

    /* The ranks that this thread holds, and the first two, of any thread, that were taken in the wrong order. */
    enum { MOST_HELD = 32 };
    static int watching;
    static __thread uint8_t held[MOST_HELD];
    static __thread unsigned nr_held;
    static volatile uint32_t disorder;      /* rank taken << 8 | rank held */

    static void note_taken(uint32_t rank, int waits)
    {
        uint32_t highest = 0, none = 0;
        for (unsigned i = 0; i < nr_held; i++)
            if (held[i] > highest)
                highest = held[i];
        if (waits && rank && rank <= highest)
            __atomic_compare_exchange_n(&disorder, &none, rank << 8 | highest, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        if (rank && nr_held < MOST_HELD)
            held[nr_held++] = rank;
    }

    static void note_dropped(uint32_t rank)
    {
        unsigned i = nr_held;
        while (rank && i--)
            if (held[i] == rank) {
                for (nr_held--; i < nr_held; i++)
                    held[i] = held[i + 1];
                return;
            }
    }

    static void reserve(volatile uint32_t *word)
    {
        __atomic_fetch_or(word, LOCK_RESERVED, __ATOMIC_SEQ_CST);
    }

    static void signal_condition(volatile uint32_t *signals)
    {
        __atomic_fetch_add(signals, 1, __ATOMIC_SEQ_CST);
    }

    static void wake_waiters(volatile uint32_t *signals, int all)
    {
        futex_wake(signals, all ? INT_MAX : 1);
    }
    """
    enum:
        PATIENCE_NS, LOAN_NS, MEASURED_LOAN_NS
        LOCK_RANK
    bint take_any(volatile uint32_t *word) noexcept nogil
    void note_taken(uint32_t rank, bint waits) noexcept nogil
    void note_dropped(uint32_t rank) noexcept nogil
    bint watching
    uint32_t disorder
    void wait_and_let_python_run(volatile uint32_t *word, unsigned long sleep_ns) noexcept nogil
    void wake(volatile uint32_t *word) noexcept nogil
    void reserve(volatile uint32_t *word) noexcept nogil
    bint futex_wait(volatile uint32_t *word, uint32_t value, unsigned long timeout_ns) noexcept nogil
    void signal_condition(volatile uint32_t *signals) noexcept nogil
    void wake_waiters(volatile uint32_t *signals, bint all) noexcept nogil
    unsigned long longest_ns
    uint32_t waits_with_interpreter
    bint measuring
    uint32_t nr_lent
    unsigned long longest_stretch_ns
    void begin_stretch() noexcept nogil
    void end_stretch() noexcept nogil


NAMES = {
    "store": RANK_STORE,
    "loop": RANK_LOOP,
    "taking": RANK_TAKING,
    "queue": RANK_QUEUE,
    "workers": RANK_WORKERS,
    "transmit": RANK_TRANSMIT,
    "layer": RANK_LAYER,
    "bridge": RANK_BRIDGE,
    "nat": RANK_NAT,
    "link": RANK_LINK,
    "receive": RANK_RECEIVE,
    "turn": RANK_TURN,
    "directory": RANK_DIRECTORY,
    "domain": RANK_DOMAIN,
    "machine": RANK_MACHINE,
    "alarms": RANK_ALARMS,
    "sched": RANK_SCHED,
    "alone": RANK_ALONE,
    "announcing": RANK_ANNOUNCING,
    "mailbox": RANK_MAILBOX,
}


cdef void lock_init(Lock *it, uint32_t rank) noexcept nogil:
    it.word = rank << LOCK_RANK if watching else 0


cdef void lock_wait(Lock *it) noexcept nogil:
    note_taken(it.word >> LOCK_RANK, True)
    if it.word > LOCK_STATE and take_any(&it.word):
        return
    wait_and_let_python_run(&it.word, PATIENCE_NS)
    begin_stretch()


cdef void lock_wake(Lock *it, uint32_t before) noexcept nogil:
    note_dropped(before >> LOCK_RANK)
    if before & LOCK_STATE == LOCK_HELD:
        return
    end_stretch()
    wake(&it.word)


cdef void lock_lend(Lock *it) noexcept nogil:
    global nr_lent
    if lock_waiters(it) == 0:
        return
    nr_lent += measuring
    reserve(&it.word)
    unlock(it)
    wait_and_let_python_run(&it.word, MEASURED_LOAN_NS if measuring else LOAN_NS)
    note_taken(it.word >> LOCK_RANK, True)
    begin_stretch()


cdef bint lock_try_watched(Lock *it) noexcept nogil:
    if not take_any(&it.word):
        return False
    note_taken(it.word >> LOCK_RANK, False)
    return True


cdef bint locks_disordered() noexcept nogil:
    return disorder != 0


cdef void condition_wait(Condition *condition, Lock *it) noexcept nogil:
    condition_wait_for(condition, it, 0)


cdef void condition_wait_for(Condition *condition, Lock *it, uint64_t ns) noexcept nogil:
    cdef uint32_t seen = condition.signals
    condition.waiting += 1
    unlock(it)
    futex_wait(&condition.signals, seen, ns)
    lock(it)
    condition.waiting -= 1


cdef void condition_signal(Condition *condition, bint all) noexcept nogil:
    if condition.waiting:
        signal_condition(&condition.signals)
        wake_waiters(&condition.signals, all)


cdef void condition_signal_and_unlock(Condition *condition, bint all, Lock *it) noexcept nogil:
    # Whoever wakes while the lock is held only goes to sleep again.
    cdef bint waiting = condition.waiting != 0
    if waiting:
        signal_condition(&condition.signals)
    unlock(it)
    if waiting:
        wake_waiters(&condition.signals, all)


def waits_with_the_interpreter(reset: bool = False) -> int:
    """How often a thread waited for a lock while it held the interpreter's: each is a mistake.  `reset`: count from
    here on."""
    global waits_with_interpreter
    waits = waits_with_interpreter
    if reset:
        waits_with_interpreter = 0
    return waits


def longest_wait(reset: bool = False) -> int:
    """The longest that a thread waited for a lock, in ns.  `reset`: look from here on."""
    global longest_ns
    longest = longest_ns
    if reset:
        longest_ns = 0
    return longest


def measure() -> None:
    """Measure what this thread does under locks that others wait for, until `measured`."""
    global measuring, nr_lent, longest_stretch_ns
    measuring = True
    nr_lent = 0
    longest_stretch_ns = 0
    begin_stretch()


def measured() -> tuple[int, int]:
    """How often this thread lent such a lock, and the longest, in ns of its own time, that it kept one."""
    global measuring
    measuring = False
    return nr_lent, longest_stretch_ns


def watch_locks(on: bool) -> None:
    """Have the order of the locks that are made from here on checked, or not."""
    global watching
    watching = on


def check_lock_order() -> None:
    """HypervisorBug, once, where a thread has taken a watched lock under one that stands further down."""
    global disorder
    cdef uint32_t seen = disorder
    disorder = 0
    if seen:
        names = {rank: name for name, rank in NAMES.items()}
        raise HypervisorBug(f"the lock {names[seen >> 8]!r} was taken under the lock {names[seen & 0xff]!r}")


cdef class HostLock:
    """One such lock for Python, taken with `with`; not twice by one thread.  `name` is its place in the order."""

    cdef Lock lock

    def __init__(self, name: str = "") -> None:
        lock_init(&self.lock, NAMES[name] if name else 0)

    def __enter__(self) -> None:
        with nogil:
            lock(&self.lock)

    def __exit__(self, *_: object) -> None:
        with nogil:
            unlock(&self.lock)

    def give_way(self) -> None:
        """By who holds it, in the middle of something long: whoever waits has it first."""
        with nogil:
            give_way(&self.lock)
