"""Changing validated page tables: mmu_update, update_va_mapping and mmuext_op (public/xen.h).

Each change of an entry is a transaction: take what the new entry needs, write it, give back what the old one held; a
refusal leaves everything as it was.  Requests come in batches, and a batch stops where a request is refused, with the
number carried out told to the guest; a long batch stops where the vcpu is wanted elsewhere (MMU_PREEMPTED).  Between
any two requests, and two tables of a tree that is validated or let go, others may have the domain's lock.
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
    MMUEXT_TLB_FLUSH_ALL, MMUEXT_TLB_FLUSH_LOCAL, MMUEXT_TLB_FLUSH_MULTI, MMUEXT_UNMARK_SUPER, MMUEXT_UNPIN_TABLE,
    UVMF_ALL, UVMF_FLUSHTYPE_MASK, UVMF_INVLPG, UVMF_TLB_FLUSH, mmu_update_t, mmuext_op_t,
)
from xenia.machine.lock cimport give_way
from xenia.machine.machine cimport FRAME_L1, FRAME_L4, FRAME_PINNED, FRAME_WRITABLE, Frame, frame_exists, frame_words
from xenia.mm.access cimport copy_from_guest
from xenia.mm.pv.descriptors cimport set_ldt
from xenia.mm.pv.pvmmu cimport (
    PAGE_ACCESSED, PAGE_DIRTY, PAGE_GLOBAL, PAGE_PRESENT, PAGE_USER, get_entry, get_page, get_page_and_type,
    get_page_type, is_guest_l4_slot, pte_mfn, put_entry, put_page, put_page_and_type, put_page_type, unmap_ldt,
)

cdef uint64_t LOWER_HALF_END = <uint64_t>1 << 47
# A change of nothing but these needs no new references: no-execute, the guest's own bits, A, D, user, global.
cdef uint64_t HARMLESS = (<uint64_t>0xfff << 52 | 0x7 << 9 | PAGE_ACCESSED | PAGE_DIRTY | PAGE_USER | PAGE_GLOBAL)


# --- one entry ---


cdef int mod_entry(PvMmu *mmu, int level, uint64_t table, unsigned index, uint64_t new, bint preserve_ad,
                   bint of_io=False) noexcept nogil:
    cdef uint64_t *entry = &frame_words(mmu.machine, table)[index]
    cdef uint64_t old = entry[0]
    cdef int rc
    mmu.nr_mmu_updates += 1
    if level == FRAME_L4 and not is_guest_l4_slot(index):
        return -XEN_EINVAL
    if level == FRAME_L4:
        mmu.l4_changes += 1
    if preserve_ad:
        new |= old & (PAGE_ACCESSED | PAGE_DIRTY)
    if not new & old & PAGE_PRESENT or (new ^ old) & ~HARMLESS or (level > FRAME_L1 and new & PAGE_GLOBAL):
        rc = get_entry(mmu, level, table, new)
        if rc:
            return rc
        if of_io and level == FRAME_L1 and new & PAGE_PRESENT:
            put_entry(mmu, level, table, new)       # ordinary memory, and so not the I/O domain's
            return -XEN_EBUSY
        entry[0] = new
        mmu.processor.ops.pte_changed(mmu.processor, table, index, old, new)
        put_entry(mmu, level, table, old)
    elif new != old:
        entry[0] = new
        mmu.processor.ops.pte_changed(mmu.processor, table, index, old, new)
    return 0


cdef int foreign_domain(PvMmu *mmu, uint32_t domid) noexcept nogil:
    # By its own number a domain is not foreign, and is not found; the system's domains and the control domain are out
    # of reach; no other is known.
    if domid == DOMID_SELF:
        return 0
    return -XEN_EPERM if domid == 0 or domid == DOMID_IO or domid == DOMID_XEN else -XEN_ESRCH


# --- mmu_update ---


cdef int64_t mmu_update(PvMmu *mmu, VcpuMmu *vcpu, uint64_t requests, uint32_t count, uint32_t foreigndom,
                        uint32_t *done) noexcept nogil:
    # Frames of the I/O domain may be named here, as any domain may map I/O memory that it was given: none was.
    cdef mmu_update_t request
    cdef bint of_io = foreigndom & 0xffff == DOMID_IO
    cdef int rc
    done[0] = 0
    if foreigndom >> 16 and (foreigndom >> 16) - 1 != mmu.domid:     # the tables' owner
        return -XEN_ESRCH
    rc = 0 if of_io else foreign_domain(mmu, foreigndom & 0xffff)
    if rc:
        return rc
    while done[0] < count:
        if mmu.preempt != NULL and mmu.preempt[0] and done[0]:
            return MMU_PREEMPTED
        give_way(&mmu.lock)
        if copy_from_guest(mmu, vcpu.root_kernel, &request, requests + sizeof(mmu_update_t) * done[0],
                           sizeof(mmu_update_t)):
            return -XEN_EFAULT
        rc = one_update(mmu, request.ptr & 7, request.ptr & ~<uint64_t>7, request.val, of_io)
        if rc:
            return rc
        done[0] += 1
    return 0


cdef int one_update(PvMmu *mmu, unsigned command, uint64_t maddr, uint64_t value, bint of_io) noexcept nogil:
    cdef uint64_t mfn = maddr >> 12
    cdef Frame *frame
    cdef int rc
    if command == MMU_MACHPHYS_UPDATE:
        if of_io or not get_page(mmu, mfn):
            return -XEN_EINVAL
        mmu.machine.m2p[mfn] = value
        put_page(mmu, mfn)
        return 0
    if (command != MMU_NORMAL_PT_UPDATE and command != MMU_PT_UPDATE_PRESERVE_AD
            and command != MMU_PT_UPDATE_NO_TRANSLATE):
        return -XEN_ENOSYS
    if not get_page(mmu, mfn):
        return -XEN_EINVAL
    frame = &mmu.machine.frames[mfn]
    if frame.type_refs and FRAME_L1 <= frame.type <= FRAME_L4:
        rc = mod_entry(mmu, frame.type, mfn, (maddr & 0xfff) >> 3, value, command == MMU_PT_UPDATE_PRESERVE_AD,
                       of_io)
    else:
        # Not a page table: it is then as if the guest wrote the word itself.
        rc = get_page_type(mmu, mfn, FRAME_WRITABLE)
        if rc == 0:
            (<uint64_t *>(mmu.machine.base + maddr))[0] = value
            mmu.processor.ops.code_dirty(mmu.processor, maddr, 8)
            put_page_type(mmu, mfn)
    put_page(mmu, mfn)
    return rc


# --- update_va_mapping ---


cdef int64_t update_va_mapping(PvMmu *mmu, VcpuMmu *vcpu, uint64_t va, uint64_t pte, uint64_t flags) noexcept nogil:
    cdef uint64_t table = vcpu.root_kernel, entry
    cdef int shift, rc = 0
    if va >= LOWER_HALF_END and va < HYPERVISOR_VIRT_END:
        return -XEN_EINVAL
    for shift in range(39, 12, -9):
        entry = frame_words(mmu.machine, table)[(va >> shift) & 511]
        if not entry & PAGE_PRESENT:
            rc = -XEN_EINVAL
            break
        table = pte_mfn(entry)
        if not frame_exists(mmu.machine, table):
            rc = -XEN_EINVAL
            break
    if rc == 0 and mmu.machine.frames[table].type != FRAME_L1:
        rc = -XEN_EINVAL
    if rc == 0:
        rc = mod_entry(mmu, FRAME_L1, table, (va >> 12) & 511, pte, False)
    if flags & UVMF_FLUSHTYPE_MASK == UVMF_TLB_FLUSH:
        if wants_this_vcpu(mmu, vcpu, flags & ~<uint64_t>UVMF_FLUSHTYPE_MASK, &rc):
            mmu.processor.ops.flush_all(mmu.processor)
    elif flags & UVMF_FLUSHTYPE_MASK == UVMF_INVLPG:
        if wants_this_vcpu(mmu, vcpu, flags & ~<uint64_t>UVMF_FLUSHTYPE_MASK, &rc):
            mmu.processor.ops.flush_page(mmu.processor, va)
    return rc


cdef bint wants_this_vcpu(PvMmu *mmu, VcpuMmu *vcpu, uint64_t which, int *rc) noexcept nogil:
    # Local and all are this one vcpu; else `which` points to a bitmap of vcpus.
    cdef uint64_t bitmap = 0
    if which == 0 or which == UVMF_ALL:
        return True
    if copy_from_guest(mmu, vcpu.root_kernel, &bitmap, which, 8):
        if rc[0] == 0:
            rc[0] = -XEN_EFAULT
        return False
    return bitmap & 1


# --- mmuext_op ---


cdef int64_t mmuext_op(PvMmu *mmu, VcpuMmu *vcpu, uint64_t operations, uint32_t count, uint32_t foreigndom,
                       uint32_t *done) noexcept nogil:
    cdef mmuext_op_t operation
    cdef int rc
    done[0] = 0
    rc = foreign_domain(mmu, foreigndom & 0xffff)
    if rc:
        return rc
    while done[0] < count:
        if mmu.preempt != NULL and mmu.preempt[0] and done[0]:
            return MMU_PREEMPTED
        give_way(&mmu.lock)
        if copy_from_guest(mmu, vcpu.root_kernel, &operation, operations + sizeof(mmuext_op_t) * done[0],
                           sizeof(mmuext_op_t)):
            return -XEN_EFAULT
        rc = one_operation(mmu, vcpu, &operation)
        if rc:
            return rc
        done[0] += 1
    return 0


cdef int one_operation(PvMmu *mmu, VcpuMmu *vcpu, mmuext_op_t *operation) noexcept nogil:
    cdef unsigned command = operation.cmd
    cdef int rc = 0
    if command <= MMUEXT_PIN_L4_TABLE:
        return pin(mmu, operation.arg1, command - MMUEXT_PIN_L1_TABLE + FRAME_L1)
    if command == MMUEXT_UNPIN_TABLE:
        return unpin(mmu, operation.arg1)
    if command == MMUEXT_NEW_BASEPTR:
        return new_base_pointer(mmu, vcpu, operation.arg1)
    if command == MMUEXT_NEW_USER_BASEPTR:
        return new_user_base_pointer(mmu, vcpu, operation.arg1)
    if command == MMUEXT_TLB_FLUSH_LOCAL or command == MMUEXT_TLB_FLUSH_ALL:
        mmu.processor.ops.flush_all(mmu.processor)
    elif command == MMUEXT_INVLPG_LOCAL or command == MMUEXT_INVLPG_ALL:
        if operation.arg1 < LOWER_HALF_END or operation.arg1 >= HYPERVISOR_VIRT_END:
            mmu.processor.ops.flush_page(mmu.processor, operation.arg1)
    elif command == MMUEXT_TLB_FLUSH_MULTI or command == MMUEXT_INVLPG_MULTI:
        if operation.arg2 == 0:
            return -XEN_EINVAL
        if wants_this_vcpu(mmu, vcpu, operation.arg2, &rc):
            if command == MMUEXT_TLB_FLUSH_MULTI:
                mmu.processor.ops.flush_all(mmu.processor)
            elif operation.arg1 < LOWER_HALF_END or operation.arg1 >= HYPERVISOR_VIRT_END:
                mmu.processor.ops.flush_page(mmu.processor, operation.arg1)
        return -XEN_EINVAL if rc else 0
    elif command == MMUEXT_FLUSH_CACHE:
        return -XEN_EACCES      # only for who may set cache attributes
    elif command == MMUEXT_FLUSH_CACHE_GLOBAL:
        return -XEN_EINVAL
    elif command == MMUEXT_SET_LDT:
        return set_ldt(mmu, vcpu, operation.arg1, operation.arg2)
    elif command == MMUEXT_CLEAR_PAGE:
        return clear_page(mmu, operation.arg1)
    elif command == MMUEXT_COPY_PAGE:
        return copy_page(mmu, operation.arg1, operation.arg2)
    elif command == MMUEXT_MARK_SUPER or command == MMUEXT_UNMARK_SUPER:
        return -XEN_EOPNOTSUPP
    else:
        return -XEN_ENOSYS
    return 0


cdef int pin(PvMmu *mmu, uint64_t mfn, int level) noexcept nogil:
    cdef int rc = get_page_and_type(mmu, mfn, level)
    if rc:
        return rc
    if mmu.machine.frames[mfn].flags & FRAME_PINNED:
        put_page_and_type(mmu, mfn)
        return -XEN_EINVAL
    mmu.machine.frames[mfn].flags |= FRAME_PINNED
    return 0


cdef int unpin(PvMmu *mmu, uint64_t mfn) noexcept nogil:
    if not get_page(mmu, mfn):
        return -XEN_EINVAL
    if not mmu.machine.frames[mfn].flags & FRAME_PINNED:
        put_page(mmu, mfn)
        return -XEN_EINVAL
    mmu.machine.frames[mfn].flags &= ~FRAME_PINNED
    put_page_and_type(mmu, mfn)
    put_page(mmu, mfn)
    return 0


cdef int new_base_pointer(PvMmu *mmu, VcpuMmu *vcpu, uint64_t mfn) noexcept nogil:
    cdef uint64_t old = vcpu.root_kernel
    cdef int rc
    if mfn != old:
        rc = get_page_and_type(mmu, mfn, FRAME_L4)
        if rc:
            return rc
    vcpu.root_kernel = mfn
    vcpu.root_loaded = mfn
    unmap_ldt(mmu)
    mmu.processor.ops.load_root(mmu.processor, mfn, mfn == vcpu.root_user)
    if mfn != old:
        put_page_and_type(mmu, old)
    return 0


cdef int new_user_base_pointer(PvMmu *mmu, VcpuMmu *vcpu, uint64_t mfn) noexcept nogil:
    cdef uint64_t old = vcpu.root_user
    cdef int rc
    if mfn == old:
        return 0
    if mfn:
        rc = get_page_and_type(mmu, mfn, FRAME_L4)
        if rc:
            return rc
    vcpu.root_user = mfn
    if vcpu.root_loaded == mfn or vcpu.root_loaded == old:
        mmu.processor.ops.load_root(mmu.processor, vcpu.root_loaded, vcpu.root_loaded == mfn)
    if old:
        put_page_and_type(mmu, old)
    return 0


cdef int clear_page(PvMmu *mmu, uint64_t mfn) noexcept nogil:
    if get_page_and_type(mmu, mfn, FRAME_WRITABLE):
        return -XEN_EINVAL
    memset(mmu.machine.base + (mfn << 12), 0, 4096)
    mmu.processor.ops.code_dirty(mmu.processor, mfn << 12, 4096)
    put_page_and_type(mmu, mfn)
    return 0


cdef int copy_page(PvMmu *mmu, uint64_t target, uint64_t source) noexcept nogil:
    if not get_page(mmu, source):
        return -XEN_EINVAL
    if get_page_and_type(mmu, target, FRAME_WRITABLE):
        put_page(mmu, source)
        return -XEN_EINVAL
    memcpy(mmu.machine.base + (target << 12), mmu.machine.base + (source << 12), 4096)
    mmu.processor.ops.code_dirty(mmu.processor, target << 12, 4096)
    put_page_and_type(mmu, target)
    put_page(mmu, source)
    return 0
