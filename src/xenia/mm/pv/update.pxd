# Changing validated page tables: mmu_update, update_va_mapping, mmuext_op (public/xen.h), on PvMmu.
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from xenia.mm.pv.pvmmu cimport PvMmu, VcpuMmu

cdef enum:
    MMU_PREEMPTED = 1       # not finished: *done entries are; call again from there
    MMU_CHANGED = 2         # the entry is not as expected

# One entry of a validated table of `level` := new.  0, or -XEN_E* and the table unchanged; with `expected`, MMU_CHANGED
# where the entry was not that.
cdef int mod_entry(PvMmu *mmu, int level, uint64_t table, unsigned index, uint64_t new, bint preserve_ad,
                   bint of_io=*, const uint64_t *expected=*) noexcept nogil

# What a domain without privilege may name as the owner of frames: itself, as DOMID_SELF.  0, -XEN_ESRCH or -XEN_EPERM.
cdef int foreign_domain(PvMmu *mmu, uint32_t domid) noexcept nogil

# `count` requests at guest address `requests`; *done says how many were carried out.  0, -XEN_E*, or MMU_PREEMPTED.
cdef int64_t mmu_update(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint64_t requests, uint32_t count, uint32_t foreigndom,
                        uint32_t *done) noexcept nogil
cdef int64_t mmuext_op(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint64_t operations, uint32_t count, uint32_t foreigndom,
                       uint32_t *done) noexcept nogil
cdef int64_t update_va_mapping(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint64_t va, uint64_t pte, uint64_t flags) noexcept nogil
# CR3 := a new kernel L4 (MMUEXT_NEW_BASEPTR, mov cr3).
cdef int new_base_pointer(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint64_t mfn) noexcept nogil
