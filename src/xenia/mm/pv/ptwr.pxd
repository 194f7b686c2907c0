# Page-table writes: a guest kernel's stores to its own L1 tables, which it may only read.
from libc.stdint cimport uint64_t
from xenia.mm.pv.pvmmu cimport PvMmu

# Whether a store of `bytes` at `va` is one to be carried out on the guest's behalf; *maddr is where.
cdef bint ptwr_find(PvMmu *mmu, uint64_t root, uint64_t va, unsigned bytes, uint64_t *maddr) noexcept nogil
# Carry it out, the entry changed as by mmu_update: 0, or -XEN_E* and nothing changed; MMU_CHANGED where `seen` is not
# what these bytes are.  Precondition: ptwr_find gave maddr.
cdef int ptwr_write(PvMmu *mmu, uint64_t maddr, unsigned bytes, uint64_t seen, uint64_t value) noexcept nogil
