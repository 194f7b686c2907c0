# Page-table entries that map frames of other domains.
from libc.stdint cimport uint64_t
from xenia.mm.pv.pvmmu cimport PvMmu

cdef struct EntryPlace:     # an entry of a validated L1 table of the domain's
    uint64_t table
    unsigned index
    uint64_t va             # where it maps to, 0 not known

# The entry that maps `va` under the kernel's root, or the one at machine address `maddr`.  False where there is none.
cdef bint place_of_va(PvMmu *mmu, uint64_t root, uint64_t va, EntryPlace *place) noexcept nogil
cdef bint place_of_entry(PvMmu *mmu, uint64_t maddr, EntryPlace *place) noexcept nogil

# Write `entry`, which maps another domain's frame, and give back what the old one held.  Whoever calls holds the frame.
cdef void map_foreign(PvMmu *mmu, EntryPlace *place, uint64_t entry) noexcept nogil
# Whether the entry maps frame `mfn`, with that right to write.
cdef bint maps_foreign(PvMmu *mmu, EntryPlace *place, uint64_t mfn, bint writable) noexcept nogil
# Empty an entry that maps a foreign frame, leaving no translation of it.
cdef void unmap_foreign(PvMmu *mmu, EntryPlace *place) noexcept nogil
