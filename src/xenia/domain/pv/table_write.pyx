"""Writes of a guest kernel to its own page tables.

A frame in use as a page table is mapped read-only for its guest, so that every change of an entry is seen and checked.
Kernels still write entries directly, with nearly any instruction that writes memory; the page fault of such a write
comes here.  The instruction is done on a copy of the context; only when the new entry was accepted does the copy become
the vcpu's, so a refused write leaves nothing behind but the fault that the guest then gets.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from xenia.cpu.context cimport Context, context_copy_first_part
from xenia.cpu.decode cimport Instruction
from xenia.cpu.store cimport Store, store_execute, store_prepare
from xenia.domain.domain cimport Vcpu
from xenia.domain.pv.instruction cimport (
    EMULATE_DONE, EMULATE_FAULT, EMULATE_UNHANDLED, Fault, instruction_fetch, linear_address, operand_read,
)
from xenia.domain.turn cimport turn_pass, turn_take
from xenia.machine.lock cimport lock, unlock
from xenia.mm.pv.ptwr cimport ptwr_find, ptwr_write
from xenia.mm.pv.update cimport MMU_CHANGED


cdef int emulate_table_write(Vcpu *vcpu, uint64_t va, Fault *fault) noexcept nogil:
    cdef Instruction insn
    cdef Store store
    cdef uint64_t target, source = 0
    cdef int outcome
    if not instruction_fetch(vcpu, &insn) or not store_prepare(&insn, &vcpu.context, &store):
        return EMULATE_UNHANDLED
    target = linear_address(vcpu, &insn, store.segment, store.offset)
    if (target ^ va) >> 12:
        return EMULATE_UNHANDLED
    if store.source_size:
        source = linear_address(vcpu, &insn, store.source_segment, store.source_offset)
    turn_take(vcpu)
    outcome = carry_out(vcpu, &insn, &store, target, source, fault)
    turn_pass(vcpu)
    return outcome


cdef int carry_out(Vcpu *vcpu, Instruction *insn, Store *store, uint64_t target, uint64_t source,
                   Fault *fault) noexcept nogil:
    # With the turn: nothing here looks for the code's segment, which takes it.
    cdef Context after
    cdef uint64_t maddr
    cdef int refused = MMU_CHANGED
    if not ptwr_find(&vcpu.domain.mmu, vcpu.mmu.root_loaded, target, store.size, &maddr):
        return EMULATE_UNHANDLED
    if store.source_size:
        if operand_read(vcpu, source, &store.source, store.source_size, fault) != EMULATE_DONE:
            return EMULATE_FAULT
    while refused == MMU_CHANGED:
        store.old[0] = 0
        memcpy(&store.old, vcpu.domain.machine.base + maddr, store.size)
        context_copy_first_part(&after, &vcpu.context)
        store_execute(insn, &after, store)
        lock(&vcpu.domain.memory.lock)
        refused = ptwr_write(&vcpu.domain.mmu, maddr, store.size, store.old[0], store.new[0])
        unlock(&vcpu.domain.memory.lock)
    if refused:
        return EMULATE_UNHANDLED
    context_copy_first_part(&vcpu.context, &after)
    return EMULATE_DONE
