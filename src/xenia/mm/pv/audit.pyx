"""Recounting the frame table from scratch.

The counts of a frame are kept one step at a time, by the rules of mm/references and mm/pv/pvmmu.  Here they are worked
out anew from what there is: every entry of every validated table, the pins, the base pointers, the GDT and LDT pages,
the owner's own reference.  Any difference is a bug of ours; so is any entry that the rules would never have let in.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from xenia.abi.xen cimport DOMID_XEN, FIRST_RESERVED_GDT_PAGE
from xenia.machine.machine cimport (
    FRAME_ALLOCATED, FRAME_L1, FRAME_L4, FRAME_NONE, FRAME_PINNED, FRAME_SEG_DESC, FRAME_SHARED, FRAME_VALIDATED,
    FRAME_WRITABLE, Frame, Machine, frame_exists, frame_words,
)
from xenia.machine.paging cimport (
    PAGE_GLOBAL, PAGE_PCD, PAGE_PRESENT, PAGE_PSE, PAGE_PWT, PAGE_RW, PAGE_USER, TABLE_ENTRIES,
)
from xenia.mm.memory cimport DomainMemory
from xenia.mm.pv.descriptor_check cimport check_descriptor
from xenia.mm.pv.pvmmu cimport (
    GDT_LDT_VCPU_SHIFT, LDT_FIRST_PAGE, LDT_PAGES, M2P_SLOT, PERDOMAIN_SLOT, PERDOMAIN_TABLES, VCPUS_PER_TABLE, VcpuMmu,
    gdt_ldt_ptes, is_guest_l4_slot,
)
from xenia.mm.walk cimport pte_mfn

cdef struct Count:          # what one frame should say
    uint32_t refs
    uint32_t type_refs
    int32_t linear


cdef class Recount:
    """One recount; `found` lists the disagreements."""

    cdef PvMmu *mmu
    cdef DomainMemory *memory
    cdef Machine *machine
    cdef Count *counts
    cdef list found
    cdef dict foreign

    def __dealloc__(self):
        free(self.counts)

    cdef void reference(self, uint64_t mfn, str why):
        if not frame_exists(self.machine, mfn):
            self.found.append(f"{why} holds frame {mfn:#x}, which does not exist")
            return
        if self.machine.frames[mfn].owner != self.memory.domid or self.machine.frames[mfn].refs == 0:
            self.found.append(f"{why} holds frame {mfn:#x}, which is not the domain's")
        self.counts[mfn].refs += 1

    cdef void typed(self, uint64_t mfn, int frame_type, str why):
        cdef Frame *frame
        self.reference(mfn, why)
        if not frame_exists(self.machine, mfn):
            return
        frame = &self.machine.frames[mfn]
        if frame.type != frame_type and not (frame.type == FRAME_SHARED and frame_type == FRAME_WRITABLE):
            self.found.append(f"{why} needs frame {mfn:#x} as type {frame_type}, and it is {frame.type}")
        self.counts[mfn].type_refs += 1

    cdef void table(self, uint64_t mfn, int level):
        # What the entries of one validated table hold.
        cdef uint64_t *words = frame_words(self.machine, mfn)
        cdef uint64_t forbidden = PAGE_PSE | PAGE_PWT | PAGE_PCD, entry, target
        cdef unsigned i
        if level > FRAME_L1:
            forbidden |= PAGE_GLOBAL
        for i in range(TABLE_ENTRIES):
            entry = words[i]
            if level == FRAME_L4 and not is_guest_l4_slot(i):
                self.hypervisor_slot(mfn, i, entry)
                continue
            if not entry & PAGE_PRESENT:
                continue
            target = pte_mfn(entry)
            where = f"L{level} {mfn:#x}[{i}] = {entry:#x}"
            if entry & forbidden:
                self.found.append(f"{where} has bits that no guest may set")
            if level == FRAME_L1:
                if frame_exists(self.machine, target) and self.machine.frames[target].owner != self.memory.domid:
                    self.foreign_entry(target, entry & PAGE_RW != 0, where)
                elif entry & PAGE_RW:
                    self.typed(target, FRAME_WRITABLE, where)
                else:
                    self.reference(target, where)
            elif target == mfn:
                if entry & PAGE_RW:
                    self.found.append(f"{where} maps its own table writable")
            elif frame_exists(self.machine, target) and self.machine.frames[target].type == level:
                if entry & PAGE_RW:
                    self.found.append(f"{where} maps a table writable")
                self.typed(target, level, where)
                self.counts[mfn].linear += 1
                self.counts[target].linear -= 1
            else:
                self.typed(target, level - 1, where)

    cdef void foreign_entry(self, uint64_t mfn, bint writable, str where):
        times, writes = self.foreign.get(mfn, (0, 0))
        if times == 0 or (writable and writes == 0):
            self.found.append(f"{where} maps frame {mfn:#x}, which is not the domain's, and no grant lets it")
        self.foreign[mfn] = (times - 1, writes - writable)

    cdef void hypervisor_slot(self, uint64_t mfn, unsigned slot, uint64_t entry):
        cdef uint64_t wanted = 0
        if slot == M2P_SLOT:
            wanted = self.machine.m2p_l3
        elif slot == PERDOMAIN_SLOT:
            wanted = self.mmu.perdomain_l3
        if pte_mfn(entry) != wanted or (wanted != 0) != (entry & PAGE_PRESENT) or entry & (PAGE_RW | PAGE_USER):
            self.found.append(f"L4 {mfn:#x}[{slot}] = {entry:#x} is not the hypervisor's")

    cdef void hypervisor_tree(self, uint64_t mfn, int level, str name):
        # Tables of Xen's own: supervisor and read-only all the way down, and nothing but Xen's frames below.
        cdef uint64_t entry
        cdef unsigned i
        for i in range(TABLE_ENTRIES):
            entry = frame_words(self.machine, mfn)[i]
            if not entry & PAGE_PRESENT:
                continue
            if entry & (PAGE_RW | PAGE_USER):
                self.found.append(f"{name}: level {level} entry {i} = {entry:#x} lets the guest in")
            if level > 1:
                self.hypervisor_tree(pte_mfn(entry), level - 1, name)
            elif name == "perdomain" and self.is_descriptor_page(mfn, i):
                continue            # the guest's own descriptors: see descriptor_tables
            elif self.machine.frames[pte_mfn(entry)].owner != DOMID_XEN:
                self.found.append(f"{name}: {entry:#x} shows a frame that is not Xen's")

    cdef bint is_descriptor_page(self, uint64_t table, unsigned index):
        # Whether an L1 entry of the per-domain area is of some vcpu's GDT or LDT.
        cdef unsigned page = index & (1 << GDT_LDT_VCPU_SHIFT) - 1, number = index >> GDT_LDT_VCPU_SHIFT, i
        for i in range(PERDOMAIN_TABLES):
            if table == self.mmu.perdomain_l1[i]:
                number += i * VCPUS_PER_TABLE
        return number < self.memory.nr_processors and (page < FIRST_RESERVED_GDT_PAGE or page >= LDT_FIRST_PAGE)

    cdef void vcpu(self, VcpuMmu *vcpu_mmu):
        if vcpu_mmu.root_kernel:
            self.typed(vcpu_mmu.root_kernel, FRAME_L4, "the kernel's base pointer")
        if vcpu_mmu.root_user:
            self.typed(vcpu_mmu.root_user, FRAME_L4, "the user's base pointer")
        if vcpu_mmu.root_loaded not in (0, vcpu_mmu.root_kernel, vcpu_mmu.root_user):
            self.found.append(f"the processor is on {vcpu_mmu.root_loaded:#x}, which is no base pointer")
        self.descriptor_tables(vcpu_mmu)

    cdef void descriptor_tables(self, VcpuMmu *vcpu_mmu):
        cdef uint64_t *area = gdt_ldt_ptes(self.mmu, vcpu_mmu)
        cdef unsigned gdt = (vcpu_mmu.gdt_entries + 511) // 512, page, mapped = 0
        for page in range(FIRST_RESERVED_GDT_PAGE):
            if page < gdt:
                self.typed(vcpu_mmu.gdt_frames[page], FRAME_SEG_DESC, f"GDT page {page}")
            if pte_mfn(area[page]) != (vcpu_mmu.gdt_frames[page] if page < gdt else self.mmu.gdt_null):
                self.found.append(f"GDT page {page} shows {area[page]:#x}")
        for page in range(LDT_PAGES):
            if area[LDT_FIRST_PAGE + page] & PAGE_PRESENT:
                self.typed(pte_mfn(area[LDT_FIRST_PAGE + page]), FRAME_SEG_DESC, f"LDT page {page}")
                mapped += 1
        if mapped != vcpu_mmu.ldt_mapped:
            self.found.append(f"{mapped} LDT pages are mapped, and ldt_mapped says {vcpu_mmu.ldt_mapped}")

    cdef void descriptors(self, uint64_t mfn):
        cdef uint64_t word
        cdef unsigned i
        for i in range(TABLE_ENTRIES):
            word = frame_words(self.machine, mfn)[i]
            if not check_descriptor(&word) or word != frame_words(self.machine, mfn)[i]:
                self.found.append(f"descriptor {i} of frame {mfn:#x} is {frame_words(self.machine, mfn)[i]:#x}")

    cdef void take_stock(self, dict held):
        cdef Frame *frame
        cdef uint64_t mfn, pages = 0
        cdef uint32_t i
        cdef bint is_table
        for mfn in range(self.machine.nr_frames):
            frame = &self.machine.frames[mfn]
            if frame.refs == 0:
                if frame.type_refs or frame.flags or frame.type != FRAME_NONE:
                    self.found.append(f"frame {mfn:#x} is free, with type {frame.type} ({frame.type_refs}), "
                                      f"flags {frame.flags}")
                continue
            if frame.owner != self.memory.domid:
                continue
            is_table = FRAME_L1 <= frame.type <= FRAME_L4
            pages += frame.type != FRAME_SHARED
            if frame.flags & FRAME_ALLOCATED:
                self.counts[mfn].refs += 1
            if frame.flags & FRAME_PINNED:
                self.counts[mfn].refs += 1
                self.counts[mfn].type_refs += 1
                if not is_table:
                    self.found.append(f"frame {mfn:#x} of type {frame.type} is pinned")
            validated = frame.flags & FRAME_VALIDATED != 0
            if (is_table or frame.type == FRAME_SEG_DESC) and (frame.type_refs != 0) != validated:
                self.found.append(f"frame {mfn:#x} of type {frame.type} ({frame.type_refs}) has flags {frame.flags}")
            if frame.type_refs and is_table:
                self.table(mfn, frame.type)
            elif frame.type_refs and frame.type == FRAME_SEG_DESC:
                self.descriptors(mfn)
        if pages != self.memory.tot_pages:
            self.found.append(f"the domain has {pages} frames, and tot_pages says {self.memory.tot_pages}")
        for i in range(self.memory.nr_processors):
            self.vcpu(self.mmu.vcpus[i])
        self.hypervisor_tree(self.machine.m2p_l3, 3, "m2p")
        self.hypervisor_tree(self.mmu.perdomain_l3, 3, "perdomain")
        for number, (references, type_references) in held.items():
            mfn = number
            if self.machine.frames[mfn].owner != self.memory.domid or self.machine.frames[mfn].refs == 0:
                self.found.append(f"frame {mfn:#x} is held for the domain, and is not the domain's")
            self.counts[mfn].refs += references
            self.counts[mfn].type_refs += type_references

    cdef void compare(self):
        cdef Frame *frame
        cdef Count *count
        cdef uint64_t mfn
        for mfn in range(self.machine.nr_frames):
            frame = &self.machine.frames[mfn]
            count = &self.counts[mfn]
            if frame.owner != self.memory.domid or frame.refs == 0:
                continue
            if frame.refs != count.refs:
                self.found.append(f"frame {mfn:#x} has {frame.refs} references, and {count.refs} hold it")
            if frame.type_refs != count.type_refs:
                self.found.append(f"frame {mfn:#x} has {frame.type_refs} references as type {frame.type}, "
                                  f"and {count.type_refs} hold it so")
            if frame.linear != count.linear:
                self.found.append(f"frame {mfn:#x} says {frame.linear} linear links, and there are {count.linear}")


cdef list audit(PvMmu *mmu, dict held, dict foreign):
    recount = Recount()
    recount.foreign = dict(foreign)
    recount.mmu = mmu
    recount.memory = mmu.memory
    recount.machine = mmu.memory.machine
    recount.found = []
    recount.counts = <Count *>calloc(mmu.memory.machine.nr_frames, sizeof(Count))
    if recount.counts == NULL:
        raise MemoryError
    recount.take_stock(held)
    recount.compare()
    return recount.found
