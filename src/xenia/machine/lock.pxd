# A lock between host threads, and who waits for it.  Zeroed memory is an unlocked one.  It is not taken twice.  See
# lock.pyx.
#
# The order of all locks, outermost first: who holds one takes only such as stand further down, and so never two of the
# same name.  It is told here because everybody may import this file; domain.pxd says what the locks of a domain guard.
#
#   store                     the xenstore server: the store, and who is connected
#     loop                    a thread that waits for links of a network, or for rings: what it serves
#       taking                a ring of a disk's or a shared folder's: who takes requests from it
#         queue               its responses, and what is in flight
#           workers           the device's list of requests that may take time
#       transmit              a vif's queue: who takes frames from it
#         layer               a layer of a network: what it knows and holds back
#           bridge            a bridge's ports and addresses
#             nat             a user-mode network's stack
#               link          a link to elsewhere: what is written to it
#                 receive     a vif's queue: who puts frames into it
#                   turn      which vcpu of a domain acts in Xenia (domain/turn.pxd)
#                     directory       which domains there are, and event channels that have two ends
#                       domain        a domain's frames, page tables and grants
#                         machine     the frames that nobody has
#                           alarms    whom the timers' thread may ring
#                             sched   a policy: who runs on which pcpu (hypervisor/pool.pxd)
#                               alone         which of several processors runs alone (cpu/processor.pyx)
#                                 announcing  which of them is about to translate a frame's code that is new to it
#                                   mailbox   what a processor was asked
#
# The debug mode checks it: a lock that is made while locks are watched knows its rank, and each thread what it holds.
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    RANK_STORE = 1
    RANK_LOOP
    RANK_TAKING
    RANK_QUEUE
    RANK_WORKERS
    RANK_TRANSMIT
    RANK_LAYER
    RANK_BRIDGE
    RANK_NAT
    RANK_LINK
    RANK_RECEIVE
    RANK_TURN
    RANK_DIRECTORY
    RANK_DOMAIN
    RANK_MACHINE
    RANK_ALARMS
    RANK_SCHED
    RANK_ALONE
    RANK_ANNOUNCING
    RANK_MAILBOX

cdef extern from *:
    """
    #include <stdint.h>
    #ifndef XENIA_LOCK
    #define XENIA_LOCK
    /* The lower 24 bits say who holds it and who waits; the upper ones are the rank of a lock that is watched, or 0. */
    enum { LOCK_HELD = 1, LOCK_RESERVED = 2, LOCK_WAITER = 4, LOCK_STATE = 0xffffff, LOCK_RANK = 24 };
    static inline int lock_take(volatile uint32_t *word)
    {
        uint32_t unlocked = 0;
        return __atomic_compare_exchange_n(word, &unlocked, LOCK_HELD, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    }
    static inline uint32_t lock_drop(volatile uint32_t *word)    /* what it was: LOCK_HELD, or more */
    {
        return __atomic_fetch_sub(word, LOCK_HELD, __ATOMIC_SEQ_CST);
    }
    #endif
    """
    bint lock_take(volatile uint32_t *word) noexcept nogil
    uint32_t lock_drop(volatile uint32_t *word) noexcept nogil
    enum:
        LOCK_HELD, LOCK_WAITER, LOCK_STATE

cdef struct Lock:
    volatile uint32_t word

cdef struct Condition:
    volatile uint32_t signals
    uint32_t waiting            # guarded by the lock


cdef inline void lock(Lock *it) noexcept nogil:
    if not lock_take(&it.word):
        lock_wait(it)


cdef inline void unlock(Lock *it) noexcept nogil:
    cdef uint32_t before = lock_drop(&it.word)
    if before != LOCK_HELD:
        lock_wake(it, before)


# False where somebody holds it or waits for it.
cdef inline bint try_lock(Lock *it) noexcept nogil:
    return lock_take(&it.word) or (it.word > LOCK_STATE and lock_try_watched(it))


# By who holds it, in the middle of something long: whoever waits has it first.
cdef inline void give_way(Lock *it) noexcept nogil:
    if it.word >= LOCK_WAITER:
        lock_lend(it)


# How many threads wait for it.
cdef inline uint32_t lock_waiters(Lock *it) noexcept nogil:
    return (it.word & LOCK_STATE) // LOCK_WAITER


# Begins a lock of that rank.  Only one that is watched needs it.
cdef void lock_init(Lock *it, uint32_t rank) noexcept nogil
cdef void lock_wait(Lock *it) noexcept nogil
cdef void lock_wake(Lock *it, uint32_t before) noexcept nogil
cdef void lock_lend(Lock *it) noexcept nogil
cdef bint lock_try_watched(Lock *it) noexcept nogil
cdef bint locks_disordered() noexcept nogil     # a lock was taken out of order

# Let go of the lock until the condition is signalled, or for no reason.  All are called with the lock held.
cdef void condition_wait(Condition *condition, Lock *it) noexcept nogil
cdef void condition_wait_for(Condition *condition, Lock *it, uint64_t ns) noexcept nogil        # no longer; 0 as above
cdef void condition_signal(Condition *condition, bint all) noexcept nogil
cdef void condition_signal_and_unlock(Condition *condition, bint all, Lock *it) noexcept nogil
