# DomainMemory: what a domain's memory is, whatever kind of guest it has.
#
# Below this line of the house nobody knows page-table rules.  A kind of guest stands above: mm/pv for a paravirtualised
# one, whose page tables name machine frames and are checked; a translated one would keep its p2m and shadows in
# mm/paged.  Each hangs its rules in (`MemoryRules`) and reaches this structure by a pointer.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from xenia.abi.xen cimport XEN_LEGACY_MAX_VCPUS
from xenia.cpu.processor cimport (
    ASK_FLUSH_ALL, ASK_FLUSH_FRAME, ASK_FLUSH_PAGE, ASK_FORGET_CODE, Processor, full_barrier, processor_apply,
    processors_ask,
)
from xenia.machine.atomic cimport count_add
from xenia.machine.lock cimport Lock
from xenia.machine.machine cimport Frame, Machine
from xenia.machine.paging cimport PAGE_SIZE

cdef enum:
    MAX_PROCESSORS = XEN_LEGACY_MAX_VCPUS

# For mm_flush_page and mm_flush_all: a bit for each of the domain's processors.
cdef extern from *:
    """
    #define XENIA_ALL_PROCESSORS (~0ULL)
    """
    const uint64_t ALL_PROCESSORS "XENIA_ALL_PROCESSORS"

cdef struct MemoryRules:    # what a frame must be before it is a page table, or holds descriptors
    # Check it and take what its entries hold: 0, or -XEN_E* and nothing was taken.
    int (*promote)(void *kind, uint64_t mfn, int frame_type) noexcept nogil
    # Give back what they held.
    void (*demote)(void *kind, uint64_t mfn, int frame_type) noexcept nogil

ctypedef void (*dirty_fn)(void *argument, uint64_t mfn) noexcept nogil

# The frames of a domain are touched by the threads that run it and by whoever uses what it granted, so all hold `lock`
# while they look at or change its frame-table rows and page tables.  Nobody holds the locks of two domains at once.
cdef struct DomainMemory:
    Lock lock
    Machine *machine
    uint16_t domid
    uint8_t dying           # its processors enter no guest any more: nothing needs a flush
    uint8_t levels          # of its guest's page tables
    uint64_t hole_start     # addresses from here to before hole_end are not the guest's: what is mapped there is Xen's
    uint64_t hole_end
    uint64_t tot_pages
    uint64_t max_pages
    volatile uint8_t *preempt   # non-zero: a long operation should stop and be continued
    MemoryRules *rules      # NULL: its frames are never anything but ordinary memory
    void *kind              # what the rules are called with: mm/pv's PvMmu
    # Those that may have translations of its frames cached, one for each vcpu, by number.
    uint32_t nr_processors
    Processor *processors[MAX_PROCESSORS]
    uint32_t epoch          # the flush clock of more than one; see memory.pyx
    uint32_t seen[MAX_PROCESSORS]
    dirty_fn dirty          # NULL: nobody keeps a log; see mm_dirty
    void *dirty_argument

# The next processor of the domain's; it has nothing cached.  Not while the guest runs.
cdef void memory_add_processor(DomainMemory *memory, Processor *processor) noexcept nogil


# --- what must be dropped.  On any thread, with the lock held (or before anybody else can know the domain).  It is done
# on every processor when these return, or before the processor that is outside comes in; the caller's own does it at
# once.  See cpu/processor.pyx.


cdef inline void memory_ask(DomainMemory *memory, uint64_t which, int what, uint64_t at,
                            uint64_t length) noexcept nogil:
    if memory.nr_processors == 1:
        if which & 1:
            processor_apply(memory.processors[0], what, at, length)
    else:
        processors_ask(memory.processors, memory.nr_processors, which, what, at, length)


# Translations of this address, by the processors of `which`.
cdef inline void mm_flush_page(DomainMemory *memory, uint64_t va, uint64_t which) noexcept nogil:
    memory_ask(memory, which, ASK_FLUSH_PAGE, va, 0)


# All translations.
cdef inline void mm_flush_all(DomainMemory *memory, uint64_t which) noexcept nogil:
    memory_ask(memory, which, ASK_FLUSH_ALL, 0, 0)


# Translations to this frame, at whatever address.
cdef inline void mm_flush_frame(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    memory_ask(memory, ALL_PROCESSORS, ASK_FLUSH_FRAME, mfn, 0)


# What was translated from code in these bytes, which were written already.  With the lock or without.  Other processors
# do it by the next time they look: before they can know of it by a serialising instruction.
cdef inline void mm_forget_code(DomainMemory *memory, uint64_t maddr, uint64_t length) noexcept nogil:
    memory_ask(memory, ALL_PROCESSORS, ASK_FORGET_CODE, maddr, length)


# Everything that was cached of a frame which the domain has no longer.
cdef inline void mm_forget_frame(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    mm_flush_frame(memory, mfn)
    mm_forget_code(memory, mfn << 12, PAGE_SIZE)


# --- what must be told


# A frame was written to, or may be from now on.
#
# Whoever sets `dirty` (with the lock held, while the domain stands still) is told a frame's number
#   - when a writable reference to it is taken (an entry that maps it writable, a grant's holder, Xenia for itself),
#     before anything is written by it;
#   - after Xenia wrote to it by itself: copies to the guest, stores that it carried out, page-table entries,
#     descriptors;
#   - when the domain gets it.
# It is not told of stores that a guest, or who else holds a writable reference, makes by what it has already, nor of
# accessed and dirty bits.  So: a frame without a writable reference when the log began, and not told since, has in it
# what it had; one with such a reference is for the engine to watch, or counts as written.  Frames that Xen shares with
# the guest (FRAME_SHARED) are written all the time and are not told.
#
# Called on any thread, with the lock or without: it waits for nothing and calls nothing here.
cdef inline void mm_dirty(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    if memory.dirty != NULL:
        memory.dirty(memory.dirty_argument, mfn)


# Xenia writes to a frame for the domain: between the two, of which the second says what bytes, all in one frame.  With
# several processors guest code of the others runs meanwhile.
cdef inline void mm_writes(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    if memory.nr_processors > 1:
        mm_lent(memory, mfn)


cdef inline void mm_wrote(DomainMemory *memory, uint64_t maddr, uint64_t length) noexcept nogil:
    if memory.nr_processors > 1:
        mm_given_back(memory, maddr >> 12)
    mm_forget_code(memory, maddr, length)
    mm_dirty(memory, maddr >> 12)


# Entry `index` of a page table was changed.
cdef inline void mm_pte_changed(DomainMemory *memory, uint64_t table, unsigned index, uint64_t old,
                                uint64_t new) noexcept nogil:
    cdef uint32_t i
    for i in range(memory.nr_processors):
        memory.processors[i].ops.pte_changed(memory.processors[i], table, index, old, new)
    mm_dirty(memory, table)


# A frame became a page table of `level`, and stopped being one.
cdef inline void mm_table_typed(DomainMemory *memory, uint64_t mfn, int level) noexcept nogil:
    cdef uint32_t i
    for i in range(memory.nr_processors):
        memory.processors[i].ops.table_typed(memory.processors[i], mfn, level)


cdef inline void mm_table_untyped(DomainMemory *memory, uint64_t mfn, int level) noexcept nogil:
    cdef uint32_t i
    for i in range(memory.nr_processors):
        memory.processors[i].ops.table_untyped(memory.processors[i], mfn, level)


# A top table is about to be none any more.
cdef inline void mm_root_dropped(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    cdef uint32_t i
    for i in range(memory.nr_processors):
        memory.processors[i].ops.root_dropped(memory.processors[i], mfn)


# Others than the domain's processors may write to a frame from now on: a reference for that was taken; and it was given
# back.  With the lock or without.
cdef inline void mm_lent(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    cdef Processor *processor
    cdef uint32_t i
    count_add(<int32_t *>&memory.machine.frames[mfn].lent, 1)
    full_barrier()
    for i in range(memory.nr_processors):
        processor = memory.processors[i]
        if processor.ops.frame_lent != NULL:
            processor.ops.frame_lent(processor, mfn)


cdef inline void mm_given_back(DomainMemory *memory, uint64_t mfn) noexcept nogil:
    count_add(<int32_t *>&memory.machine.frames[mfn].lent, -1)


# --- the flush clock: whether translations that let a guest write may have outlived the last writable reference


cdef uint32_t epoch_of_many(DomainMemory *memory) noexcept nogil


cdef inline uint32_t mm_flush_clock(DomainMemory *memory) noexcept nogil:
    if memory.nr_processors == 1:
        return memory.processors[0].flush_clock
    return epoch_of_many(memory)


# Now the frame lost its last writable reference.
cdef inline void mm_stamp(DomainMemory *memory, Frame *frame) noexcept nogil:
    frame.stamp = mm_flush_clock(memory)


# Whether it must be flushed before it is used as something else.  Where it is not writable memory any more already, the
# answer may be yes for nothing.
cdef inline bint mm_needs_flush(DomainMemory *memory, Frame *frame) noexcept nogil:
    return <uint32_t>(mm_flush_clock(memory) - frame.stamp) < (1 if memory.nr_processors == 1 else 2)
