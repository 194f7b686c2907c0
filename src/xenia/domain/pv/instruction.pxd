# The instruction a vcpu is at, fetched through its page tables, and its operands' linear addresses.
from libc.stdint cimport uint32_t, uint64_t
from xenia.cpu.decode cimport Instruction
from xenia.domain.domain cimport Vcpu

cdef enum:                  # what doing an instruction in software came to
    EMULATE_DONE = 0        # done, the context is as after it
    EMULATE_UNHANDLED = 1   # not one of ours, or not allowed: the guest gets the fault that led here
    EMULATE_FAULT = 2       # it faults in a way of its own: Fault

cdef struct Fault:
    int vector
    uint32_t error
    uint64_t address        # cr2 of a #PF

# False: it cannot be read or is no instruction.
cdef bint instruction_fetch(Vcpu *vcpu, Instruction *instruction) noexcept nogil
cdef uint64_t linear_address(Vcpu *vcpu, const Instruction *instruction, int sreg, uint64_t offset) noexcept nogil
# Read or write an operand as the guest would; EMULATE_DONE, or EMULATE_FAULT with the #PF.
cdef int operand_read(Vcpu *vcpu, uint64_t va, void *target, int size, Fault *fault) noexcept nogil
cdef int operand_write(Vcpu *vcpu, uint64_t va, const void *source, int size, Fault *fault) noexcept nogil
