# What a guest's page tables say: see page_tables.pyx.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.cpu.engines.native.mapping cimport Mapping

# The byte of guest memory there, and those behind it in the page; NULL where nothing is mapped.
cdef const uint8_t *mapping_peek(const Mapping *mapping, uint64_t root, uint64_t va) noexcept nogil
# The frame there, if it is one that CPUID can be executed in and that was looked at for that.
cdef bint mapping_is_tainted(const Mapping *mapping, uint64_t root, uint64_t va) noexcept nogil
# How many pages are mapped that the page tables do not give so, or that may be executed and have CPUID in them: the
# first of them.
cdef uint32_t mapping_stale(Mapping *mapping, uint64_t *va, uint64_t *mfn) noexcept nogil
