# Machine memory and the frame table.  Knows no domain, only owner numbers.
#
# Machine memory is one memfd mapped once at `base`; machine frame number mfn is the 4 KiB at base + (mfn << 12).
# The lowest frames belong to Xen (DOMID_XEN): the M2P table, the page tables that map it, and the per-domain
# pages are taken from there.  A frame with refs == 0 is free.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from xenia.machine.free_frames cimport FreeFrames
from xenia.machine.lock cimport Lock

cdef enum:                  # Frame.type
    # Xen's PGT_* types; a frame has one type at a time while type_refs > 0.
    FRAME_NONE = 0
    FRAME_L1 = 1
    FRAME_L2 = 2
    FRAME_L3 = 3
    FRAME_L4 = 4
    FRAME_SEG_DESC = 5
    FRAME_SHARED = 6        # belongs to Xen, shared with its owner: shared_info, grant frames
    FRAME_WRITABLE = 7

cdef enum:                  # Frame.flags
    FRAME_PINNED = 1        # holds one reference and one type reference for the guest
    FRAME_VALIDATED = 2     # entries checked and their references taken
    FRAME_ALLOCATED = 4     # PGC_allocated: the owner's own reference
    FRAME_WALKED = 8        # was a table, and some processor may still be walking it: see mm/references

cdef struct Frame:          # 24 bytes, one per machine frame
    uint32_t refs           # general references: mappings, pins, grants, in-flight use
    uint32_t type_refs      # references to the frame as `type`
    uint16_t owner          # domid
    uint8_t type            # FrameType
    uint8_t flags           # FrameFlags
    # flush clock of the owner's processor when the last type reference went (Xen's tlbflush_timestamp)
    uint32_t stamp
    int32_t linear          # linear (recursive) page table uses: >0 as the upper table, <0 as the lower one
    uint32_t lent           # writable references of others than page tables: grants, Xen's own (mm/references)

cdef struct Machine:
    uint8_t *base
    uint64_t nr_frames
    Frame *frames           # nr_frames entries, host memory, never mapped by a guest
    # nr_frames entries rounded up to a frame, inside machine memory, INVALID_M2P_ENTRY when unset
    uint64_t *m2p
    uint64_t m2p_l3         # mfn of the L3 table that every L4 carries in slot 256
    int memfd
    FreeFrames free
    uint64_t run, nr_run    # frames that were freed one after the other and are not scrubbed yet
    Lock lock               # guards the allocator (frames are otherwise touched only by their owner's thread)


cdef inline uint64_t *frame_words(Machine *machine, uint64_t mfn) noexcept nogil:
    return <uint64_t *>(machine.base + (mfn << 12))


cdef inline bint frame_exists(Machine *machine, uint64_t mfn) noexcept nogil:
    return mfn < machine.nr_frames


# One zeroed frame for `owner`, with one reference (FRAME_ALLOCATED) and no type; INVALID_M2P_ENTRY when none is left.
cdef uint64_t machine_alloc(Machine *machine, uint16_t owner) noexcept nogil
# 2^order of them, contiguous and aligned to their number; the first, or INVALID_M2P_ENTRY.
cdef uint64_t machine_alloc_extent(Machine *machine, uint16_t owner, unsigned order) noexcept nogil
# Hand back a frame whose last reference went; it is scrubbed before anyone gets it again.
cdef void machine_free(Machine *machine, uint64_t mfn) noexcept nogil
# Scrub at once what was handed back.
cdef void machine_scrub(Machine *machine) noexcept nogil


cdef class MachineMemory:
    cdef Machine *machine
    cdef Machine storage
    cdef Py_ssize_t length
    cdef void *reserved         # address space that nothing else is in: the memory, and its guards
    cdef size_t nr_reserved     # in bytes
    cdef uint8_t *map_between_guards(self)      # NULL without address space
