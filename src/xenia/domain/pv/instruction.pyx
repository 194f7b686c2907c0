"""The instruction a vcpu is at, and its operands in guest memory.

Everything is read through the page tables of the mode that the vcpu is in: what user mode may not touch, an instruction
of user mode that is done in software may not touch either.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from xenia.cpu.decode cimport DECODE_OK, DECODE_SHORT, Instruction, cut, decode
from xenia.cpu.context cimport SREG_CS, SREG_FS, SREG_GS
from xenia.cpu.processor cimport PFEC_FETCH, PFEC_USER, PFEC_WRITE, TRAP_GP, TRAP_PF
from xenia.domain.domain cimport Vcpu
from xenia.domain.pv.segments cimport code_mode, is_canonical
from xenia.mm.access cimport guest_walk
from xenia.mm.memory cimport mm_writes, mm_wrote

cdef enum:
    LONGEST = 15


cdef inline uint32_t ring(Vcpu *vcpu) noexcept nogil:
    return 0 if vcpu.context.kernel else PFEC_USER


cdef inline uint64_t root(Vcpu *vcpu) noexcept nogil:
    return vcpu.mmu.root_kernel if vcpu.context.kernel else vcpu.mmu.root_user


cdef inline uint64_t in_page(uint64_t va) noexcept nogil:
    return 0x1000 - (va & 0xfff)


cdef bint instruction_fetch(Vcpu *vcpu, Instruction *instruction) noexcept nogil:
    cdef int mode = code_mode(vcpu)
    cdef uint64_t va = vcpu.context.rip
    cdef uint64_t base, maddr
    cdef uint64_t here
    cdef uint32_t error
    cdef uint16_t selector
    cdef uint8_t code[LONGEST]
    if mode != 64:
        vcpu.processor.ops.get_segment(vcpu.processor, SREG_CS, &selector, &base)
        va = cut(va + base, 4)
    if guest_walk(&vcpu.domain.memory, root(vcpu), va, PFEC_FETCH | ring(vcpu), &maddr, &error):
        return False
    here = in_page(va)
    if here >= LONGEST:
        return decode(instruction, vcpu.domain.machine.base + maddr, LONGEST, mode) == DECODE_OK
    memcpy(code, vcpu.domain.machine.base + maddr, here)
    if decode(instruction, code, here, mode) != DECODE_SHORT:
        return decode(instruction, code, here, mode) == DECODE_OK
    if guest_walk(&vcpu.domain.memory, root(vcpu), va + here, PFEC_FETCH | ring(vcpu), &maddr, &error):
        return False
    memcpy(code + here, vcpu.domain.machine.base + maddr, LONGEST - here)
    return decode(instruction, code, LONGEST, mode) == DECODE_OK


cdef uint64_t linear_address(Vcpu *vcpu, const Instruction *instruction, int sreg, uint64_t offset) noexcept nogil:
    cdef uint16_t selector
    cdef uint64_t base
    if instruction.mode == 64 and sreg != SREG_FS and sreg != SREG_GS:
        return offset
    vcpu.processor.ops.get_segment(vcpu.processor, sreg, &selector, &base)
    return base + offset if instruction.mode == 64 else cut(base + offset, 4)


cdef int operand(Vcpu *vcpu, uint64_t va, uint8_t *bytes, int size, uint32_t access, Fault *fault) noexcept nogil:
    # Both pages of an operand that crosses one are looked up before a byte is moved.
    cdef uint64_t maddr[2]
    cdef uint64_t here = in_page(va)
    cdef uint64_t first = here if here < <uint64_t>size else size
    cdef uint8_t *memory = vcpu.domain.machine.base
    if not is_canonical(va) or not is_canonical(va + size - 1):
        fault.vector = TRAP_GP
        fault.error = 0
        return EMULATE_FAULT
    fault.vector = TRAP_PF
    fault.address = va
    if guest_walk(&vcpu.domain.memory, root(vcpu), va, access | ring(vcpu), &maddr[0], &fault.error):
        return EMULATE_FAULT
    if first < <uint64_t>size:
        fault.address = va + first
        if guest_walk(&vcpu.domain.memory, root(vcpu), va + first, access | ring(vcpu), &maddr[1], &fault.error):
            return EMULATE_FAULT
    if access & PFEC_WRITE:
        mm_writes(&vcpu.domain.memory, maddr[0] >> 12)
        memcpy(memory + maddr[0], bytes, first)
        mm_wrote(&vcpu.domain.memory, maddr[0], first)
        if first < <uint64_t>size:
            mm_writes(&vcpu.domain.memory, maddr[1] >> 12)
            memcpy(memory + maddr[1], bytes + first, size - first)
            mm_wrote(&vcpu.domain.memory, maddr[1], size - first)
    else:
        memcpy(bytes, memory + maddr[0], first)
        if first < <uint64_t>size:
            memcpy(bytes + first, memory + maddr[1], size - first)
    return EMULATE_DONE


cdef int operand_read(Vcpu *vcpu, uint64_t va, void *target, int size, Fault *fault) noexcept nogil:
    return operand(vcpu, va, <uint8_t *>target, size, 0, fault)


cdef int operand_write(Vcpu *vcpu, uint64_t va, const void *source, int size, Fault *fault) noexcept nogil:
    return operand(vcpu, va, <uint8_t *>source, size, PFEC_WRITE, fault)
