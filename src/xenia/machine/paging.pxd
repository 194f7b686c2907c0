# Pages and page-table entries, as the processor has them.
from libc.stdint cimport uint64_t

cdef enum:
    PAGE_SHIFT = 12
    PAGE_SIZE = 1 << PAGE_SHIFT
    PAGE_OFFSET = PAGE_SIZE - 1     # the bits of an address within its page
    TABLE_ENTRIES = 512             # of a page table, 8 bytes each

cdef enum:                  # bits of a page-table entry
    PAGE_PRESENT = 1 << 0
    PAGE_RW = 1 << 1
    PAGE_USER = 1 << 2
    PAGE_PWT = 1 << 3
    PAGE_PCD = 1 << 4
    PAGE_ACCESSED = 1 << 5
    PAGE_DIRTY = 1 << 6
    PAGE_PSE = 1 << 7
    PAGE_GLOBAL = 1 << 8

# Constants that no enum of Cython's holds.
cdef extern from *:
    """
    #define XENIA_PAGE_NX           (1ULL << 63)
    #define XENIA_LOWER_HALF_END    (1ULL << 47)    /* of the canonical addresses of four levels */
    #define XENIA_UPPER_HALF_START  (~0ULL << 47)
    """
    const uint64_t PAGE_NX "XENIA_PAGE_NX"
    const uint64_t LOWER_HALF_END "XENIA_LOWER_HALF_END"
    const uint64_t UPPER_HALF_START "XENIA_UPPER_HALF_START"
