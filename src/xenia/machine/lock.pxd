# A lock between host threads, and who waits for it.  Zeroed memory is an unlocked one.  It is not taken twice.  See
# lock.pyx.
from libc.stdint cimport uint32_t

cdef extern from *:
    """
    #include <stdint.h>
    #ifndef XENIA_LOCK
    #define XENIA_LOCK
    enum { LOCK_HELD = 1, LOCK_RESERVED = 2, LOCK_WAITER = 4 };
    static inline int lock_take(volatile uint32_t *word)
    {
        uint32_t unlocked = 0;
        return __atomic_compare_exchange_n(word, &unlocked, LOCK_HELD, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    }
    static inline int lock_drop(volatile uint32_t *word)    /* whether anybody waits */
    {
        return __atomic_fetch_sub(word, LOCK_HELD, __ATOMIC_SEQ_CST) != LOCK_HELD;
    }
    #endif
    """
    bint lock_take(volatile uint32_t *word) noexcept nogil
    bint lock_drop(volatile uint32_t *word) noexcept nogil
    enum:
        LOCK_WAITER

cdef struct Lock:
    volatile uint32_t word

cdef struct Condition:
    volatile uint32_t signals
    uint32_t waiting            # guarded by the lock


cdef inline void lock(Lock *it) noexcept nogil:
    if not lock_take(&it.word):
        lock_wait(it)


cdef inline void unlock(Lock *it) noexcept nogil:
    if lock_drop(&it.word):
        lock_wake(it)


# False where somebody holds it or waits for it.
cdef inline bint try_lock(Lock *it) noexcept nogil:
    return lock_take(&it.word)


# By who holds it, in the middle of something long: whoever waits has it first.
cdef inline void give_way(Lock *it) noexcept nogil:
    if it.word >= LOCK_WAITER:
        lock_lend(it)


cdef void lock_wait(Lock *it) noexcept nogil
cdef void lock_wake(Lock *it) noexcept nogil
cdef void lock_lend(Lock *it) noexcept nogil

# Let go of the lock until the condition is signalled, or for no reason.  Both are called with the lock held.
cdef void condition_wait(Condition *condition, Lock *it) noexcept nogil
cdef void condition_signal_and_unlock(Condition *condition, bint all, Lock *it) noexcept nogil
