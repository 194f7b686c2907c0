"""The guest's GDT and LDT, as the processor sees them.

Theory of operation.  Slot 260 of every L4 leads to the domain's own small tree (perdomain_l3, _l2, _l1), with 32 pages
for each vcpu, one vcpu's after the other's: its descriptor tables, all read-only and supervisor:

    pages 0 to 13       the GDT frames that the guest handed over (set_gdt); the null page where it gave none
    page 14             the hypervisor's reserved descriptors: the flat segments of ring 3
    pages 16 to 31      the LDT, each page mapped when the processor first faults on it

A frame is mapped here only with a reference to it as FRAME_SEG_DESC, so every descriptor in it was checked
(mm/pv/descriptor_check), the guest cannot write to it, and the only way to change one is update_descriptor.  The GDT's
references end with the next set_gdt.  The LDT is named by guest address, so its pages are let go, all of them, whenever
the address might mean something else: another LDT, another base pointer, or one of its frames unmapped anywhere, by
whichever vcpu (`unmap_ldt` in mm/pv/pvmmu); they come back one fault at a time.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from xenia.abi.errno cimport XEN_EFAULT, XEN_EINVAL, XEN_ENOMEM
from xenia.abi.xen cimport (
    DOMID_XEN, FIRST_RESERVED_GDT_ENTRY, FIRST_RESERVED_GDT_PAGE, FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_SS,
    HYPERVISOR_VIRT_END, INVALID_M2P_ENTRY,
)
from xenia.cpu.context cimport SegmentDescriptor
from xenia.cpu.processor cimport Processor
from xenia.machine.machine cimport (
    FRAME_SEG_DESC, FRAME_WRITABLE, frame_exists, frame_words, machine_alloc, machine_free,
)
from xenia.machine.paging cimport LOWER_HALF_END, PAGE_ACCESSED, PAGE_DIRTY, PAGE_NX, PAGE_PRESENT, PAGE_SIZE
from xenia.mm.access cimport guest_walk
from xenia.mm.memory cimport DomainMemory, memory_add_processor, mm_writes, mm_wrote
from xenia.mm.pv.descriptor_check cimport check_descriptor
from xenia.mm.pv.pvmmu cimport (
    LDT_FIRST_PAGE, PERDOMAIN_TABLES, VCPUS_PER_TABLE, gdt_ldt_ptes, gdt_virt_start, ldt_virt_start, perdomain_map,
    unmap_ldt, vcpu_processor,
)
from xenia.mm.references cimport (
    get_page, get_page_and_type, get_page_type, put_page, put_page_and_type, put_page_type,
)
from xenia.mm.walk cimport pte_mfn

cdef enum:
    DESCRIPTORS_PER_PAGE = 512
    GDT_LIMIT = (FIRST_RESERVED_GDT_PAGE + 1) * PAGE_SIZE - 1
    MAX_LDT_ENTRIES = 8192
    SELECTOR_TI = 4
    DESCRIPTOR_G = 1 << 23
    TABLE = PAGE_PRESENT | PAGE_ACCESSED

# A page of descriptors: supervisor, read-only, never executed.
cdef uint64_t LEAF = PAGE_NX | PAGE_PRESENT | PAGE_ACCESSED | PAGE_DIRTY
# The reserved descriptors: flat, ring 3, accessed.
cdef uint64_t FLAT_CODE64 = <uint64_t>0x00affb000000ffff
cdef uint64_t FLAT_CODE32 = <uint64_t>0x00cffb000000ffff
cdef uint64_t FLAT_DATA = <uint64_t>0x00cff3000000ffff


# --- the per-domain area ---


cdef int perdomain_create(PvMmu *mmu) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef uint64_t *reserved
    mmu.perdomain_l3 = machine_alloc(memory.machine, DOMID_XEN)
    mmu.perdomain_l2 = machine_alloc(memory.machine, DOMID_XEN)
    mmu.gdt_null = machine_alloc(memory.machine, DOMID_XEN)
    mmu.gdt_reserved = machine_alloc(memory.machine, DOMID_XEN)
    if INVALID_M2P_ENTRY in (mmu.perdomain_l3, mmu.perdomain_l2, mmu.gdt_null, mmu.gdt_reserved):
        perdomain_destroy(mmu)
        return -XEN_ENOMEM
    frame_words(memory.machine, mmu.perdomain_l3)[0] = mmu.perdomain_l2 << 12 | TABLE
    reserved = frame_words(memory.machine, mmu.gdt_reserved)
    reserved[(FLAT_RING3_CS32 >> 3) - FIRST_RESERVED_GDT_ENTRY] = FLAT_CODE32
    reserved[(FLAT_RING3_SS >> 3) - FIRST_RESERVED_GDT_ENTRY] = FLAT_DATA
    reserved[(FLAT_RING3_CS64 >> 3) - FIRST_RESERVED_GDT_ENTRY] = FLAT_CODE64
    return 0


cdef int perdomain_add_vcpu(PvMmu *mmu, VcpuMmu *vcpu_mmu, Processor *processor) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef uint32_t number = memory.nr_processors
    cdef unsigned table = number // VCPUS_PER_TABLE, page
    if mmu.perdomain_l1[table] == INVALID_M2P_ENTRY:
        mmu.perdomain_l1[table] = machine_alloc(memory.machine, DOMID_XEN)
        if mmu.perdomain_l1[table] == INVALID_M2P_ENTRY:
            return -XEN_ENOMEM
        frame_words(memory.machine, mmu.perdomain_l2)[table] = mmu.perdomain_l1[table] << 12 | TABLE
    vcpu_mmu.number = number
    mmu.vcpus[number] = vcpu_mmu
    memory_add_processor(memory, processor)
    for page in range(FIRST_RESERVED_GDT_PAGE):
        gdt_ldt_ptes(mmu, vcpu_mmu)[page] = mmu.gdt_null << 12 | LEAF
    gdt_ldt_ptes(mmu, vcpu_mmu)[FIRST_RESERVED_GDT_PAGE] = mmu.gdt_reserved << 12 | LEAF
    return 0


cdef void perdomain_destroy(PvMmu *mmu) noexcept nogil:
    cdef unsigned table
    for table in range(PERDOMAIN_TABLES):
        free_frame(mmu, &mmu.perdomain_l1[table])
    free_frame(mmu, &mmu.perdomain_l2)
    free_frame(mmu, &mmu.perdomain_l3)
    free_frame(mmu, &mmu.gdt_null)
    free_frame(mmu, &mmu.gdt_reserved)


cdef inline void free_frame(PvMmu *mmu, uint64_t *mfn) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    if mfn[0] != INVALID_M2P_ENTRY:
        machine_free(memory.machine, mfn[0])
        mfn[0] = INVALID_M2P_ENTRY


# --- the GDT ---


cdef int set_gdt(PvMmu *mmu, VcpuMmu *vcpu_mmu, const uint64_t *mfns, unsigned entries) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef Processor *processor = vcpu_processor(mmu, vcpu_mmu)
    cdef unsigned nr_frames = (entries + DESCRIPTORS_PER_PAGE - 1) // DESCRIPTORS_PER_PAGE
    cdef unsigned page, undo
    if entries > FIRST_RESERVED_GDT_ENTRY:
        return -XEN_EINVAL
    for page in range(nr_frames):
        if get_page_and_type(memory, mfns[page], FRAME_SEG_DESC):
            for undo in range(page):
                put_page_and_type(memory, mfns[undo])
            return -XEN_EINVAL
    release_gdt(mmu, vcpu_mmu)
    for page in range(nr_frames):
        vcpu_mmu.gdt_frames[page] = mfns[page]
        perdomain_map(mmu, vcpu_mmu, page, mfns[page] << 12 | LEAF)
    vcpu_mmu.gdt_entries = entries
    processor.ops.set_gdt(processor, gdt_virt_start(vcpu_mmu), GDT_LIMIT)
    return 0


cdef void release_gdt(PvMmu *mmu, VcpuMmu *vcpu_mmu) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef unsigned page
    for page in range((vcpu_mmu.gdt_entries + DESCRIPTORS_PER_PAGE - 1) // DESCRIPTORS_PER_PAGE):
        perdomain_map(mmu, vcpu_mmu, page, mmu.gdt_null << 12 | LEAF)
        put_page_and_type(memory, vcpu_mmu.gdt_frames[page])
        vcpu_mmu.gdt_frames[page] = 0
    vcpu_mmu.gdt_entries = 0


cdef int update_descriptor(PvMmu *mmu, uint64_t maddr, uint64_t value) noexcept nogil:
    # A frame that is in use for descriptors stays so; any other must be one that the guest could write itself.
    cdef DomainMemory *memory = mmu.memory
    cdef uint64_t mfn = maddr >> 12
    cdef int frame_type = FRAME_WRITABLE
    if maddr & 7 or not check_descriptor(&value) or not get_page(memory, mfn):
        return -XEN_EINVAL
    if memory.machine.frames[mfn].type == FRAME_SEG_DESC and memory.machine.frames[mfn].type_refs:
        frame_type = FRAME_SEG_DESC
    if get_page_type(memory, mfn, frame_type):
        put_page(memory, mfn)
        return -XEN_EINVAL
    mm_writes(memory, mfn)
    frame_words(memory.machine, mfn)[(maddr & 0xfff) >> 3] = value
    mm_wrote(memory, maddr, 8)
    put_page_type(memory, mfn)
    put_page(memory, mfn)
    return 0


# --- the LDT ---


cdef int set_ldt(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint64_t base, uint64_t entries) noexcept nogil:
    cdef Processor *processor = vcpu_processor(mmu, vcpu_mmu)
    cdef uint32_t count = <uint32_t>entries     # mmuext_op's nr_ents has 32 bits
    if count == 0:
        base = 0
    if base & 0xfff or count > MAX_LDT_ENTRIES or (base >= LOWER_HALF_END and base < HYPERVISOR_VIRT_END):
        return -XEN_EINVAL
    if base == vcpu_mmu.ldt_base and count == vcpu_mmu.ldt_entries:
        return 0
    unmap_ldt(mmu, vcpu_mmu)
    vcpu_mmu.ldt_base = base
    vcpu_mmu.ldt_entries = count
    processor.ops.set_ldt(processor, ldt_virt_start(vcpu_mmu) if count else 0, 8 * count - 1 if count else 0)
    return 0


cdef bint map_ldt_page(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint64_t va) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef uint64_t offset = va - ldt_virt_start(vcpu_mmu)
    cdef uint64_t page = offset >> 12, maddr = 0
    cdef uint32_t error
    if offset >= 8 * <uint64_t>vcpu_mmu.ldt_entries:
        return False
    if gdt_ldt_ptes(mmu, vcpu_mmu)[LDT_FIRST_PAGE + page] & PAGE_PRESENT:
        return True
    if guest_walk(memory, vcpu_mmu.root_kernel, vcpu_mmu.ldt_base + offset, 0, &maddr, &error):
        return False
    if get_page_and_type(memory, maddr >> 12, FRAME_SEG_DESC):
        return False
    perdomain_map(mmu, vcpu_mmu, <unsigned>(LDT_FIRST_PAGE + page), (maddr >> 12) << 12 | LEAF)
    vcpu_mmu.ldt_mapped += 1
    return True


# --- what a selector names ---


cdef int find_descriptor(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint16_t selector,
                         SegmentDescriptor *descriptor) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef uint64_t offset = selector & 0xfff8, page = offset >> 12
    cdef uint64_t entry, raw
    cdef uint32_t high
    if selector & SELECTOR_TI:
        if offset >= 8 * <uint64_t>vcpu_mmu.ldt_entries:
            return -XEN_EINVAL
        if not map_ldt_page(mmu, vcpu_mmu, ldt_virt_start(vcpu_mmu) + offset):
            return -XEN_EFAULT
        page += LDT_FIRST_PAGE
    elif offset == 0 or offset > GDT_LIMIT:
        return -XEN_EINVAL
    entry = gdt_ldt_ptes(mmu, vcpu_mmu)[page]
    if not frame_exists(memory.machine, pte_mfn(entry)):
        return -XEN_EINVAL
    raw = frame_words(memory.machine, pte_mfn(entry))[(offset & 0xfff) >> 3]
    high = <uint32_t>(raw >> 32)
    descriptor.base = (raw >> 16 & 0xffffff) | (raw >> 56) << 24
    descriptor.limit = (raw & 0xffff) | (high & 0xf0000)
    if high & DESCRIPTOR_G:
        descriptor.limit = descriptor.limit << 12 | 0xfff
    descriptor.attributes = high & 0x00f0ff00
    return 0
