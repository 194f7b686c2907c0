"""What a guest's page tables say, where nothing is to be mapped: of one address, and, for the debug mode, of all that
the mirror has."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from xenia.cpu.engines.native.executable cimport LOOKED_TAINTED
from xenia.cpu.engines.native.mapping cimport (
    FRAME_MASK, PLACE_EXECUTABLE, PLACE_SHIFT, PLACE_WRITABLE, TOP, Table, read_entry,
)
from xenia.cpu.engines.native.stub cimport NR_STUBS
from xenia.machine.lock cimport lock, unlock
from xenia.machine.paging cimport PAGE_PRESENT, PAGE_PSE, PAGE_RW, PAGE_SIZE, TABLE_ENTRIES

cdef extern from "scan.h":
    enum:
        PAGE_CLEAN
    int page_look(const uint8_t *page, int length) noexcept nogil
    bint page_is_patched(const uint8_t *patched, const uint8_t *page, int length) noexcept nogil


cdef inline unsigned shift_of(int level) noexcept nogil:
    return 3 + 9 * level


cdef const uint8_t *mapping_peek(const Mapping *mapping, uint64_t root, uint64_t va) noexcept nogil:
    cdef uint64_t mfn = root, pte
    cdef int level
    for level in range(TOP, 0, -1):
        if mfn >= mapping.nr_frames:
            return NULL
        pte = read_entry(&(<uint64_t *>(mapping.memory + (mfn << 12)))[va >> shift_of(level) & 511])
        if not pte & PAGE_PRESENT or level > 1 and pte & PAGE_PSE:
            return NULL
        mfn = pte >> 12 & FRAME_MASK
    return mapping.memory + (mfn << 12) + (va & 0xfff) if mfn < mapping.nr_frames else NULL


cdef bint mapping_is_tainted(const Mapping *mapping, uint64_t root, uint64_t va) noexcept nogil:
    cdef const uint8_t *at
    if mapping.looked == NULL:
        return False
    at = mapping_peek(mapping, root, va)
    return at != NULL and mapping.looked[<uint64_t>(at - mapping.memory) >> 12] == LOOKED_TAINTED


cdef inline bint is_stale(const Mapping *mapping, uint32_t place, uint64_t pte) noexcept nogil:
    cdef bint executable = place & PLACE_EXECUTABLE and mapping.looked != NULL
    if not pte & PAGE_PRESENT or pte >> 12 & FRAME_MASK != place >> PLACE_SHIFT:
        return True
    if place & PLACE_WRITABLE and (not pte & PAGE_RW or executable):
        return True
    return executable and not is_clean(mapping, place >> PLACE_SHIFT)


cdef inline bint is_clean(const Mapping *mapping, uint64_t mfn) noexcept nogil:
    cdef const uint8_t *page = mapping.memory + (mfn << 12)
    if mapping.copy[mfn]:
        return page_is_patched(mapping.copies + (mapping.copy[mfn] - 1) * <uint64_t>PAGE_SIZE, page, PAGE_SIZE)
    return page_look(page, PAGE_SIZE) == PAGE_CLEAN


cdef uint32_t mapping_stale(Mapping *mapping, uint64_t *va, uint64_t *mfn) noexcept nogil:
    cdef uint32_t stub, number, i, place, count = 0
    cdef uint64_t pte
    cdef Table *table
    lock(&mapping.lock)
    for stub in range(NR_STUBS):
        number = mapping.of_stub[stub]
        while number:
            table = &mapping.tables[number]
            number = table.sibling
            if table.frames == NULL:
                continue
            for i in range(TABLE_ENTRIES):
                place = table.frames[i]
                pte = read_entry(&(<uint64_t *>(mapping.memory + (<uint64_t>table.mfn << 12)))[i])
                if place and is_stale(mapping, place, pte):
                    count += 1
                    va[0] = table.va + (<uint64_t>i << 12)
                    mfn[0] = place >> PLACE_SHIFT
    unlock(&mapping.lock)
    return count
