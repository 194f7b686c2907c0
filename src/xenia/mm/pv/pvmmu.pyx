"""References and types: who holds a machine frame, and as what.

Theory of operation.  This is Xen's scheme, and the whole safety of paravirtualised memory rests on it.

Every frame has two counts.  `refs` counts everything that needs the frame to stay with its owner: each page-table entry
that maps it, a pin, a base pointer.  `type_refs` counts those that need it to stay what it is, and a frame is one thing
at a time: a page table of level 1 to 4, segment descriptors, or ordinary writable memory.  A writable mapping is a
reference to the frame as FRAME_WRITABLE, an L2 entry is a reference to its target as FRAME_L1, and so on.  So a frame
is a page table or it is writable, never both, and no guest can reach its own page tables but by asking.

When a frame is first wanted as a page table, every entry in it is checked and takes the references it needs, and so on
down the tree (validation, `promote`); when it is last wanted as one, every entry gives them back (`demote`).  In
between entries change one at a time, in mm/update.  A pin holds one reference of each kind for the guest, so that a
tree stays validated while nothing points to it.

A page table may map itself or another of its level, read-only: the linear page tables of some kernels.  An entry that
points to its own table holds no reference (it would never go away); one that points to another table holds one as that
type, and a table is not on both ends of such links at once.

Translations that a processor has cached outlive the entries they came from.  It matters at two moments: when a frame
that was writable becomes a page table, and when a frame is handed back.  At both, every cached translation of that
frame is dropped (`flush_frame`); nothing else needs a flush from here.  A frame's `stamp` says when it last lost a
writable reference, on the clock that counts full flushes: none since, none needed.

A count that is at its end refuses whoever wants one more, as Xen does: each entry of eight bytes is one, so a guest of
32 GB gets there.

A tree may have thousands of tables, so whoever waits for the domain's lock has it between any two (`give_way`).  Others
only ever want frames that the domain granted them, to read or to write.  A table has its type, and a type reference,
from before its first entry is checked until after its last has given back what it held, so nobody gets it for writing
while it is half one thing and half another.
"""

from libc.stdint cimport INT32_MIN, UINT32_MAX, uint32_t, uint64_t

from xenia.abi.errno cimport XEN_EBUSY, XEN_EINVAL, XEN_EPERM
from xenia.abi.xen cimport DOMID_IO, PERDOMAIN_VIRT_START
from xenia.machine.lock cimport give_way
from xenia.machine.machine cimport (
    FRAME_ALLOCATED, FRAME_L1, FRAME_L2, FRAME_L4, FRAME_NONE, FRAME_PINNED, FRAME_SEG_DESC, FRAME_SHARED,
    FRAME_VALIDATED, FRAME_WRITABLE, Frame, frame_exists, frame_words, machine_free,
)
from xenia.mm.pv.descriptor_check cimport validate_segment_descriptors

cdef enum:
    ENTRIES = 512
    M2P_SLOT = 256
    PERDOMAIN_SLOT = 260
    TABLE = PAGE_PRESENT | PAGE_ACCESSED    # of the hypervisor's own tables: supervisor, read-only
    CACHE_ATTRIBUTES = PAGE_PWT | PAGE_PCD
    # What no entry above L1 may carry; L1 entries may be global.
    DISALLOWED = CACHE_ATTRIBUTES | PAGE_PSE | PAGE_GLOBAL

cdef uint64_t NO_MFN = <uint64_t>0xffffffffff       # an entry's every address bit


# --- references ---


cdef bint get_page(PvMmu *mmu, uint64_t mfn) noexcept nogil:
    """A reference to a frame of this domain; False where there is no such frame, it is not this domain's, or it has as
    many as can be."""
    cdef Frame *frame
    if not frame_exists(mmu.machine, mfn):
        return False
    frame = &mmu.machine.frames[mfn]
    if <uint32_t>(frame.refs + 1) <= 1 or frame.owner != mmu.domid:     # nobody's, or no more can be counted
        return False
    frame.refs += 1
    return True


cdef void put_page(PvMmu *mmu, uint64_t mfn) noexcept nogil:
    """Give a reference back; the last one returns the frame to the machine."""
    cdef Frame *frame = &mmu.machine.frames[mfn]
    frame.refs -= 1
    if frame.refs == 0:
        if not mmu.dying:   # a dead domain's processor enters no guest any more
            mmu.processor.ops.flush_frame(mmu.processor, mfn)
            mmu.processor.ops.code_dirty(mmu.processor, mfn << 12, 4096)
        mmu.tot_pages -= 1
        machine_free(mmu.machine, mfn)
    elif not mmu.dying and not frame.flags & FRAME_ALLOCATED and frame.type != FRAME_SHARED:
        # The domain gave the frame up, and others hold it.  They may be the last, and they flush nothing of this
        # processor's.
        mmu.processor.ops.flush_frame(mmu.processor, mfn)
        mmu.processor.ops.code_dirty(mmu.processor, mfn << 12, 4096)


cdef bint get_granted(PvMmu *mmu, uint64_t mfn, bint writable) noexcept nogil:
    # A frame of Xen's that is shared with the domain is not the domain's to grant: it goes when the domain does.
    cdef Frame *frame
    if not get_page(mmu, mfn):
        return False
    frame = &mmu.machine.frames[mfn]
    if (frame.type == FRAME_SHARED or frame.type_refs == UINT32_MAX
            or writable and frame.type_refs and frame.type != FRAME_WRITABLE):
        frame.refs -= 1             # never the last: it was there before
        return False
    if writable and frame.type_refs:
        frame.type_refs += 1
    elif writable:
        frame.type = FRAME_WRITABLE
        frame.flags &= ~FRAME_VALIDATED
        frame.type_refs = 1
    return True


cdef void put_granted(PvMmu *mmu, uint64_t mfn, bint writable) noexcept nogil:
    cdef Frame *frame = &mmu.machine.frames[mfn]
    if writable:
        frame.type_refs -= 1
        if frame.type_refs == 0 and not mmu.dying:
            frame.stamp = mmu.processor.flush_clock
    frame.refs -= 1
    if frame.refs == 0:
        mmu.tot_pages -= 1
        machine_free(mmu.machine, mfn)


cdef int get_page_and_type(PvMmu *mmu, uint64_t mfn, int frame_type) noexcept nogil:
    cdef int rc
    if not get_page(mmu, mfn):
        return -XEN_EINVAL
    rc = get_page_type(mmu, mfn, frame_type)
    if rc:
        put_page(mmu, mfn)
    return rc


cdef void put_page_and_type(PvMmu *mmu, uint64_t mfn) noexcept nogil:
    put_page_type(mmu, mfn)
    put_page(mmu, mfn)


# --- types ---


cdef int get_page_type(PvMmu *mmu, uint64_t mfn, int frame_type) noexcept nogil:
    """A reference to the frame as `frame_type`: 0, or -XEN_EINVAL where it is something else or does not validate.

    Precondition: the caller holds a reference to the frame.
    """
    cdef Frame *frame = &mmu.machine.frames[mfn]
    cdef int rc
    if frame.type_refs == UINT32_MAX:
        return -XEN_EINVAL
    if frame.type == FRAME_SHARED:
        # Shared with Xen: ordinary memory to the guest, and never anything else.
        if frame_type != FRAME_WRITABLE and frame_type != FRAME_SHARED:
            return -XEN_EINVAL
        frame.type_refs += 1
        return 0
    if frame.type_refs:
        if frame.type != frame_type:
            return -XEN_EINVAL
        frame.type_refs += 1
        return 0
    if frame.type != frame_type:
        if frame_type != FRAME_WRITABLE and frame.stamp == mmu.processor.flush_clock:
            mmu.processor.ops.flush_frame(mmu.processor, mfn)
        frame.type = frame_type
        frame.flags &= ~FRAME_VALIDATED
    frame.type_refs = 1
    if frame_type != FRAME_WRITABLE and not frame.flags & FRAME_VALIDATED:
        rc = promote(mmu, mfn, frame_type)
        if rc:
            frame.type_refs = 0
            frame.type = FRAME_NONE
            return rc
        frame.flags |= FRAME_VALIDATED
    return 0


cdef void put_page_type(PvMmu *mmu, uint64_t mfn) noexcept nogil:
    cdef Frame *frame = &mmu.machine.frames[mfn]
    if frame.type_refs == 1 and frame.type != FRAME_WRITABLE:
        # It stays what it is, to others, until its entries hold nothing any more.
        frame.flags &= ~FRAME_VALIDATED
        demote(mmu, mfn, frame.type)
        frame.type = FRAME_NONE
    frame.type_refs -= 1
    if frame.type_refs == 0 and frame.type == FRAME_WRITABLE:
        frame.stamp = mmu.processor.flush_clock


cdef int promote(PvMmu *mmu, uint64_t mfn, int frame_type) noexcept nogil:
    # Check every entry and take what it holds; nothing is taken when one is refused.
    cdef uint64_t *words = frame_words(mmu.machine, mfn)
    cdef unsigned i, undo
    cdef int rc
    give_way(&mmu.lock)
    if frame_type == FRAME_SEG_DESC:
        rc = validate_segment_descriptors(words)
        mmu.processor.ops.code_dirty(mmu.processor, mfn << 12, 4096)
        return rc
    for i in range(ENTRIES):
        if not words[i] & PAGE_PRESENT or (frame_type == FRAME_L4 and not is_guest_l4_slot(i)):
            continue
        rc = get_entry(mmu, frame_type, mfn, words[i])
        if rc:
            for undo in range(i):
                if frame_type != FRAME_L4 or is_guest_l4_slot(undo):
                    put_entry(mmu, frame_type, mfn, words[undo])
            return rc
    if frame_type == FRAME_L4:
        mmu.l4_changes += 1
        fill_hypervisor_slots(mmu, words)
    mmu.processor.ops.table_typed(mmu.processor, mfn, frame_type)
    return 0


cdef void demote(PvMmu *mmu, uint64_t mfn, int frame_type) noexcept nogil:
    cdef uint64_t *words = frame_words(mmu.machine, mfn)
    cdef unsigned i
    if frame_type > FRAME_L4 or frame_type == FRAME_NONE:
        return
    give_way(&mmu.lock)
    if frame_type == FRAME_L4:
        mmu.processor.ops.root_dropped(mmu.processor, mfn)
    for i in range(ENTRIES):
        if frame_type != FRAME_L4 or is_guest_l4_slot(i):
            put_entry(mmu, frame_type, mfn, words[i])
    mmu.processor.ops.table_untyped(mmu.processor, mfn, frame_type)


cdef void fill_hypervisor_slots(PvMmu *mmu, uint64_t *l4) noexcept nogil:
    cdef unsigned i
    for i in range(256, 272):
        l4[i] = 0
    l4[M2P_SLOT] = mmu.machine.m2p_l3 << 12 | TABLE
    l4[PERDOMAIN_SLOT] = mmu.perdomain_l3 << 12 | TABLE


# --- entries ---


cdef int get_entry(PvMmu *mmu, int level, uint64_t table, uint64_t entry) noexcept nogil:
    """Take what `entry` of a level-`level` table would hold.

    0, -XEN_EINVAL (bits that are not the guest's to set; a frame that is not a table of the level below), -XEN_EBUSY (a
    frame of somebody else, or a page table mapped writable) or -XEN_EPERM (not memory).
    """
    cdef uint64_t mfn = pte_mfn(entry)
    cdef int rc
    if not entry & PAGE_PRESENT:
        return 0
    if level == FRAME_L1:
        if entry & (CACHE_ATTRIBUTES | PAGE_PSE):
            return -XEN_EINVAL
        if not frame_exists(mmu.machine, mfn) or mmu.machine.frames[mfn].owner == DOMID_IO:
            return -XEN_EINVAL if mfn == NO_MFN else -XEN_EPERM
        if not get_page(mmu, mfn):
            return -XEN_EBUSY
        if entry & PAGE_RW and get_page_type(mmu, mfn, FRAME_WRITABLE):
            put_page(mmu, mfn)
            return -XEN_EBUSY
        return 0
    if entry & DISALLOWED:
        return -XEN_EINVAL
    if mfn == table:
        return -XEN_EINVAL if entry & PAGE_RW else 0
    rc = get_page_and_type(mmu, mfn, level - 1)
    if rc == -XEN_EINVAL and not entry & PAGE_RW and level >= FRAME_L2:
        return get_linear(mmu, level, table, mfn)
    return rc


cdef void put_entry(PvMmu *mmu, int level, uint64_t table, uint64_t entry) noexcept nogil:
    """Give back what `entry` held."""
    cdef uint64_t mfn = pte_mfn(entry)
    if not entry & PAGE_PRESENT or not frame_exists(mmu.machine, mfn):
        return
    if level == FRAME_L1:
        if mmu.machine.frames[mfn].owner != mmu.domid:
            return                  # another domain's, by a grant: its handle holds it (mm/foreign)
        if entry & PAGE_RW:
            put_page_type(mmu, mfn)
        elif mmu.ldt_mapped and mmu.machine.frames[mfn].type == FRAME_SEG_DESC:
            unmap_ldt(mmu)      # it may have been the LDT's
        put_page(mmu, mfn)
    elif mfn != table:
        if mmu.machine.frames[mfn].type == level:
            put_linear(mmu, table, mfn)
        put_page_and_type(mmu, mfn)


cdef int get_linear(PvMmu *mmu, int level, uint64_t table, uint64_t mfn) noexcept nogil:
    # An entry that makes a validated table of the same level its own page of leaves.
    cdef Frame *upper = &mmu.machine.frames[table]
    cdef Frame *lower
    if not get_page(mmu, mfn):
        return -XEN_EINVAL
    lower = &mmu.machine.frames[mfn]
    if (lower.type != level or not lower.flags & FRAME_VALIDATED or lower.type_refs == 0 or
            lower.type_refs == UINT32_MAX or
            lower.linear > 0 or lower.linear == INT32_MIN or upper.linear < 0):
        put_page(mmu, mfn)
        return -XEN_EINVAL
    lower.type_refs += 1
    lower.linear -= 1
    upper.linear += 1
    return 0


cdef void put_linear(PvMmu *mmu, uint64_t table, uint64_t mfn) noexcept nogil:
    mmu.machine.frames[mfn].linear += 1
    mmu.machine.frames[table].linear -= 1


# --- the LDT, and the end ---


cdef void unmap_ldt(PvMmu *mmu) noexcept nogil:
    cdef uint64_t *entries = frame_words(mmu.machine, mmu.perdomain_l1)
    cdef uint64_t old
    cdef unsigned page
    if mmu.ldt_mapped == 0:
        return
    mmu.ldt_mapped = 0
    for page in range(LDT_FIRST_PAGE, LDT_FIRST_PAGE + LDT_PAGES):
        old = entries[page]
        if old & PAGE_PRESENT:
            entries[page] = 0
            mmu.processor.ops.pte_changed(mmu.processor, mmu.perdomain_l1, page, old, 0)
            mmu.processor.ops.flush_page(mmu.processor, PERDOMAIN_VIRT_START + 4096 * page)
            put_page_and_type(mmu, pte_mfn(old))


cdef uint64_t relinquish(PvMmu *mmu) noexcept nogil:
    cdef Frame *frames = mmu.machine.frames
    cdef uint64_t mfn, left = 0
    for mfn in range(mmu.machine.nr_frames):
        if mfn % 512 == 0:
            give_way(&mmu.lock)
        if frames[mfn].owner == mmu.domid and frames[mfn].refs and frames[mfn].flags & FRAME_PINNED:
            frames[mfn].flags &= ~FRAME_PINNED
            put_page_and_type(mmu, mfn)
    for mfn in range(mmu.machine.nr_frames):
        if mfn % 512 == 0:
            give_way(&mmu.lock)
        if frames[mfn].owner == mmu.domid and frames[mfn].refs and frames[mfn].flags & FRAME_ALLOCATED:
            frames[mfn].flags &= ~FRAME_ALLOCATED
            put_page(mmu, mfn)
    for mfn in range(mmu.machine.nr_frames):
        if mfn % 512 == 0:
            give_way(&mmu.lock)
        left += frames[mfn].owner == mmu.domid and frames[mfn].refs != 0
    return left
