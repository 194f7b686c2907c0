# The guest's GDT and LDT, shown read-only in the per-domain area.  0 or -XEN_E*.
from libc.stdint cimport uint16_t, uint64_t
from xenia.cpu.processor cimport SegmentDescriptor
from xenia.mm.pvmmu cimport PvMmu, VcpuMmu

# HYPERVISOR_set_gdt: `entries` descriptors in the frames mfns[0..]; the old GDT is released.
cdef int set_gdt(PvMmu *mmu, VcpuMmu *vcpu, const uint64_t *mfns, unsigned entries) noexcept nogil
cdef void release_gdt(PvMmu *mmu, VcpuMmu *vcpu) noexcept nogil
# HYPERVISOR_update_descriptor: the descriptor at machine address maddr := value.
cdef int update_descriptor(PvMmu *mmu, uint64_t maddr, uint64_t value) noexcept nogil
# MMUEXT_SET_LDT; pages are mapped on first use, and let go when the base pointer or the LDT changes.
cdef int set_ldt(PvMmu *mmu, VcpuMmu *vcpu, uint64_t base, uint64_t entries) noexcept nogil
cdef bint map_ldt_page(PvMmu *mmu, VcpuMmu *vcpu, uint64_t va) noexcept nogil
cdef void unmap_ldt(PvMmu *mmu, VcpuMmu *vcpu) noexcept nogil
# The descriptor that `selector` names, as the processor would load it.
cdef int find_descriptor(PvMmu *mmu, VcpuMmu *vcpu, uint16_t selector, SegmentDescriptor *descriptor) noexcept nogil
