# PvMmu: what a paravirtualised guest's memory has beyond what every domain's has (mm/memory): checked page tables and
# descriptor tables.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.cpu.processor cimport Processor
from xenia.mm.memory cimport DomainMemory

# Guarded by the memory's lock.
cdef struct PvMmu:
    DomainMemory *memory
    uint8_t writable_pagetables     # the vm_assist
    uint64_t perdomain_l3           # mfn of this domain's L3 for slot 260 (GDT/LDT area), and of the one L1 below it
    uint64_t perdomain_l2
    uint64_t perdomain_l1
    uint64_t gdt_null               # Xen's page for where the guest gave no GDT frame
    uint64_t gdt_reserved           # Xen's page of reserved descriptors
    uint32_t ldt_mapped             # LDT pages mapped now
    uint64_t nr_mmu_updates         # statistics
    uint64_t nr_ptwr
    uint64_t l4_changes             # counts L4 tables validated and entries of them changed

cdef struct VcpuMmu:        # the memory state of one vcpu
    uint32_t number         # of its processor among the memory's
    uint64_t root_kernel    # mfn of the kernel L4 (never 0 once started)
    uint64_t root_user      # mfn of the user L4, 0 none
    uint64_t root_loaded    # mfn in CR3 now
    uint64_t compared_kernel    # the roots that domain/pv/mode last compared, l4_changes then, and what it found
    uint64_t compared_user
    uint64_t compared_at
    uint8_t compared_alike
    uint64_t gdt_frames[16]
    uint32_t gdt_entries
    uint32_t ldt_entries
    uint64_t ldt_base       # guest address the LDT was set to; its pages are mapped on first use

# Virtual addresses of the per-domain area (slot 260).  All mapped read-only for the guest.
cdef enum:
    PERDOMAIN_LDT_OFFSET = 0x10000      # 16 pages
    LDT_FIRST_PAGE = 16
    LDT_PAGES = 16

# The rules of PV page tables, hung into `memory`; it has its machine and number already, and no frames yet.
cdef void pv_mmu_init(PvMmu *mmu, DomainMemory *memory, unsigned levels) noexcept nogil

# --- what one entry of a validated table holds.  `level` is the table's, 1 to 4; `table` its mfn.
cdef int get_entry(PvMmu *mmu, int level, uint64_t table, uint64_t entry) noexcept nogil
cdef void put_entry(PvMmu *mmu, int level, uint64_t table, uint64_t entry) noexcept nogil

# Let go of every LDT page; they are mapped again on first use.
cdef void unmap_ldt(PvMmu *mmu) noexcept nogil


# Slots of every L4 that are Xen's.
cdef enum:
    M2P_SLOT = 256
    PERDOMAIN_SLOT = 260


# Is slot `index` of an L4 the guest's own (not one of 256 to 271)?
cdef inline bint is_guest_l4_slot(unsigned index) noexcept nogil:
    return index < 256 or index > 271


cdef inline Processor *vcpu_processor(PvMmu *mmu, VcpuMmu *vcpu_mmu) noexcept nogil:
    return mmu.memory.processors[vcpu_mmu.number]
