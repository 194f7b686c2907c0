"""The rules of page tables: what a frame must be to become one, and what each entry holds.

Theory of operation.  mm/references counts who holds a frame, and as what; here is what "as a page table" means for a
paravirtualised guest, whose tables name machine frames and are used as they are.

When a frame is first wanted as a page table, every entry in it is checked and takes the references it needs, and so on
down the tree (validation, `promote`); when it is last wanted as one, every entry gives them back (`demote`).  In
between entries change one at a time, in mm/pv/update.  A pin holds one reference of each kind for the guest, so that a
tree stays validated while nothing points to it.

A page table may map itself or another of its level, read-only: the linear page tables of some kernels.  An entry that
points to its own table holds no reference (it would never go away); one that points to another table holds one as that
type, and a table is not on both ends of such links at once.

A tree may have thousands of tables, so whoever waits for the domain's lock has it between any two (`give_way`).  Others
only ever want frames that the domain granted them, to read or to write.
"""

from libc.stdint cimport INT32_MIN, UINT32_MAX, uint64_t

from xenia.abi.errno cimport XEN_EBUSY, XEN_EINVAL, XEN_EPERM
from xenia.abi.xen cimport DOMID_IO, HYPERVISOR_VIRT_END, INVALID_M2P_ENTRY
from xenia.machine.lock cimport give_way
from xenia.machine.machine cimport (
    FRAME_L1, FRAME_L2, FRAME_L4, FRAME_NONE, FRAME_SEG_DESC, FRAME_VALIDATED, FRAME_WRITABLE, Frame, frame_exists,
    frame_words,
)
from xenia.machine.paging cimport (
    LOWER_HALF_END, PAGE_ACCESSED, PAGE_GLOBAL, PAGE_PCD, PAGE_PRESENT, PAGE_PSE, PAGE_PWT, PAGE_RW, PAGE_SIZE,
    TABLE_ENTRIES,
)
from xenia.mm.memory cimport (
    ALL_PROCESSORS, MemoryRules, mm_dirty, mm_flush_page, mm_pte_changed, mm_root_dropped, mm_table_typed,
    mm_table_untyped, mm_writes, mm_wrote,
)
from xenia.mm.pv.descriptor_check cimport validate_segment_descriptors
from xenia.mm.references cimport (
    get_page, get_page_and_type, get_page_type, put_page, put_page_and_type, put_page_type,
)
from xenia.mm.walk cimport pte_mfn

cdef enum:
    TABLE = PAGE_PRESENT | PAGE_ACCESSED    # of the hypervisor's own tables: supervisor, read-only
    CACHE_ATTRIBUTES = PAGE_PWT | PAGE_PCD
    # What no entry above L1 may carry; L1 entries may be global.
    DISALLOWED = CACHE_ATTRIBUTES | PAGE_PSE | PAGE_GLOBAL

cdef uint64_t NO_MFN = <uint64_t>0xffffffffff       # an entry's every address bit

cdef MemoryRules RULES
RULES.promote = promote
RULES.demote = demote


cdef void pv_mmu_init(PvMmu *mmu, DomainMemory *memory, unsigned levels) noexcept nogil:
    cdef unsigned i
    mmu.memory = memory
    for i in range(PERDOMAIN_TABLES):
        mmu.perdomain_l1[i] = INVALID_M2P_ENTRY
    mmu.perdomain_l2 = mmu.perdomain_l3 = INVALID_M2P_ENTRY
    mmu.gdt_null = mmu.gdt_reserved = INVALID_M2P_ENTRY
    memory.rules = &RULES
    memory.kind = mmu
    memory.levels = levels
    memory.hole_start = LOWER_HALF_END
    memory.hole_end = HYPERVISOR_VIRT_END


# --- tables ---


cdef int promote(void *kind, uint64_t mfn, int frame_type) noexcept nogil:
    # Check every entry and take what it holds; nothing is taken when one is refused.
    cdef PvMmu *mmu = <PvMmu *>kind
    cdef DomainMemory *memory = mmu.memory
    cdef uint64_t *words = frame_words(memory.machine, mfn)
    cdef unsigned i, undo
    cdef int rc
    give_way(&memory.lock)
    if frame_type == FRAME_SEG_DESC:
        mm_writes(memory, mfn)
        rc = validate_segment_descriptors(words)
        mm_wrote(memory, mfn << 12, PAGE_SIZE)
        return rc
    for i in range(TABLE_ENTRIES):
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
        mm_dirty(memory, mfn)
    mm_table_typed(memory, mfn, frame_type)
    return 0


cdef void demote(void *kind, uint64_t mfn, int frame_type) noexcept nogil:
    cdef PvMmu *mmu = <PvMmu *>kind
    cdef DomainMemory *memory = mmu.memory
    cdef uint64_t *words = frame_words(memory.machine, mfn)
    cdef unsigned i
    if frame_type > FRAME_L4 or frame_type == FRAME_NONE:
        return
    give_way(&memory.lock)
    if frame_type == FRAME_L4:
        mm_root_dropped(memory, mfn)
    for i in range(TABLE_ENTRIES):
        if words[i] & PAGE_PRESENT and (frame_type != FRAME_L4 or is_guest_l4_slot(i)):
            put_entry(mmu, frame_type, mfn, words[i])
    mm_table_untyped(memory, mfn, frame_type)


cdef void fill_hypervisor_slots(PvMmu *mmu, uint64_t *l4) noexcept nogil:
    cdef unsigned i
    for i in range(256, 272):
        l4[i] = 0
    l4[M2P_SLOT] = mmu.memory.machine.m2p_l3 << 12 | TABLE
    l4[PERDOMAIN_SLOT] = mmu.perdomain_l3 << 12 | TABLE


# --- entries ---


cdef int get_entry(PvMmu *mmu, int level, uint64_t table, uint64_t entry) noexcept nogil:
    """Take what `entry` of a level-`level` table would hold.

    0, -XEN_EINVAL (bits that are not the guest's to set; a frame that is not a table of the level below), -XEN_EBUSY (a
    frame of somebody else, or a page table mapped writable) or -XEN_EPERM (not memory).
    """
    cdef DomainMemory *memory = mmu.memory
    cdef uint64_t mfn = pte_mfn(entry)
    cdef int rc
    if not entry & PAGE_PRESENT:
        return 0
    if level == FRAME_L1:
        if entry & (CACHE_ATTRIBUTES | PAGE_PSE):
            return -XEN_EINVAL
        if not frame_exists(memory.machine, mfn) or memory.machine.frames[mfn].owner == DOMID_IO:
            return -XEN_EINVAL if mfn == NO_MFN else -XEN_EPERM
        if not get_page(memory, mfn):
            return -XEN_EBUSY
        if entry & PAGE_RW and get_page_type(memory, mfn, FRAME_WRITABLE):
            put_page(memory, mfn)
            return -XEN_EBUSY
        return 0
    if entry & DISALLOWED:
        return -XEN_EINVAL
    if mfn == table:
        return -XEN_EINVAL if entry & PAGE_RW else 0
    rc = get_page_and_type(memory, mfn, level - 1)
    if rc == -XEN_EINVAL and not entry & PAGE_RW and level >= FRAME_L2:
        return get_linear(memory, level, table, mfn)
    return rc


cdef void put_entry(PvMmu *mmu, int level, uint64_t table, uint64_t entry) noexcept nogil:
    """Give back what `entry` held."""
    cdef DomainMemory *memory = mmu.memory
    cdef uint64_t mfn = pte_mfn(entry)
    if not entry & PAGE_PRESENT or not frame_exists(memory.machine, mfn):
        return
    if level == FRAME_L1:
        if memory.machine.frames[mfn].owner != memory.domid:
            return                  # another domain's, by a grant: its handle holds it (mm/pv/foreign)
        if entry & PAGE_RW:
            put_page_type(memory, mfn)
        elif memory.machine.frames[mfn].type == FRAME_SEG_DESC:
            unmap_ldts(mmu)     # it may have been an LDT's
        put_page(memory, mfn)
    elif mfn != table:
        if memory.machine.frames[mfn].type == level:
            put_linear(memory, table, mfn)
        put_page_and_type(memory, mfn)


cdef int get_linear(DomainMemory *memory, int level, uint64_t table, uint64_t mfn) noexcept nogil:
    # An entry that makes a validated table of the same level its own page of leaves.
    cdef Frame *upper = &memory.machine.frames[table]
    cdef Frame *lower
    if not get_page(memory, mfn):
        return -XEN_EINVAL
    lower = &memory.machine.frames[mfn]
    if (lower.type != level or not lower.flags & FRAME_VALIDATED or lower.type_refs == 0 or
            lower.type_refs == UINT32_MAX or
            lower.linear > 0 or lower.linear == INT32_MIN or upper.linear < 0):
        put_page(memory, mfn)
        return -XEN_EINVAL
    lower.type_refs += 1
    lower.linear -= 1
    upper.linear += 1
    return 0


cdef void put_linear(DomainMemory *memory, uint64_t table, uint64_t mfn) noexcept nogil:
    memory.machine.frames[mfn].linear += 1
    memory.machine.frames[table].linear -= 1


# --- the per-domain area ---


cdef void perdomain_map(PvMmu *mmu, VcpuMmu *vcpu_mmu, unsigned page, uint64_t pte) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef uint64_t *entry = gdt_ldt_ptes(mmu, vcpu_mmu) + page
    cdef uint64_t old = entry[0]
    if old != pte:
        entry[0] = pte
        mm_pte_changed(memory, gdt_ldt_table(mmu, vcpu_mmu), gdt_ldt_index(vcpu_mmu) + page, old, pte)
        mm_flush_page(memory, gdt_virt_start(vcpu_mmu) + PAGE_SIZE * page, ALL_PROCESSORS)


cdef void unmap_ldt(PvMmu *mmu, VcpuMmu *vcpu_mmu) noexcept nogil:
    cdef uint64_t old
    cdef unsigned page
    if vcpu_mmu.ldt_mapped == 0:
        return
    vcpu_mmu.ldt_mapped = 0
    for page in range(LDT_FIRST_PAGE, LDT_FIRST_PAGE + LDT_PAGES):
        old = gdt_ldt_ptes(mmu, vcpu_mmu)[page]
        if old & PAGE_PRESENT:
            perdomain_map(mmu, vcpu_mmu, page, 0)
            put_page_and_type(mmu.memory, pte_mfn(old))


cdef void unmap_ldts(PvMmu *mmu) noexcept nogil:
    # Every vcpu's: what went may have been a page of any.
    cdef uint32_t i
    for i in range(mmu.memory.nr_processors):
        unmap_ldt(mmu, mmu.vcpus[i])
