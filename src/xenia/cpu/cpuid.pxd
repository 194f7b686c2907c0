# CPUID as every guest sees it, whatever engine runs.
from libc.stdint cimport uint32_t

cdef void cpuid_policy(uint32_t leaf, uint32_t subleaf, uint32_t *eax_ebx_ecx_edx) noexcept nogil
