"""Writes of a guest kernel to its own page tables.

A frame in use as a page table is mapped read-only for its guest, so that every change of an entry is seen and checked.
Kernels still write entries directly, with nearly any instruction that writes memory; the page fault of such a write
comes here.  The instruction is done on a copy of the context; only when mm/ptwr has accepted the new entry does the copy
become the vcpu's, so a refused write leaves nothing behind but the fault that the guest then gets.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from xenia.cpu.decode cimport Instruction
from xenia.cpu.processor cimport Context
from xenia.cpu.store cimport Store, store_execute, store_prepare
from xenia.domain.domain cimport Vcpu
from xenia.domain.instruction cimport (
    EMULATE_DONE, EMULATE_FAULT, EMULATE_UNHANDLED, Fault, instruction_fetch, linear_address, operand_read,
)
from xenia.machine.machine cimport FRAME_L1, Frame
from xenia.mm.access cimport guest_walk
from xenia.mm.update cimport mod_entry


cdef int emulate_table_write(Vcpu *vcpu, uint64_t va, Fault *fault) noexcept nogil:
    cdef Instruction insn
    cdef Store store
    cdef Context after
    cdef uint64_t target, maddr, old, new
    cdef uint32_t error
    cdef Frame *frame
    if not instruction_fetch(vcpu, &insn) or not store_prepare(&insn, &vcpu.context, &store):
        return EMULATE_UNHANDLED
    target = linear_address(vcpu, &insn, store.segment, store.offset)
    # Only naturally aligned writes of at most one entry, in the page that faulted.
    if store.size > 8 or target & (store.size - 1) or (target ^ va) >> 12:
        return EMULATE_UNHANDLED
    if guest_walk(&vcpu.domain.mmu, vcpu.mmu.root_loaded, target, 0, &maddr, &error):
        return EMULATE_UNHANDLED
    if store.source_size:
        if operand_read(vcpu, linear_address(vcpu, &insn, store.source_segment, store.source_offset), &store.source,
                        store.source_size, fault) != EMULATE_DONE:
            return EMULATE_FAULT
    frame = &vcpu.domain.machine.frames[maddr >> 12]
    if frame.type != FRAME_L1 or frame.type_refs == 0 or frame.owner != vcpu.domain.domid:
        return EMULATE_UNHANDLED
    memcpy(&store.old, vcpu.domain.machine.base + maddr, store.size)
    old = (<uint64_t *>(vcpu.domain.machine.base + (maddr & ~<uint64_t>7)))[0]
    after = vcpu.context
    store_execute(&insn, &after, &store)
    new = old
    memcpy(<uint8_t *>&new + (maddr & 7), &store.new, store.size)
    if mod_entry(&vcpu.domain.mmu, 1, maddr >> 12, maddr >> 3 & 511, new, False):
        return EMULATE_UNHANDLED
    vcpu.context = after
    return EMULATE_DONE
