# Reaching into guest memory through the guest's page tables, as the processor would: present, writable and no-execute
# bits respected, A/D bits set, the hypervisor's own range (slots 256 to 271) refused.
from libc.stdint cimport uint32_t, uint64_t
from xenia.mm.pv.pvmmu cimport PvMmu

# access: PFEC_WRITE | PFEC_USER | PFEC_FETCH.  0 and *maddr = machine address, else -XEN_EFAULT and *error = the #PF
# error code.
cdef int guest_walk(PvMmu *mmu, uint64_t root, uint64_t va, uint32_t access, uint64_t *maddr,
                    uint32_t *error) noexcept nogil
# Whole range or nothing copied is not promised: 0, or -XEN_EFAULT with a prefix copied.  Supervisor access.
cdef int copy_from_guest(PvMmu *mmu, uint64_t root, void *target, uint64_t va, uint64_t length) noexcept nogil
cdef int copy_to_guest(PvMmu *mmu, uint64_t root, uint64_t va, const void *source, uint64_t length) noexcept nogil
