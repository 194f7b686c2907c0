# The guest's GDT and LDT, shown read-only in the per-domain area.  0 or -XEN_E*.
from libc.stdint cimport uint16_t, uint64_t
from xenia.cpu.context cimport SegmentDescriptor
from xenia.cpu.processor cimport Processor
from xenia.mm.pv.pvmmu cimport PvMmu, VcpuMmu

# The area's page tables, and the reserved descriptors.  0 or -XEN_ENOMEM.
cdef int perdomain_create(PvMmu *mmu) noexcept nogil
# The memory's next vcpu, which stays for as long as `mmu`: its number, its pages in the area with an empty GDT, and its
# processor.  Not while the guest runs.  0 or -XEN_ENOMEM.
cdef int perdomain_add_vcpu(PvMmu *mmu, VcpuMmu *vcpu_mmu, Processor *processor) noexcept nogil
cdef void perdomain_destroy(PvMmu *mmu) noexcept nogil
# HYPERVISOR_set_gdt: `entries` descriptors in the frames mfns[0..]; the old GDT is released.
# Or -XEN_EINVAL, and the old one stays.
cdef int set_gdt(PvMmu *mmu, VcpuMmu *vcpu_mmu, const uint64_t *mfns, unsigned entries) noexcept nogil
cdef void release_gdt(PvMmu *mmu, VcpuMmu *vcpu_mmu) noexcept nogil
# HYPERVISOR_update_descriptor: the descriptor at machine address maddr := value.  Or -XEN_EINVAL.
cdef int update_descriptor(PvMmu *mmu, uint64_t maddr, uint64_t value) noexcept nogil
# MMUEXT_SET_LDT: `entries` descriptors at guest address `base`; pages are mapped on first use.  Or -XEN_EINVAL.
cdef int set_ldt(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint64_t base, uint64_t entries) noexcept nogil
# The vcpu's processor read `va` in its LDT area and found nothing: whether it does now.
cdef bint map_ldt_page(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint64_t va) noexcept nogil
# The descriptor that `selector` names, as the processor would load it.  -XEN_EINVAL: null or past its table's end;
# -XEN_EFAULT: in an LDT page that cannot be mapped.
cdef int find_descriptor(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint16_t selector, SegmentDescriptor *descriptor) noexcept nogil
