# What stubs have mapped of guests' address spaces: see mapping.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from xenia.cpu.engines.native.stub cimport NR_COPIES, NR_STUBS, Stub
from xenia.cpu.processor cimport Processor
from xenia.machine.lock cimport Lock
from xenia.machine.machine cimport Frame, Machine

cdef extern from *:
    """
    #ifndef XENIA_READ_ENTRY
    #define XENIA_READ_ENTRY
    static inline uint64_t read_entry(const uint64_t *entry) { return __atomic_load_n(entry, __ATOMIC_RELAXED); }
    #endif
    """
    uint64_t read_entry(const uint64_t *entry) noexcept nogil

cdef enum:
    AROUND = 32                 # pages, aligned: what else is mapped on a fault
    FRAME_MASK = 0xffffffffff
    PLACE_WRITABLE = 1          # Table.frames: with the frame's number
    PLACE_EXECUTABLE = 2
    PLACE_SHIFT = 2
    PLACE_ANY = 0xffffffff
    INDEX_SHIFT = 9             # Mapping.latest: the table, then the index
    TOP = 4                     # the level of the top table

cdef enum:                  # what came of a page that guest code wants
    MAPPED
    REFUSED                 # by the guest's page tables: the error code says why
    ELSEWHERE               # nothing that a stub could map

cdef struct Table:          # a page table that something of a stub's mappings came from
    uint32_t mfn
    uint32_t stub
    uint32_t level
    uint32_t next           # of the same frame, 0 none
    uint32_t sibling        # of the same stub
    uint64_t va             # of what its first entry maps
    uint32_t *frames        # of level 1, for each entry: 0 not mapped, else the frame, see PLACE_*

cdef struct Mapping:
    Lock lock
    Processor *processor
    void (*watch_code)(Processor *, uint64_t mfn) noexcept nogil    # of the emulated processor alone
    uint8_t *code_of_all    # a bit for each frame that any of several processors has code from; NULL there is one
    uint8_t *memory         # the machine's
    const Frame *frames
    uint64_t nr_frames
    Table *tables           # by number from 1 on
    uint32_t *places        # 512 for each of `tables`
    uint32_t unused         # a list by `next`
    uint32_t nr_unused
    uint32_t *watched       # for each frame: the first of `tables` that is in it, 0 none
    uint32_t *mapped        # for each frame: how often
    uint32_t *writable      # and how often so that it may be written
    uint32_t *latest        # and where last: the table's number and the index
    # and LOOKED_* (executable.pxd): may it be executed?  NULL: all may, for the host's processor hides CPUID
    uint8_t *looked
    uint16_t *copy          # for each frame: the number of the copy that is executed in its place, from 1 on; 0 none
    bint copied[NR_COPIES]  # whether it is some frame's
    uint8_t *copies
    Stub *stubs
    uint32_t of_stub[NR_STUBS]      # the first of its tables
    uint64_t nr_mapped      # pages, ever
    uint64_t nr_unmapped

cdef struct Found:          # what leads to a page
    uint64_t root
    Table *leaf
    uint64_t *entries       # of the L1 table
    uint64_t rights         # PAGE_RW: all above let it be written
    uint64_t nx             # PAGE_NX: some above forbids that it is executed

cdef struct Unwatched:      # frames that are to be watched before they are looked at
    uint32_t nr
    uint64_t mfns[AROUND]

cdef bint mapping_init(Mapping *mapping, Processor *processor, const Machine *machine, Stub *stubs,
                       bint looks) noexcept nogil
cdef void mapping_end(Mapping *mapping) noexcept nogil
# The page at `va` is to be mapped for `access` (PFEC_*), and those around it that the page tables have; the access is
# as the processor's own: accessed and dirty bits are set.  `error` is a page fault's where it is refused.
cdef int mapping_want(Mapping *mapping, Stub *stub, uint64_t root, uint64_t va, uint32_t access,
                      uint32_t *error) noexcept nogil
# An entry of some page table changed; a page table is none any more; a frame is mapped nowhere; it is nowhere writable.
cdef void mapping_entry_changed(Mapping *mapping, uint64_t table, unsigned index, uint64_t old,
                                uint64_t new) noexcept nogil
cdef void mapping_untyped(Mapping *mapping, uint64_t table) noexcept nogil
cdef void mapping_forget_frame(Mapping *mapping, uint64_t mfn) noexcept nogil
# EVERY_FRAME: of those with code.
cdef void mapping_protect_frame(Mapping *mapping, uint64_t mfn) noexcept nogil
# With the lock held: what is mapped of it with one of those rights is so no longer.
cdef void mapping_take(Mapping *mapping, uint64_t mfn, uint32_t rights) noexcept nogil
# Nothing is mapped of that stub's.
cdef void mapping_drop(Mapping *mapping, Stub *stub) noexcept nogil
