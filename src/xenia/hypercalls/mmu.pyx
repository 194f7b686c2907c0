"""mmu_update, update_va_mapping, mmuext_op, set_gdt and update_descriptor (public/xen.h): the hypercalls' arguments.

What they do is in mm/pv/update and mm/pv/descriptors.  A batch that was preempted is continued Xen's way: the array
pointer moves on, and the top bit of the count says that *done_out already holds what the earlier parts have done.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from xenia.abi.errno cimport XEN_EFAULT, XEN_EINVAL
from xenia.abi.xen cimport FIRST_RESERVED_GDT_ENTRY, mmu_update_t, mmuext_op_t
from xenia.domain.domain cimport Vcpu
from xenia.hypercalls.guest cimport from_guest, to_guest
from xenia.hypercalls.table cimport HYPERCALL_CONTINUE
from xenia.mm.pv.descriptors cimport set_gdt, update_descriptor
from xenia.mm.pv.pvmmu cimport PvMmu, VcpuMmu
from xenia.mm.pv.update cimport MMU_PREEMPTED, foreign_domain, mmu_update, mmuext_op, update_va_mapping

cdef uint32_t PREEMPTED = <uint32_t>1 << 31        # of a count: a continuation

ctypedef int64_t (*batch_fn)(PvMmu *, VcpuMmu *, uint64_t, uint32_t, uint32_t, uint32_t *) noexcept nogil


cdef int64_t do_mmu_update(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    return batch(vcpu, args, mmu_update, sizeof(mmu_update_t))


cdef int64_t do_mmuext_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    return batch(vcpu, args, mmuext_op, sizeof(mmuext_op_t))


cdef int64_t batch(Vcpu *vcpu, uint64_t *args, batch_fn operation, uint64_t size) noexcept nogil:
    # (requests, count, done_out, foreigndom).  An unwritable done_out is the guest's loss.
    cdef uint32_t count = <uint32_t>args[1], done, before = 0
    cdef int64_t rc
    if count & PREEMPTED:
        count &= ~PREEMPTED
        if args[2]:
            from_guest(vcpu, &before, args[2], sizeof(before))
    rc = operation(&vcpu.domain.mmu, &vcpu.mmu, args[0], count, <uint32_t>args[3], &done)
    if args[2]:
        before += done
        to_guest(vcpu, args[2], &before, sizeof(before))
    if rc == MMU_PREEMPTED:
        args[0] += size * done
        args[1] = (count - done) | PREEMPTED
        return HYPERCALL_CONTINUE
    return rc


cdef int64_t do_update_va_mapping(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    return update_va_mapping(&vcpu.domain.mmu, &vcpu.mmu, args[0], args[1], args[2])


cdef int64_t do_update_va_mapping_otherdomain(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef int rc = foreign_domain(&vcpu.domain.mmu, <uint32_t>args[3] & 0xffff)
    return rc if rc else update_va_mapping(&vcpu.domain.mmu, &vcpu.mmu, args[0], args[1], args[2])


cdef int64_t do_set_gdt(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    # (frame_list, entries)
    cdef uint64_t frames[16]
    cdef uint32_t entries = <uint32_t>args[1]
    if entries > FIRST_RESERVED_GDT_ENTRY:
        return -XEN_EINVAL
    if from_guest(vcpu, frames, args[0], (entries + 511) // 512 * sizeof(uint64_t)):
        return -XEN_EFAULT
    return set_gdt(&vcpu.domain.mmu, &vcpu.mmu, frames, entries)


cdef int64_t do_update_descriptor(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    # (maddr, descriptor)
    return update_descriptor(&vcpu.domain.mmu, args[0], args[1])
