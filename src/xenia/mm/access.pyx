"""Reaching into guest memory through the guest's page tables, as its kernel would.

The walk reads machine memory directly.  It never runs into the hypervisor's slots, and a page that the guest may not
write is never written on its behalf.  What is copied in is copied once; callers check the copy.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from xenia.abi.errno cimport XEN_EFAULT
from xenia.abi.xen cimport HYPERVISOR_VIRT_END
from xenia.cpu.processor cimport PFEC_FETCH, PFEC_PRESENT, PFEC_WRITE
from xenia.machine.machine cimport frame_exists, frame_words
from xenia.mm.pv.pvmmu cimport PAGE_ACCESSED, PAGE_DIRTY, PAGE_PRESENT, PAGE_RW, pte_mfn

cdef uint64_t LOWER_HALF_END = <uint64_t>1 << 47
cdef uint64_t PAGE_NX = <uint64_t>1 << 63


cdef int guest_walk(PvMmu *mmu, uint64_t root, uint64_t va, uint32_t access, uint64_t *maddr,
                    uint32_t *error) noexcept nogil:
    cdef uint64_t table = root, rights = PAGE_RW, no_execute = 0
    cdef uint64_t *entry = NULL
    cdef int shift
    error[0] = access
    if va >= LOWER_HALF_END and va < HYPERVISOR_VIRT_END:
        return -XEN_EFAULT
    for shift in range(39, 11, -9):
        if not frame_exists(mmu.machine, table):
            return -XEN_EFAULT
        entry = &frame_words(mmu.machine, table)[(va >> shift) & 511]
        if not entry[0] & PAGE_PRESENT:
            return -XEN_EFAULT
        rights &= entry[0]
        no_execute |= entry[0] & PAGE_NX
        entry[0] |= PAGE_ACCESSED
        table = pte_mfn(entry[0])
    if not frame_exists(mmu.machine, table):
        return -XEN_EFAULT
    error[0] |= PFEC_PRESENT
    if access & PFEC_WRITE and not rights & PAGE_RW or access & PFEC_FETCH and no_execute:
        return -XEN_EFAULT
    if access & PFEC_WRITE:
        entry[0] |= PAGE_DIRTY
    maddr[0] = table << 12 | (va & 0xfff)
    return 0


cdef int copy_from_guest(PvMmu *mmu, uint64_t root, void *target, uint64_t va, uint64_t length) noexcept nogil:
    cdef uint8_t *place = <uint8_t *>target
    cdef uint64_t maddr = 0, chunk
    cdef uint32_t error
    while length:
        if guest_walk(mmu, root, va, 0, &maddr, &error):
            return -XEN_EFAULT
        chunk = min(length, 4096 - (va & 0xfff))
        memcpy(place, mmu.machine.base + maddr, chunk)
        place += chunk
        va += chunk
        length -= chunk
    return 0


cdef int copy_to_guest(PvMmu *mmu, uint64_t root, uint64_t va, const void *source, uint64_t length) noexcept nogil:
    cdef const uint8_t *place = <const uint8_t *>source
    cdef uint64_t maddr = 0, chunk
    cdef uint32_t error
    while length:
        if guest_walk(mmu, root, va, PFEC_WRITE, &maddr, &error):
            return -XEN_EFAULT
        chunk = min(length, 4096 - (va & 0xfff))
        memcpy(mmu.machine.base + maddr, place, chunk)
        mmu.processor.ops.code_dirty(mmu.processor, maddr, chunk)
        place += chunk
        va += chunk
        length -= chunk
    return 0
