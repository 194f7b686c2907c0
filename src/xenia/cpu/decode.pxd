# An x86 instruction taken apart: prefixes, opcode, operands' addressing.  No meaning beyond its encoding.
from libc.stdint cimport int8_t, int64_t, uint8_t, uint64_t

cdef enum:                  # what decode answers
    DECODE_OK = 0
    DECODE_SHORT = 1        # more bytes are needed
    DECODE_INVALID = 2      # no such instruction (of those that a processor without AVX has), or longer than 15 bytes

cdef enum:
    MAP_ONE_BYTE = 0        # Instruction.map
    MAP_0F = 1
    MAP_0F38 = 2
    MAP_0F3A = 3

    NO_REGISTER = -1        # Instruction.base, .index
    BASE_RIP = 16

    REX_B = 1
    REX_X = 2
    REX_R = 4
    REX_W = 8

cdef struct Instruction:
    uint8_t length
    uint8_t map
    uint8_t opcode          # last opcode byte
    uint8_t modrm           # 0 where the instruction has none
    uint8_t memory          # the ModRM or moffs operand is in memory
    uint8_t rex
    uint8_t mode            # 64, 32 or 16
    uint8_t operand_size    # 2, 4 or 8 by prefixes and mode; opcodes with byte operands say so themselves
    uint8_t address_size    # 2, 4 or 8
    uint8_t rep             # 0, 0xf2 or 0xf3, the last one given
    uint8_t lock
    uint8_t segment         # SREG_* of the memory operand, prefix or default
    uint8_t overridden      # the segment came from a prefix
    uint8_t reg             # ModRM.reg, with REX.R
    uint8_t rm              # ModRM.rm, with REX.B; the register when not memory
    int8_t base             # general register, BASE_RIP or NO_REGISTER
    int8_t index
    uint8_t scale           # 1, 2, 4 or 8
    int64_t displacement    # of the memory operand; of a moffs operand the whole offset
    uint64_t immediate      # sign-extended as far as it goes

# Take the instruction at `bytes` apart, of which `available` can be read.
cdef int decode(Instruction *instruction, const uint8_t *bytes, unsigned available, int mode) noexcept nogil
# Offset of the memory operand in its segment, `next` being the address of the following instruction.
cdef uint64_t effective_offset(const Instruction *instruction, const uint64_t *gpr, uint64_t next) noexcept nogil
# Is `va` of the instruction's stack segment, given that it touches it, in 64-bit mode?  What is not canonical there is
# a #SS.
cdef bint is_stack_access(const Instruction *instruction, const uint64_t *gpr, uint64_t va) noexcept nogil
# `value` cut to `size` bytes.
cdef uint64_t cut(uint64_t value, int size) noexcept nogil
