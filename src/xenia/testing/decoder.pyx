"""The instruction decoder, and stores done in software, as tests see them."""

from collections.abc import Callable, Sequence

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

from xenia.cpu.cpuid cimport cpuid_policy
from xenia.cpu.decode cimport DECODE_OK, DECODE_SHORT, Instruction, decode, effective_offset
from xenia.cpu.context cimport Context
from xenia.cpu.store cimport Store, store_execute, store_prepare


class DecodeError(ValueError):
    """No such instruction."""


class NeedMore(ValueError):
    """The bytes end within an instruction."""


def decode_instruction(bytes code, int mode=64) -> dict[str, int]:
    """Take the instruction at the start of `code` apart; the fields of decode.pxd's Instruction as a dict."""
    cdef Instruction instruction
    cdef int outcome = decode(&instruction, code, len(code), mode)
    if outcome == DECODE_SHORT:
        raise NeedMore(code.hex())
    if outcome != DECODE_OK:
        raise DecodeError(code.hex())
    return dict(instruction)


def effective_address(bytes code, gpr: Sequence[int], uint64_t next, int mode=64) -> int:
    """Offset of the memory operand of the instruction at the start of `code`, with these general registers."""
    cdef Instruction instruction
    cdef uint64_t registers[16]
    cdef int i
    if decode(&instruction, code, len(code), mode) != DECODE_OK:
        raise DecodeError(code.hex())
    for i in range(16):
        registers[i] = gpr[i]
    return effective_offset(&instruction, registers, next)


def store(
    bytes code, gpr: Sequence[int], uint64_t rip, uint64_t rflags, memory: Callable[[int, int], bytes],
) -> tuple[tuple[int, bytes], list[int], int, int] | None:
    """Do the store at the start of `code` in software.  `memory(address, size)` reads memory.

    None if it is no store that is known; else what it writes where (address, bytes), and (gpr, rip, rflags) after it.
    """
    cdef Instruction instruction
    cdef Context context
    cdef Store store
    cdef bytes data
    cdef int i
    if decode(&instruction, code, len(code), 64) != DECODE_OK:
        raise DecodeError(code.hex())
    memset(&context, 0, sizeof(context))
    for i in range(16):
        context.gpr[i] = gpr[i]
    context.rip = rip
    context.rflags = rflags
    if not store_prepare(&instruction, &context, &store):
        return None
    if store.source_size:
        data = memory(store.source_offset, store.source_size)
        memcpy(&store.source, <const uint8_t *>data, store.source_size)
    data = memory(store.offset, store.size)
    memcpy(store.old, <const uint8_t *>data, store.size)
    store_execute(&instruction, &context, &store)
    return ((store.offset, (<uint8_t *>store.new)[:store.size]), [context.gpr[i] for i in range(16)], context.rip,
            context.rflags)


def cpuid(leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
    """(eax, ebx, ecx, edx) of the CPUID policy."""
    cdef unsigned int out[4]
    cpuid_policy(leaf, subleaf, out)
    return tuple(out)
