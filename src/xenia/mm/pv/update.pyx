"""Changing validated page tables: mmu_update, update_va_mapping and mmuext_op (public/xen.h).

Each change of an entry is a transaction: take what the new entry needs, write it, give back what the old one held; a
refusal leaves everything as it was.  Processors set accessed and dirty bits meanwhile, so an entry is exchanged, or
compared and swapped, and what the old one was is known exactly.  Requests come in batches, and a batch stops where a
request is refused, with the number carried out told to the guest; a long batch stops where the vcpu is wanted elsewhere
(MMU_PREEMPTED).  Between any two requests, and two tables of a tree that is validated or let go, others may have the
domain's lock.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from xenia.abi.errno cimport (
    XEN_EACCES, XEN_EBUSY, XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EOPNOTSUPP, XEN_EPERM, XEN_ESRCH,
)
from xenia.abi.xen cimport (
    DOMID_IO, DOMID_SELF, DOMID_XEN, HYPERVISOR_VIRT_END, MMU_MACHPHYS_UPDATE, MMU_NORMAL_PT_UPDATE,
    MMU_PT_UPDATE_NO_TRANSLATE, MMU_PT_UPDATE_PRESERVE_AD, MMUEXT_CLEAR_PAGE, MMUEXT_COPY_PAGE, MMUEXT_FLUSH_CACHE,
    MMUEXT_FLUSH_CACHE_GLOBAL, MMUEXT_INVLPG_ALL, MMUEXT_INVLPG_LOCAL, MMUEXT_INVLPG_MULTI, MMUEXT_MARK_SUPER,
    MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR, MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L4_TABLE, MMUEXT_SET_LDT,
    MMUEXT_TLB_FLUSH_LOCAL, MMUEXT_TLB_FLUSH_MULTI, MMUEXT_UNMARK_SUPER, MMUEXT_UNPIN_TABLE, UVMF_ALL,
    UVMF_FLUSHTYPE_MASK, UVMF_INVLPG, UVMF_TLB_FLUSH, mmu_update_t, mmuext_op_t,
)
from xenia.cpu.processor cimport Processor
from xenia.machine.lock cimport give_way
from xenia.machine.machine cimport (
    FRAME_L1, FRAME_L4, FRAME_PINNED, FRAME_WRITABLE, Frame, frame_exists, frame_words,
)
from xenia.machine.paging cimport (
    LOWER_HALF_END, PAGE_ACCESSED, PAGE_DIRTY, PAGE_GLOBAL, PAGE_OFFSET, PAGE_PRESENT, PAGE_SIZE, PAGE_USER,
)
from xenia.mm.access cimport copy_from_guest
from xenia.mm.memory cimport (
    ALL_PROCESSORS, DomainMemory, mm_flush_all, mm_flush_page, mm_pte_changed, mm_writes, mm_wrote,
)
from xenia.mm.pv.descriptors cimport set_ldt
from xenia.mm.pv.pvmmu cimport get_entry, is_guest_l4_slot, put_entry, unmap_ldt, vcpu_processor
from xenia.mm.references cimport (
    get_page, get_page_and_type, get_page_type, put_page, put_page_and_type, put_page_type,
)
from xenia.mm.walk cimport (
    Walk, entry_exchange, entry_read, entry_swap, walk_index, walk_start, walk_step,
)

# A change of nothing but these needs no new references: no-execute, the guest's own bits, A, D, user, global.
cdef uint64_t HARMLESS = (<uint64_t>0xfff << 52 | 0x7 << 9 | PAGE_ACCESSED | PAGE_DIRTY | PAGE_USER | PAGE_GLOBAL)


# --- one entry ---


cdef int mod_entry(PvMmu *mmu, int level, uint64_t table, unsigned index, uint64_t new, bint preserve_ad,
                   bint of_io=False, const uint64_t *expected=NULL) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef uint64_t *entry = &frame_words(memory.machine, table)[index]
    cdef uint64_t old = entry_read(entry)
    cdef bint counted
    cdef int rc
    mmu.nr_mmu_updates += 1
    if level == FRAME_L4 and not is_guest_l4_slot(index):
        return -XEN_EINVAL
    if level == FRAME_L4:
        mmu.l4_changes += 1
    if expected != NULL and old != expected[0]:
        return MMU_CHANGED
    if preserve_ad:
        new |= old & (PAGE_ACCESSED | PAGE_DIRTY)
    counted = not new & old & PAGE_PRESENT or (new ^ old) & ~HARMLESS or (level > FRAME_L1 and new & PAGE_GLOBAL)
    if counted:
        rc = get_entry(mmu, level, table, new)
        if rc:
            return rc
        if of_io and level == FRAME_L1 and new & PAGE_PRESENT:
            put_entry(mmu, level, table, new)       # ordinary memory, and so not the I/O domain's
            return -XEN_EBUSY
    elif new == old:
        return 0
    if not write_entry(entry, &old, &new, preserve_ad, expected != NULL):
        if counted:
            put_entry(mmu, level, table, new)
        return MMU_CHANGED
    mm_pte_changed(memory, table, index, old, new)
    if counted:
        put_entry(mmu, level, table, old)
    return 0


cdef inline bint write_entry(uint64_t *entry, uint64_t *old, uint64_t *new, bint preserve_ad,
                             bint exact) noexcept nogil:
    # `old` is what it then was; nothing but accessed and dirty bits can differ from what was read.  False: they do.
    if exact:
        return entry_swap(entry, old, new[0])
    if preserve_ad:
        while not entry_swap(entry, old, new[0]):
            new[0] |= old[0] & (PAGE_ACCESSED | PAGE_DIRTY)
    else:
        old[0] = entry_exchange(entry, new[0])
    return True


cdef int foreign_domain(PvMmu *mmu, uint32_t domid) noexcept nogil:
    # By its own number a domain is not foreign, and is not found; the system's domains and the control domain are out
    # of reach; no other is known.
    if domid == DOMID_SELF:
        return 0
    return -XEN_EPERM if domid == 0 or domid == DOMID_IO or domid == DOMID_XEN else -XEN_ESRCH


# --- mmu_update ---


cdef int64_t mmu_update(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint64_t requests, uint32_t count, uint32_t foreigndom,
                        uint32_t *done) noexcept nogil:
    # Frames of the I/O domain may be named here, as any domain may map I/O memory that it was given: none was.
    cdef DomainMemory *memory = mmu.memory
    cdef mmu_update_t request
    cdef bint of_io = foreigndom & 0xffff == DOMID_IO
    cdef int rc
    done[0] = 0
    if foreigndom >> 16 and (foreigndom >> 16) - 1 != memory.domid:     # the tables' owner
        return -XEN_ESRCH
    rc = 0 if of_io else foreign_domain(mmu, foreigndom & 0xffff)
    if rc:
        return rc
    while done[0] < count:
        if memory.preempt != NULL and memory.preempt[0] and done[0]:
            return MMU_PREEMPTED
        give_way(&memory.lock)
        if copy_from_guest(memory, vcpu_mmu.root_kernel, &request, requests + sizeof(mmu_update_t) * done[0],
                           sizeof(mmu_update_t)):
            return -XEN_EFAULT
        rc = one_update(mmu, request.ptr & 7, request.ptr & ~<uint64_t>7, request.val, of_io)
        if rc:
            return rc
        done[0] += 1
    return 0


cdef int one_update(PvMmu *mmu, unsigned command, uint64_t maddr, uint64_t value, bint of_io) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef uint64_t mfn = maddr >> 12
    cdef Frame *frame
    cdef int rc
    if command == MMU_MACHPHYS_UPDATE:
        if of_io or not get_page(memory, mfn):
            return -XEN_EINVAL
        memory.machine.m2p[mfn] = value
        put_page(memory, mfn)
        return 0
    if (command != MMU_NORMAL_PT_UPDATE and command != MMU_PT_UPDATE_PRESERVE_AD
            and command != MMU_PT_UPDATE_NO_TRANSLATE):
        return -XEN_ENOSYS
    if not get_page(memory, mfn):
        return -XEN_EINVAL
    frame = &memory.machine.frames[mfn]
    if frame.type_refs and FRAME_L1 <= frame.type <= FRAME_L4:
        rc = mod_entry(mmu, frame.type, mfn, (maddr & PAGE_OFFSET) >> 3, value, command == MMU_PT_UPDATE_PRESERVE_AD,
                       of_io)
    else:
        # Not a page table: it is then as if the guest wrote the word itself.
        rc = get_page_type(memory, mfn, FRAME_WRITABLE)
        if rc == 0:
            mm_writes(memory, mfn)
            (<uint64_t *>(memory.machine.base + maddr))[0] = value
            mm_wrote(memory, maddr, 8)
            put_page_type(memory, mfn)
    put_page(memory, mfn)
    return rc


# --- update_va_mapping ---


cdef int64_t update_va_mapping(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint64_t va, uint64_t pte,
                               uint64_t flags) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef uint64_t kind = flags & UVMF_FLUSHTYPE_MASK, which = flags & ~<uint64_t>UVMF_FLUSHTYPE_MASK
    cdef Walk walk
    cdef int rc = 0
    if va >= LOWER_HALF_END and va < HYPERVISOR_VIRT_END:
        return -XEN_EINVAL
    walk_start(&walk, memory.machine, vcpu_mmu.root_kernel, memory.levels, va)
    while walk.level > 1 and walk_step(&walk):
        pass
    if (walk.level > 1 or not frame_exists(memory.machine, walk.table)
            or memory.machine.frames[walk.table].type != FRAME_L1):
        rc = -XEN_EINVAL
    else:
        rc = mod_entry(mmu, FRAME_L1, walk.table, walk_index(va, 1), pte, False)
    if kind == UVMF_TLB_FLUSH:
        mm_flush_all(memory, processors_of(mmu, vcpu_mmu, which, &rc))
    elif kind == UVMF_INVLPG:
        mm_flush_page(memory, va, processors_of(mmu, vcpu_mmu, which, &rc))
    return rc


cdef uint64_t processors_of(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint64_t which, int *rc) noexcept nogil:
    # The caller's own, all, or those in the bitmap that `which` points to.
    cdef uint64_t bitmap = 0
    if which == 0:
        return own_processor(vcpu_mmu)
    if which == UVMF_ALL:
        return ALL_PROCESSORS
    if copy_from_guest(mmu.memory, vcpu_mmu.root_kernel, &bitmap, which, 8) and rc[0] == 0:
        rc[0] = -XEN_EFAULT
    return bitmap


cdef inline uint64_t own_processor(VcpuMmu *vcpu_mmu) noexcept nogil:
    return <uint64_t>1 << vcpu_mmu.number


# --- mmuext_op ---


cdef int64_t mmuext_op(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint64_t operations, uint32_t count, uint32_t foreigndom,
                       uint32_t *done) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef mmuext_op_t operation
    cdef int rc
    done[0] = 0
    rc = foreign_domain(mmu, foreigndom & 0xffff)
    if rc:
        return rc
    while done[0] < count:
        if memory.preempt != NULL and memory.preempt[0] and done[0]:
            return MMU_PREEMPTED
        give_way(&memory.lock)
        if copy_from_guest(memory, vcpu_mmu.root_kernel, &operation, operations + sizeof(mmuext_op_t) * done[0],
                           sizeof(mmuext_op_t)):
            return -XEN_EFAULT
        rc = one_operation(mmu, vcpu_mmu, &operation)
        if rc:
            return rc
        done[0] += 1
    return 0


cdef int one_operation(PvMmu *mmu, VcpuMmu *vcpu_mmu, mmuext_op_t *operation) noexcept nogil:
    cdef unsigned command = operation.cmd
    if command <= MMUEXT_PIN_L4_TABLE:
        return pin(mmu, operation.arg1, command - MMUEXT_PIN_L1_TABLE + FRAME_L1)
    if command == MMUEXT_UNPIN_TABLE:
        return unpin(mmu, operation.arg1)
    if command == MMUEXT_NEW_BASEPTR:
        return new_base_pointer(mmu, vcpu_mmu, operation.arg1)
    if command == MMUEXT_NEW_USER_BASEPTR:
        return new_user_base_pointer(mmu, vcpu_mmu, operation.arg1)
    if is_flush(command):
        return flush(mmu, vcpu_mmu, operation)
    if command == MMUEXT_FLUSH_CACHE:
        return -XEN_EACCES      # only for who may set cache attributes
    if command == MMUEXT_FLUSH_CACHE_GLOBAL:
        return -XEN_EINVAL
    if command == MMUEXT_SET_LDT:
        return set_ldt(mmu, vcpu_mmu, operation.arg1, operation.arg2)
    if command == MMUEXT_CLEAR_PAGE:
        return clear_page(mmu, operation.arg1)
    if command == MMUEXT_COPY_PAGE:
        return copy_page(mmu, operation.arg1, operation.arg2)
    if command == MMUEXT_MARK_SUPER or command == MMUEXT_UNMARK_SUPER:
        return -XEN_EOPNOTSUPP
    return -XEN_ENOSYS


cdef inline bint is_flush(unsigned command) noexcept nogil:
    return MMUEXT_TLB_FLUSH_LOCAL <= command <= MMUEXT_INVLPG_ALL


cdef int flush(PvMmu *mmu, VcpuMmu *vcpu_mmu, mmuext_op_t *operation) noexcept nogil:
    # Of the caller's own translations, of those of the vcpus in a bitmap, of all; one page's or every one.
    cdef unsigned command = operation.cmd
    cdef bint one_page = command in (MMUEXT_INVLPG_LOCAL, MMUEXT_INVLPG_MULTI, MMUEXT_INVLPG_ALL)
    cdef uint64_t which = ALL_PROCESSORS
    cdef int rc = 0
    if command == MMUEXT_TLB_FLUSH_LOCAL or command == MMUEXT_INVLPG_LOCAL:
        which = own_processor(vcpu_mmu)
    elif command == MMUEXT_TLB_FLUSH_MULTI or command == MMUEXT_INVLPG_MULTI:
        if operation.arg2 == 0:
            return -XEN_EINVAL
        which = processors_of(mmu, vcpu_mmu, operation.arg2, &rc)
        if rc:
            return -XEN_EINVAL
    if not one_page:
        mm_flush_all(mmu.memory, which)
    elif operation.arg1 < LOWER_HALF_END or operation.arg1 >= HYPERVISOR_VIRT_END:
        mm_flush_page(mmu.memory, operation.arg1, which)
    return 0


cdef int pin(PvMmu *mmu, uint64_t mfn, int level) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef int rc = get_page_and_type(memory, mfn, level)
    if rc:
        return rc
    if memory.machine.frames[mfn].flags & FRAME_PINNED:
        put_page_and_type(memory, mfn)
        return -XEN_EINVAL
    memory.machine.frames[mfn].flags |= FRAME_PINNED
    return 0


cdef int unpin(PvMmu *mmu, uint64_t mfn) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    if not get_page(memory, mfn):
        return -XEN_EINVAL
    if not memory.machine.frames[mfn].flags & FRAME_PINNED:
        put_page(memory, mfn)
        return -XEN_EINVAL
    memory.machine.frames[mfn].flags &= ~FRAME_PINNED
    put_page_and_type(memory, mfn)
    put_page(memory, mfn)
    return 0


cdef int new_base_pointer(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint64_t mfn) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef Processor *processor = vcpu_processor(mmu, vcpu_mmu)
    cdef uint64_t old = vcpu_mmu.root_kernel
    cdef int rc
    if mfn != old:
        rc = get_page_and_type(memory, mfn, FRAME_L4)
        if rc:
            return rc
    vcpu_mmu.root_kernel = mfn
    vcpu_mmu.root_loaded = mfn
    unmap_ldt(mmu, vcpu_mmu)
    processor.ops.load_root(processor, mfn, mfn == vcpu_mmu.root_user)
    if mfn != old:
        put_page_and_type(memory, old)
    return 0


cdef int new_user_base_pointer(PvMmu *mmu, VcpuMmu *vcpu_mmu, uint64_t mfn) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    cdef Processor *processor = vcpu_processor(mmu, vcpu_mmu)
    cdef uint64_t old = vcpu_mmu.root_user
    cdef int rc
    if mfn == old:
        return 0
    if mfn:
        rc = get_page_and_type(memory, mfn, FRAME_L4)
        if rc:
            return rc
    vcpu_mmu.root_user = mfn
    if vcpu_mmu.root_loaded == mfn or vcpu_mmu.root_loaded == old:
        processor.ops.load_root(processor, vcpu_mmu.root_loaded, vcpu_mmu.root_loaded == mfn)
    if old:
        put_page_and_type(memory, old)
    return 0


cdef int clear_page(PvMmu *mmu, uint64_t mfn) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    if get_page_and_type(memory, mfn, FRAME_WRITABLE):
        return -XEN_EINVAL
    mm_writes(memory, mfn)
    memset(memory.machine.base + (mfn << 12), 0, PAGE_SIZE)
    mm_wrote(memory, mfn << 12, PAGE_SIZE)
    put_page_and_type(memory, mfn)
    return 0


cdef int copy_page(PvMmu *mmu, uint64_t target, uint64_t source) noexcept nogil:
    cdef DomainMemory *memory = mmu.memory
    if not get_page(memory, source):
        return -XEN_EINVAL
    if get_page_and_type(memory, target, FRAME_WRITABLE):
        put_page(memory, source)
        return -XEN_EINVAL
    mm_writes(memory, target)
    memcpy(memory.machine.base + (target << 12), memory.machine.base + (source << 12), PAGE_SIZE)
    mm_wrote(memory, target << 12, PAGE_SIZE)
    put_page_and_type(memory, target)
    put_page(memory, source)
    return 0
