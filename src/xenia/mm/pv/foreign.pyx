"""Page-table entries that map frames of other domains.

Such an entry gets into a table by a grant operation alone: `get_entry` refuses a frame that is not the domain's.  It
holds no reference itself.  The grant's handle does, from before the entry is written until after its last translation
was flushed; a guest that loses the entry by other means keeps the handle, and the frame, until it unmaps it properly or
dies.  So there are never more entries that map a foreign frame than handles, and never more writable ones than writable
handles.
"""

from libc.stdint cimport uint64_t

from xenia.abi.xen cimport HYPERVISOR_VIRT_END
from xenia.machine.machine cimport FRAME_L1, Frame, frame_exists, frame_words
from xenia.machine.paging cimport LOWER_HALF_END, PAGE_PRESENT, PAGE_RW
from xenia.mm.memory cimport ALL_PROCESSORS, DomainMemory, mm_flush_frame, mm_flush_page, mm_pte_changed
from xenia.mm.pv.pvmmu cimport put_entry
from xenia.mm.walk cimport Walk, entry_exchange, pte_mfn, walk_index, walk_start, walk_step


cdef bint place_of_va(PvMmu *mmu, uint64_t root, uint64_t va, EntryPlace *place) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef Walk walk
    if va >= LOWER_HALF_END and va < HYPERVISOR_VIRT_END:
        return False
    walk_start(&walk, memory.machine, root, memory.levels, va)
    while walk.level > 1:
        if not walk_step(&walk):
            return False
    place.table = walk.table
    place.index = walk_index(va, 1)
    place.va = va
    return frame_exists(memory.machine, place.table) and is_table(mmu, place.table)


cdef bint place_of_entry(PvMmu *mmu, uint64_t maddr, EntryPlace *place) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    place.table = maddr >> 12
    place.index = (maddr & 0xfff) >> 3
    place.va = 0
    return maddr & 7 == 0 and frame_exists(memory.machine, place.table) and is_table(mmu, place.table)


cdef bint is_table(PvMmu *mmu, uint64_t mfn) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef Frame *frame = &memory.machine.frames[mfn]
    return frame.owner == memory.domid and frame.type == FRAME_L1 and frame.type_refs != 0


cdef void map_foreign(PvMmu *mmu, EntryPlace *place, uint64_t entry) noexcept nogil:
    replace(mmu, place, entry)


cdef bint maps_foreign(PvMmu *mmu, EntryPlace *place, uint64_t mfn, bint writable) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef uint64_t entry = frame_words(memory.machine, place.table)[place.index]
    return entry & PAGE_PRESENT and pte_mfn(entry) == mfn and (entry & PAGE_RW != 0) == writable


cdef void unmap_foreign(PvMmu *mmu, EntryPlace *place) noexcept nogil:
    replace(mmu, place, 0)


cdef void replace(PvMmu *mmu, EntryPlace *place, uint64_t entry) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef uint64_t *where = &frame_words(memory.machine, place.table)[place.index]
    cdef uint64_t old = entry_exchange(where, entry)
    mm_pte_changed(memory, place.table, place.index, old, entry)
    if old & PAGE_PRESENT:
        if place.va:
            mm_flush_page(memory, place.va, ALL_PROCESSORS)
        # The same table may be mapped at other addresses as well.
        mm_flush_frame(memory, pte_mfn(old))
    put_entry(mmu, FRAME_L1, place.table, old)
