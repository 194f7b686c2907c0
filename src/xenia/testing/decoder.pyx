"""The instruction decoder as tests see it."""

from libc.stdint cimport uint64_t

from xenia.cpu.cpuid cimport cpuid_policy
from xenia.cpu.decode cimport DECODE_OK, DECODE_SHORT, Instruction, decode, effective_offset


class DecodeError(ValueError):
    """No such instruction."""


class NeedMore(ValueError):
    """The bytes end within an instruction."""


def decode_instruction(bytes code, int mode=64):
    """Take the instruction at the start of `code` apart; the fields of decode.pxd's Instruction as a dict."""
    cdef Instruction instruction
    cdef int outcome = decode(&instruction, code, len(code), mode)
    if outcome == DECODE_SHORT:
        raise NeedMore(code.hex())
    if outcome != DECODE_OK:
        raise DecodeError(code.hex())
    return dict(instruction)


def effective_address(bytes code, gpr, uint64_t next, int mode=64):
    """Offset of the memory operand of the instruction at the start of `code`, with these general registers."""
    cdef Instruction instruction
    cdef uint64_t registers[16]
    cdef int i
    if decode(&instruction, code, len(code), mode) != DECODE_OK:
        raise DecodeError(code.hex())
    for i in range(16):
        registers[i] = gpr[i]
    return effective_offset(&instruction, registers, next)


def cpuid(leaf, subleaf=0):
    """(eax, ebx, ecx, edx) of the CPUID policy."""
    cdef unsigned int out[4]
    cpuid_policy(leaf, subleaf, out)
    return tuple(out)
