# Reaching into guest memory through the guest's page tables, as the processor would: present, writable and no-execute
# bits respected, A/D bits set, addresses that are not the guest's (the memory's hole) refused.
from libc.stdint cimport uint32_t, uint64_t
from xenia.mm.memory cimport DomainMemory

# access: PFEC_WRITE | PFEC_USER | PFEC_FETCH.  0 and *maddr = machine address, else -XEN_EFAULT and *error = the #PF
# error code.  `levels` of tables from `root` down.
cdef int walk_guest(DomainMemory *memory, uint64_t root, int levels, uint64_t va, uint32_t access, uint64_t *maddr,
                    uint32_t *error) noexcept nogil


# As deep as the domain's page tables are.
cdef inline int guest_walk(DomainMemory *memory, uint64_t root, uint64_t va, uint32_t access, uint64_t *maddr,
                           uint32_t *error) noexcept nogil:
    return walk_guest(memory, root, memory.levels, va, access, maddr, error)


# Whole range or nothing copied is not promised: 0, or -XEN_EFAULT with a prefix copied.  Supervisor access.
cdef int copy_from_guest(DomainMemory *memory, uint64_t root, void *target, uint64_t va, uint64_t length) noexcept nogil
cdef int copy_to_guest(DomainMemory *memory, uint64_t root, uint64_t va, const void *source,
                       uint64_t length) noexcept nogil
