# PvMmu: what a paravirtualised guest's memory has beyond what every domain's has (mm/memory): checked page tables and
# descriptor tables.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from xenia.abi.xen cimport PERDOMAIN_VIRT_START
from xenia.cpu.processor cimport Processor
from xenia.machine.machine cimport frame_words
from xenia.mm.memory cimport MAX_PROCESSORS, DomainMemory

# The per-domain area (slot 260): 32 pages for each vcpu, by number, 16 for its GDT and 16 for its LDT.  All mapped
# read-only for the guest.
cdef enum:
    GDT_LDT_VCPU_SHIFT = 5              # in pages
    GDT_LDT_VCPU_VA_SHIFT = 17          # in bytes
    LDT_FIRST_PAGE = 16
    LDT_PAGES = 16
    VCPUS_PER_TABLE = 16                # of 512 entries
    PERDOMAIN_TABLES = MAX_PROCESSORS // VCPUS_PER_TABLE

# Guarded by the memory's lock.
cdef struct PvMmu:
    DomainMemory *memory
    uint8_t writable_pagetables     # the vm_assist
    VcpuMmu *vcpus[MAX_PROCESSORS]  # by number, as memory.processors
    uint64_t perdomain_l3           # mfn of this domain's L3 for slot 260 (GDT/LDT area), and of the tables below it
    uint64_t perdomain_l2
    uint64_t perdomain_l1[PERDOMAIN_TABLES]     # INVALID_M2P_ENTRY where there is no vcpu yet
    uint64_t gdt_null               # Xen's page for where the guest gave no GDT frame
    uint64_t gdt_reserved           # Xen's page of reserved descriptors
    uint64_t nr_mmu_updates         # statistics
    uint64_t nr_ptwr
    uint64_t l4_changes             # counts L4 tables validated and entries of them changed

cdef struct VcpuMmu:        # the memory state of one vcpu
    uint32_t number         # of its processor among the memory's, and of its pages in the per-domain area
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
    uint32_t ldt_mapped     # LDT pages mapped now

# The rules of PV page tables, hung into `memory`; it has its machine and number already, and no frames yet.
cdef void pv_mmu_init(PvMmu *mmu, DomainMemory *memory, unsigned levels) noexcept nogil

# --- what one entry of a validated table holds.  `level` is the table's, 1 to 4; `table` its mfn.
cdef int get_entry(PvMmu *mmu, int level, uint64_t table, uint64_t entry) noexcept nogil
cdef void put_entry(PvMmu *mmu, int level, uint64_t table, uint64_t entry) noexcept nogil

# Entry `page` (0 to 31) of the vcpu's part of the per-domain area := pte.
cdef void perdomain_map(PvMmu *mmu, VcpuMmu *vcpu_mmu, unsigned page, uint64_t pte) noexcept nogil

# Let go of every page of the vcpu's LDT; they are mapped again on first use.
cdef void unmap_ldt(PvMmu *mmu, VcpuMmu *vcpu_mmu) noexcept nogil


# Slots of every L4 that are Xen's.
cdef enum:
    M2P_SLOT = 256
    PERDOMAIN_SLOT = 260


# Is slot `index` of an L4 the guest's own (not one of 256 to 271)?
cdef inline bint is_guest_l4_slot(unsigned index) noexcept nogil:
    return index < 256 or index > 271


cdef inline uint64_t gdt_virt_start(VcpuMmu *vcpu_mmu) noexcept nogil:
    return PERDOMAIN_VIRT_START + (<uint64_t>vcpu_mmu.number << GDT_LDT_VCPU_VA_SHIFT)


cdef inline uint64_t ldt_virt_start(VcpuMmu *vcpu_mmu) noexcept nogil:
    return gdt_virt_start(vcpu_mmu) + (LDT_FIRST_PAGE << 12)


# The L1 with the vcpu's 32 entries, and the first of them.
cdef inline uint64_t gdt_ldt_table(PvMmu *mmu, VcpuMmu *vcpu_mmu) noexcept nogil:
    return mmu.perdomain_l1[vcpu_mmu.number // VCPUS_PER_TABLE]


cdef inline unsigned gdt_ldt_index(VcpuMmu *vcpu_mmu) noexcept nogil:
    return vcpu_mmu.number % VCPUS_PER_TABLE << GDT_LDT_VCPU_SHIFT


cdef inline uint64_t *gdt_ldt_ptes(PvMmu *mmu, VcpuMmu *vcpu_mmu) noexcept nogil:
    return frame_words(mmu.memory.machine, gdt_ldt_table(mmu, vcpu_mmu)) + gdt_ldt_index(vcpu_mmu)


cdef inline Processor *vcpu_processor(PvMmu *mmu, VcpuMmu *vcpu_mmu) noexcept nogil:
    return mmu.memory.processors[vcpu_mmu.number]
