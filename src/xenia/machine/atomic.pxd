# Words that host threads share: operations in one order for all of them.
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    static inline void word_or(volatile uint64_t *word, uint64_t bits) {
        __atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST);
    }
    static inline uint64_t word_take(volatile uint64_t *word) { return __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST); }
    static inline uint64_t word_read(volatile uint64_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
    static inline void count_store(volatile uint32_t *count, uint32_t value) {
        __atomic_store_n(count, value, __ATOMIC_SEQ_CST);
    }
    static inline int32_t count_add(volatile int32_t *count, int32_t n) {
        return __atomic_add_fetch(count, n, __ATOMIC_SEQ_CST);
    }
    static inline void flag_set(volatile uint8_t *flag) { __atomic_store_n(flag, 1, __ATOMIC_SEQ_CST); }
    static inline uint8_t flag_take(volatile uint8_t *flag) { return __atomic_exchange_n(flag, 0, __ATOMIC_SEQ_CST); }
    static inline uint8_t flag_read(volatile uint8_t *flag) { return __atomic_load_n(flag, __ATOMIC_SEQ_CST); }
    static inline void flag_store(volatile uint8_t *flag, uint8_t value) {
        __atomic_store_n(flag, value, __ATOMIC_SEQ_CST);
    }
    static inline int flag_swap(volatile uint8_t *flag, uint8_t expected, uint8_t value)
    { return __atomic_compare_exchange_n(flag, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }
    """
    void word_or(volatile uint64_t *word, uint64_t bits) noexcept nogil
    uint64_t word_take(volatile uint64_t *word) noexcept nogil
    uint64_t word_read(volatile uint64_t *word) noexcept nogil
    void count_store(volatile uint32_t *count, uint32_t value) noexcept nogil
    int32_t count_add(volatile int32_t *count, int32_t n) noexcept nogil
    void flag_set(volatile uint8_t *flag) noexcept nogil
    uint8_t flag_take(volatile uint8_t *flag) noexcept nogil
    uint8_t flag_read(volatile uint8_t *flag) noexcept nogil
    void flag_store(volatile uint8_t *flag, uint8_t value) noexcept nogil
    bint flag_swap(volatile uint8_t *flag, uint8_t expected, uint8_t value) noexcept nogil
