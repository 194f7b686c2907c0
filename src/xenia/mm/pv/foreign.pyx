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
from xenia.mm.pv.pvmmu cimport PAGE_PRESENT, PAGE_RW, pte_mfn, put_entry

cdef uint64_t LOWER_HALF_END = <uint64_t>1 << 47


cdef bint place_of_va(PvMmu *mmu, uint64_t root, uint64_t va, EntryPlace *place) noexcept nogil:
    cdef uint64_t table = root, entry
    cdef int shift
    if va >= LOWER_HALF_END and va < HYPERVISOR_VIRT_END:
        return False
    for shift in range(39, 12, -9):
        entry = frame_words(mmu.machine, table)[(va >> shift) & 511]
        if not entry & PAGE_PRESENT:
            return False
        table = pte_mfn(entry)
        if not frame_exists(mmu.machine, table):
            return False
    place.table = table
    place.index = (va >> 12) & 511
    place.va = va
    return is_table(mmu, table)


cdef bint place_of_entry(PvMmu *mmu, uint64_t maddr, EntryPlace *place) noexcept nogil:
    place.table = maddr >> 12
    place.index = (maddr & 0xfff) >> 3
    place.va = 0
    return maddr & 7 == 0 and frame_exists(mmu.machine, place.table) and is_table(mmu, place.table)


cdef bint is_table(PvMmu *mmu, uint64_t mfn) noexcept nogil:
    cdef Frame *frame = &mmu.machine.frames[mfn]
    return frame.owner == mmu.domid and frame.type == FRAME_L1 and frame.type_refs != 0


cdef void map_foreign(PvMmu *mmu, EntryPlace *place, uint64_t entry) noexcept nogil:
    replace(mmu, place, entry)


cdef bint maps_foreign(PvMmu *mmu, EntryPlace *place, uint64_t mfn, bint writable) noexcept nogil:
    cdef uint64_t entry = frame_words(mmu.machine, place.table)[place.index]
    return entry & PAGE_PRESENT and pte_mfn(entry) == mfn and (entry & PAGE_RW != 0) == writable


cdef void unmap_foreign(PvMmu *mmu, EntryPlace *place) noexcept nogil:
    replace(mmu, place, 0)


cdef void replace(PvMmu *mmu, EntryPlace *place, uint64_t entry) noexcept nogil:
    cdef uint64_t *where = &frame_words(mmu.machine, place.table)[place.index]
    cdef uint64_t old = where[0]
    where[0] = entry
    mmu.processor.ops.pte_changed(mmu.processor, place.table, place.index, old, entry)
    if old & PAGE_PRESENT:
        if place.va:
            mmu.processor.ops.flush_page(mmu.processor, place.va)
        # The same table may be mapped at other addresses as well.
        mmu.processor.ops.flush_frame(mmu.processor, pte_mfn(old))
    put_entry(mmu, FRAME_L1, place.table, old)
