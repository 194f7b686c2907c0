# PvMmu: one domain's memory as the hypervisor sees it.  The rules of PV page tables live in mm/.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from xenia.cpu.processor cimport Processor
from xenia.machine.lock cimport Lock
from xenia.machine.machine cimport Machine

cdef enum:
    PAGE_PRESENT = 1 << 0
    PAGE_RW = 1 << 1
    PAGE_USER = 1 << 2
    PAGE_PWT = 1 << 3
    PAGE_PCD = 1 << 4
    PAGE_ACCESSED = 1 << 5
    PAGE_DIRTY = 1 << 6
    PAGE_PSE = 1 << 7
    PAGE_GLOBAL = 1 << 8

# The frames of a domain are touched by the thread that runs it and by whoever uses what it granted, so both hold `lock`
# while they look at or change its frame-table rows and page tables.  Nobody holds the locks of two domains at once.
cdef struct PvMmu:
    Lock lock
    Machine *machine
    Processor *processor
    uint16_t domid
    uint8_t dying
    uint8_t writable_pagetables     # the vm_assist
    uint64_t tot_pages
    uint64_t max_pages
    uint64_t perdomain_l3           # mfn of this domain's L3 for slot 260 (GDT/LDT area), and of the one L1 below it
    uint64_t perdomain_l2
    uint64_t perdomain_l1
    uint64_t gdt_null               # Xen's page for where the guest gave no GDT frame
    uint64_t gdt_reserved           # Xen's page of reserved descriptors
    uint32_t ldt_mapped             # LDT pages mapped now
    volatile uint8_t *preempt       # non-zero: a long operation should stop and be continued
    uint64_t nr_mmu_updates         # statistics
    uint64_t nr_ptwr
    uint64_t l4_changes             # counts L4 tables validated and entries of them changed

cdef struct VcpuMmu:        # the memory state of one vcpu
    uint64_t root_kernel    # mfn of the kernel L4 (never 0 once started)
    uint64_t root_user      # mfn of the user L4, 0 none
    uint64_t root_loaded    # mfn in CR3 now
    uint64_t compared_kernel    # the roots that domain/traps last compared, l4_changes then, and what it found
    uint64_t compared_user
    uint64_t compared_at
    uint8_t compared_alike
    uint64_t gdt_frames[16]
    uint32_t gdt_entries
    uint32_t ldt_entries
    uint64_t ldt_base       # guest address the LDT was set to; its pages are mapped on first use

# Virtual addresses of the per-domain area (slot 260).  All mapped read-only for the guest.
cdef enum:
    PERDOMAIN_GDT_OFFSET = 0x00000      # 16 pages
    PERDOMAIN_LDT_OFFSET = 0x10000      # 16 pages
    LDT_FIRST_PAGE = 16
    LDT_PAGES = 16

# Drop all that the dead domain's frames hold and hand them back.  Frames that others still hold stay until they let go.
# The vcpu's own references (roots, GDT, LDT) must be gone.  Returns the number of frames that stay.
cdef uint64_t relinquish(PvMmu *mmu) noexcept nogil

# --- references and types (Xen's get_page / get_page_type family); 0 or -XEN_E*.
cdef bint get_page(PvMmu *mmu, uint64_t mfn) noexcept nogil
cdef void put_page(PvMmu *mmu, uint64_t mfn) noexcept nogil
cdef int get_page_type(PvMmu *mmu, uint64_t mfn, int frame_type) noexcept nogil
cdef void put_page_type(PvMmu *mmu, uint64_t mfn) noexcept nogil
cdef int get_page_and_type(PvMmu *mmu, uint64_t mfn, int frame_type) noexcept nogil
cdef void put_page_and_type(PvMmu *mmu, uint64_t mfn) noexcept nogil
# What a grant holds, taken and given back by other threads than the domain's.  No translation of the domain's own
# processor is left behind by them, so they touch no processor.  Precondition: the lock is held.
cdef bint get_granted(PvMmu *mmu, uint64_t mfn, bint writable) noexcept nogil
cdef void put_granted(PvMmu *mmu, uint64_t mfn, bint writable) noexcept nogil

# --- what one entry of a validated table holds.  `level` is the table's, 1 to 4; `table` its mfn.
cdef int get_entry(PvMmu *mmu, int level, uint64_t table, uint64_t entry) noexcept nogil
cdef void put_entry(PvMmu *mmu, int level, uint64_t table, uint64_t entry) noexcept nogil

# Let go of every LDT page; they are mapped again on first use.
cdef void unmap_ldt(PvMmu *mmu) noexcept nogil


# Is slot `index` of an L4 the guest's own (not one of 256 to 271)?
cdef inline bint is_guest_l4_slot(unsigned index) noexcept nogil:
    return index < 256 or index > 271


cdef inline uint64_t pte_mfn(uint64_t pte) noexcept nogil:
    return (pte >> 12) & <uint64_t>0xffffffffff
