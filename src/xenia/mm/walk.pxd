# Down a tree of page tables, one entry at a time.  For whoever reads page tables that a guest made: nothing is believed
# but that an entry has eight bytes and names a frame.  Header only: a walk is inlined where it is made.
#
#     walk_start(&walk, machine, root, levels, va)
#     while walk.level > 0:               # > 1: to the entry that maps the page, and not through it
#         if not walk_step(&walk): ...    # it ends at walk.entry (NULL: the table is no frame of the machine)
#
# An entry is read once, and changed by the functions here alone: processors set accessed and dirty bits at any time,
# whoever holds the lock.
#
# Levels: 4, or 3 for a 32-bit guest (the index at the top has two bits then, as `va` has no more).
from libc.stdint cimport uint64_t
from xenia.machine.machine cimport Machine, frame_exists, frame_words
from xenia.machine.paging cimport PAGE_PRESENT

cdef extern from *:
    """
    #ifndef XENIA_WALK
    #define XENIA_WALK
    static inline uint64_t entry_read(const uint64_t *entry) { return __atomic_load_n(entry, __ATOMIC_RELAXED); }
    static inline uint64_t entry_exchange(uint64_t *entry, uint64_t value)
    {
        return __atomic_exchange_n(entry, value, __ATOMIC_SEQ_CST);
    }
    static inline int entry_swap(uint64_t *entry, uint64_t *expected, uint64_t value)
    {
        return __atomic_compare_exchange_n(entry, expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    #endif
    """
    uint64_t entry_read(const uint64_t *entry) noexcept nogil
    # What it was.
    uint64_t entry_exchange(uint64_t *entry, uint64_t value) noexcept nogil
    # False where it is not as expected: `expected` is then what it is.
    bint entry_swap(uint64_t *entry, uint64_t *expected, uint64_t value) noexcept nogil

cdef struct Walk:
    Machine *machine
    uint64_t va
    uint64_t table          # what comes next: the table of `level`; at level 0 the page.  It need not exist
    uint64_t *entry         # where we looked last
    uint64_t pte            # and what it said
    int level


cdef inline uint64_t pte_mfn(uint64_t pte) noexcept nogil:
    return (pte >> 12) & <uint64_t>0xffffffffff


# Which entry of a table of `level` is looked at for `va`.
cdef inline unsigned walk_index(uint64_t va, int level) noexcept nogil:
    return (va >> (3 + 9 * level)) & 511


cdef inline void walk_start(Walk *walk, Machine *machine, uint64_t root, int levels, uint64_t va) noexcept nogil:
    walk.machine = machine
    walk.va = va
    walk.table = root
    walk.entry = NULL
    walk.level = levels


# Look at the next entry and follow it.  False where there is no such table, or the entry is not present.
cdef inline bint walk_step(Walk *walk) noexcept nogil:
    if not frame_exists(walk.machine, walk.table):
        walk.entry = NULL
        return False
    walk.entry = &frame_words(walk.machine, walk.table)[walk_index(walk.va, walk.level)]
    walk.pte = entry_read(walk.entry)
    if not walk.pte & PAGE_PRESENT:
        return False
    walk.table = pte_mfn(walk.pte)
    walk.level -= 1
    return True


# Set bits in the entry where we looked last, as a processor that walks would.  False where it has changed since: the
# walk is to begin anew.
cdef inline bint walk_mark(Walk *walk, uint64_t bits) noexcept nogil:
    if walk.pte & bits == bits:
        return True
    if not entry_swap(walk.entry, &walk.pte, walk.pte | bits):
        return False
    walk.pte |= bits
    return True
