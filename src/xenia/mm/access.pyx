"""Reaching into guest memory through the guest's page tables, as its kernel would.

The walk reads machine memory directly.  It never runs into the hypervisor's slots, and a page that the guest may not
write is never written on its behalf.  What is copied in is copied once; callers check the copy.

The page tables stay meanwhile: who copies has the domain's turn, without which nobody changes them, or is inside
(cpu/processor), where a change is not complete before the copy is.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from xenia.abi.errno cimport XEN_EFAULT
from xenia.cpu.processor cimport PFEC_FETCH, PFEC_PRESENT, PFEC_WRITE
from xenia.machine.machine cimport frame_exists
from xenia.machine.paging cimport PAGE_ACCESSED, PAGE_DIRTY, PAGE_NX, PAGE_OFFSET, PAGE_RW, PAGE_SIZE
from xenia.mm.memory cimport mm_writes, mm_wrote
from xenia.mm.walk cimport Walk, walk_mark, walk_start, walk_step


cdef enum:
    CHANGED = 1             # an entry did, meanwhile


cdef int walk_guest(DomainMemory *memory, uint64_t root, int levels, uint64_t va, uint32_t access, uint64_t *maddr,
                    uint32_t *error) noexcept nogil:
    cdef int rc = CHANGED
    while rc == CHANGED:
        rc = walk_once(memory, root, levels, va, access, maddr, error)
    return rc


cdef int walk_once(DomainMemory *memory, uint64_t root, int levels, uint64_t va, uint32_t access, uint64_t *maddr,
                   uint32_t *error) noexcept nogil:
    cdef uint64_t rights = PAGE_RW, no_execute = 0
    cdef Walk walk
    error[0] = access
    if va >= memory.hole_start and va < memory.hole_end:
        return -XEN_EFAULT
    walk_start(&walk, memory.machine, root, levels, va)
    while walk.level:
        if not walk_step(&walk):
            return -XEN_EFAULT
        rights &= walk.pte
        no_execute |= walk.pte & PAGE_NX
        if not walk_mark(&walk, PAGE_ACCESSED):
            return CHANGED
    if not frame_exists(memory.machine, walk.table):
        return -XEN_EFAULT
    error[0] |= PFEC_PRESENT
    if access & PFEC_WRITE and not rights & PAGE_RW or access & PFEC_FETCH and no_execute:
        return -XEN_EFAULT
    if access & PFEC_WRITE and not walk_mark(&walk, PAGE_DIRTY):
        return CHANGED
    maddr[0] = walk.table << 12 | (va & PAGE_OFFSET)
    return 0


cdef int copy_from_guest(DomainMemory *memory, uint64_t root, void *target, uint64_t va,
                         uint64_t length) noexcept nogil:
    cdef uint8_t *place = <uint8_t *>target
    cdef uint64_t maddr = 0, chunk
    cdef uint32_t error
    while length:
        if guest_walk(memory, root, va, 0, &maddr, &error):
            return -XEN_EFAULT
        chunk = min(length, PAGE_SIZE - (va & PAGE_OFFSET))
        memcpy(place, memory.machine.base + maddr, chunk)
        place += chunk
        va += chunk
        length -= chunk
    return 0


cdef int copy_to_guest(DomainMemory *memory, uint64_t root, uint64_t va, const void *source,
                       uint64_t length) noexcept nogil:
    cdef const uint8_t *place = <const uint8_t *>source
    cdef uint64_t maddr = 0, chunk
    cdef uint32_t error
    while length:
        if guest_walk(memory, root, va, PFEC_WRITE, &maddr, &error):
            return -XEN_EFAULT
        chunk = min(length, PAGE_SIZE - (va & PAGE_OFFSET))
        mm_writes(memory, maddr >> 12)
        memcpy(memory.machine.base + maddr, place, chunk)
        mm_wrote(memory, maddr, chunk)
        place += chunk
        va += chunk
        length -= chunk
    return 0
