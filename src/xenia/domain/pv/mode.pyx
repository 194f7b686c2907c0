"""Kernel and user mode of a guest: `swapgs`, the privilege level and the page tables, as a processor would do them."""

from libc.stdint cimport uint16_t, uint64_t

from xenia.cpu.context cimport CONTEXT_SEGMENTS, SREG_GS
from xenia.cpu.processor cimport Processor
from xenia.domain.domain cimport Vcpu
from xenia.machine.machine cimport frame_words
from xenia.machine.paging cimport PAGE_ACCESSED, PAGE_DIRTY, PAGE_USER
from xenia.mm.pv.pvmmu cimport VcpuMmu


cdef bint roots_alike(Vcpu *vcpu) noexcept nogil:
    # Whether user mode may stay on the kernel's L4: the guest's own slots of the lower half lead to the same tables.
    # (Of the upper half it reaches nothing there.)  Accessed, dirty and user bits are no difference.
    # mm/ counts what changes L4 tables, so that a comparison stands until the next one.
    cdef VcpuMmu *mmu = &vcpu.mmu
    cdef uint64_t *kernel = frame_words(vcpu.domain.machine, mmu.root_kernel)
    cdef uint64_t *user = frame_words(vcpu.domain.machine, mmu.root_user)
    cdef uint64_t difference = 0
    cdef int slot
    if (mmu.compared_kernel != mmu.root_kernel or mmu.compared_user != mmu.root_user
            or mmu.compared_at != vcpu.domain.mmu.l4_changes):
        for slot in range(256):
            difference |= kernel[slot] ^ user[slot]
        mmu.compared_kernel = mmu.root_kernel
        mmu.compared_user = mmu.root_user
        mmu.compared_at = vcpu.domain.mmu.l4_changes
        mmu.compared_alike = difference & ~<uint64_t>(PAGE_ACCESSED | PAGE_DIRTY | PAGE_USER) == 0
    return mmu.compared_alike


cdef void switch_mode(Vcpu *vcpu, bint kernel) noexcept nogil:
    # swapgs, the privilege level, and the page tables where they differ.  The base that is not in use is kept in the
    # vcpu; the one in use is the processor's, because a guest may load %gs without telling us.
    cdef Processor *processor = vcpu.processor
    cdef uint16_t selector
    cdef uint64_t base, root
    if vcpu.context.kernel == kernel:
        return
    processor.ops.get_segment(processor, SREG_GS, &selector, &base)
    if kernel:
        vcpu.control.gs_base_user = base
        processor.ops.set_segment_base(processor, SREG_GS, vcpu.control.gs_base_kernel)
        root = vcpu.mmu.root_kernel
    else:
        vcpu.control.gs_base_kernel = base
        processor.ops.set_segment_base(processor, SREG_GS, vcpu.control.gs_base_user)
        root = vcpu.mmu.root_kernel if roots_alike(vcpu) else vcpu.mmu.root_user
    vcpu.context.kernel = kernel
    vcpu.context.dirty |= CONTEXT_SEGMENTS
    if root != vcpu.mmu.root_loaded:
        vcpu.mmu.root_loaded = root
        processor.ops.load_root(processor, root, root == vcpu.mmu.root_user)
