# What one instruction that writes memory would store, worked out on a Context.
from libc.stdint cimport uint8_t, uint64_t
from xenia.cpu.decode cimport Instruction
from xenia.cpu.context cimport Context

cdef struct Store:
    uint64_t offset         # of the written operand, within its segment
    uint8_t segment         # SREG_*
    uint8_t size            # bytes: 1, 2, 4, 8 or 16
    uint8_t source_size     # bytes to be fetched into `source` first (movs, pop), 0 none
    uint8_t source_segment
    uint64_t source_offset
    uint64_t source
    uint64_t old[2]         # what memory holds, put there by the caller before store_execute
    uint64_t new[2]

# Where the instruction writes; false if it is not one of those known here.
cdef bint store_prepare(const Instruction *instruction, const Context *context, Store *store) noexcept nogil
# Do it: store.new is what memory shall hold; registers, flags and rip as after the instruction (or one round of it).
cdef void store_execute(const Instruction *instruction, Context *context, Store *store) noexcept nogil
# A general register as an operand of `size` bytes: %ah to %bh without REX; 4-byte writes clear the upper half.
cdef uint64_t register_read(const Instruction *instruction, const Context *context, int number, int size) noexcept nogil
cdef void register_write(const Instruction *instruction, Context *context, int number, int size,
                         uint64_t value) noexcept nogil
# One round of a string instruction: %rsi and %rdi step on, a repeated one counts down; rip moves on after the last.
cdef void string_step(const Instruction *instruction, Context *context, int size, bint source,
                      bint target) noexcept nogil
# rip behind the instruction.
cdef void retire(const Instruction *instruction, Context *context) noexcept nogil
# One of add or adc sbb and sub xor, by its number in 00-37: the result, and the flags in the context.
cdef uint64_t arithmetic(Context *context, int operation, uint64_t a, uint64_t b, int size) noexcept nogil
# Does the condition of a jcc, setcc or cmovcc hold?
cdef bint condition(const Context *context, int code) noexcept nogil
