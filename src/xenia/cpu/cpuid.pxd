# CPUID as every guest sees it, whatever engine runs.
from libc.stdint cimport uint32_t

cdef void cpuid_policy(uint32_t leaf, uint32_t subleaf, uint32_t *eax_ebx_ecx_edx) noexcept nogil

# The same as the processor of that APIC's id answers.
cdef void cpuid_of_processor(uint32_t leaf, uint32_t subleaf, uint32_t apic_id,
                             uint32_t *eax_ebx_ecx_edx) noexcept nogil
