"""Instructions that write memory, done in software: what a guest uses on page tables that it may only read.

Theory of operation.  `store_prepare` says where the instruction writes and what else it reads; the caller fetches both,
`store_execute` computes the new contents and changes the registers and flags, on a Context that the caller may throw
away.  Nothing here touches memory, and nothing is known of page tables.

    add or adc sbb and sub xor      00-33 forms, 80 81 83
    mov movnti stos movs            88 89 a2 a3 c6 c7, 0f c3, aa ab, a4 a5
    xchg cmpxchg xadd               86 87, 0f b0 b1, 0f c0 c1
    inc dec not neg                 fe ff, f6 f7
    bts btr btc setcc               0f ab b3 bb ba, 0f 90-9f
    push pop                        50-57 68 6a, 8f
    cmpxchg8b cmpxchg16b            0f c7
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memset

from xenia.cpu.decode cimport MAP_0F, MAP_ONE_BYTE, Instruction, cut, effective_offset
from xenia.cpu.context cimport (
    CONTEXT_FLAGS, EFLAGS_AF, EFLAGS_CF, EFLAGS_DF, EFLAGS_OF, EFLAGS_PF, EFLAGS_SF, EFLAGS_ZF, RAX, RBX, RCX, RDI, RDX,
    RSI, RSP, SREG_ES, SREG_SS, Context,
)

cdef enum:
    ARITHMETIC_FLAGS = EFLAGS_CF | EFLAGS_PF | EFLAGS_AF | EFLAGS_ZF | EFLAGS_SF | EFLAGS_OF


# --- registers


cdef uint64_t register_read(const Instruction *insn, const Context *context, int number, int size) noexcept nogil:
    if size == 1 and not insn.rex and 4 <= number < 8:
        return context.gpr[number - 4] >> 8 & 0xff
    return cut(context.gpr[number], size)


cdef void register_write(const Instruction *insn, Context *context, int number, int size,
                         uint64_t value) noexcept nogil:
    cdef uint64_t mask
    if size == 1 and not insn.rex and 4 <= number < 8:
        context.gpr[number - 4] = context.gpr[number - 4] & ~<uint64_t>0xff00 | (value & 0xff) << 8
    elif size >= 4:
        context.gpr[number] = cut(value, size)
    else:
        mask = (<uint64_t>1 << 8 * size) - 1
        context.gpr[number] = context.gpr[number] & ~mask | value & mask


cdef void retire(const Instruction *insn, Context *context) noexcept nogil:
    context.rip = cut(context.rip + insn.length, 8 if insn.mode == 64 else 4)


cdef inline void advance(uint64_t *register, int address_size, int64_t step) noexcept nogil:
    # By address size: 16-bit leaves the rest of the register, 32-bit clears it.
    if address_size == 2:
        register[0] = register[0] & ~<uint64_t>0xffff | (register[0] + step) & 0xffff
    else:
        register[0] = cut(register[0] + step, address_size)


cdef void string_step(const Instruction *insn, Context *context, int size, bint source, bint target) noexcept nogil:
    cdef int64_t step = -size if context.rflags & EFLAGS_DF else size
    if source:
        advance(&context.gpr[RSI], insn.address_size, step)
    if target:
        advance(&context.gpr[RDI], insn.address_size, step)
    if insn.rep:
        advance(&context.gpr[RCX], insn.address_size, -1)
        if cut(context.gpr[RCX], insn.address_size):
            return
    retire(insn, context)


# --- flags


cdef inline uint64_t result_flags(uint64_t result, int size) noexcept nogil:
    cdef uint64_t flags = result >> (8 * size - 1) << 7 & EFLAGS_SF
    cdef uint8_t low = <uint8_t>result
    if result == 0:
        flags |= EFLAGS_ZF
    low ^= low >> 4
    if not 0x6996 >> (low & 15) & 1:
        flags |= EFLAGS_PF
    return flags


cdef inline void set_flags(Context *context, uint64_t which, uint64_t flags) noexcept nogil:
    context.rflags = context.rflags & ~which | flags & which
    context.dirty |= CONTEXT_FLAGS


cdef uint64_t add(Context *context, uint64_t a, uint64_t b, bint carry, int size, uint64_t which) noexcept nogil:
    cdef uint64_t sum = cut(a + b + carry, size)
    cdef uint64_t flags = result_flags(sum, size) | (a ^ b ^ sum) & EFLAGS_AF
    if sum < a or carry and sum == a:
        flags |= EFLAGS_CF
    if (a ^ sum) & (b ^ sum) & <uint64_t>1 << (8 * size - 1):
        flags |= EFLAGS_OF
    set_flags(context, which, flags)
    return sum


cdef uint64_t subtract(Context *context, uint64_t a, uint64_t b, bint borrow, int size, uint64_t which) noexcept nogil:
    cdef uint64_t difference = cut(a - b - borrow, size)
    cdef uint64_t flags = result_flags(difference, size) | (a ^ b ^ difference) & EFLAGS_AF
    if a < b or borrow and a == b:
        flags |= EFLAGS_CF
    if (a ^ b) & (a ^ difference) & <uint64_t>1 << (8 * size - 1):
        flags |= EFLAGS_OF
    set_flags(context, which, flags)
    return difference


cdef uint64_t arithmetic(Context *context, int operation, uint64_t a, uint64_t b, int size) noexcept nogil:
    # The eight of 00-3f and group 1, compare excepted.
    cdef bint carry = context.rflags & EFLAGS_CF != 0
    cdef uint64_t result
    if operation == 0 or operation == 2:
        return add(context, a, b, carry and operation == 2, size, ARITHMETIC_FLAGS)
    if operation == 3 or operation == 5:
        return subtract(context, a, b, carry and operation == 3, size, ARITHMETIC_FLAGS)
    result = a | b if operation == 1 else a & b if operation == 4 else a ^ b
    set_flags(context, ARITHMETIC_FLAGS, result_flags(result, size))
    return result


cdef bint condition(const Context *context, int code) noexcept nogil:
    cdef uint64_t flags = context.rflags
    cdef bint holds
    cdef bint less = (flags & EFLAGS_SF != 0) != (flags & EFLAGS_OF != 0)
    cdef int pair = code >> 1
    if pair == 0:
        holds = flags & EFLAGS_OF != 0
    elif pair == 1:
        holds = flags & EFLAGS_CF != 0
    elif pair == 2:
        holds = flags & EFLAGS_ZF != 0
    elif pair == 3:
        holds = flags & (EFLAGS_CF | EFLAGS_ZF) != 0
    elif pair == 4:
        holds = flags & EFLAGS_SF != 0
    elif pair == 5:
        holds = flags & EFLAGS_PF != 0
    elif pair == 6:
        holds = less
    else:
        holds = less or flags & EFLAGS_ZF != 0
    return holds != (code & 1)


# --- one-byte opcodes and 0f opcodes apart


cdef inline int operand_bytes(const Instruction *insn) noexcept nogil:
    # Most opcodes come in pairs: even for bytes, odd for words of the operand size.
    return insn.operand_size if insn.opcode & 1 else 1


cdef bint store_prepare(const Instruction *insn, const Context *context, Store *store) noexcept nogil:
    cdef int group = insn.modrm >> 3 & 7
    memset(store, 0, sizeof(Store))
    store.segment = insn.segment
    store.size = operand_bytes(insn)
    if insn.memory:
        store.offset = effective_offset(insn, context.gpr, context.rip + insn.length)
    if insn.map == MAP_ONE_BYTE:
        return prepare_one_byte(insn, context, store, group)
    if insn.map == MAP_0F and insn.memory:
        return prepare_0f(insn, context, store, group)
    return False


cdef bint prepare_one_byte(const Instruction *insn, const Context *context, Store *store, int group) noexcept nogil:
    cdef uint8_t opcode = insn.opcode
    cdef int stack_size = 8 if insn.mode == 64 else 4
    if opcode == 0xaa or opcode == 0xab or opcode == 0xa4 or opcode == 0xa5:
        store.segment = SREG_ES
        store.offset = cut(context.gpr[RDI], insn.address_size)
        if opcode < 0xa8:
            store.source_size = store.size
            store.source_segment = insn.segment
            store.source_offset = cut(context.gpr[RSI], insn.address_size)
        return not insn.rep or cut(context.gpr[RCX], insn.address_size) != 0
    if opcode & 0xf8 == 0x50 or opcode == 0x68 or opcode == 0x6a:
        store.segment = SREG_SS
        store.size = insn.operand_size
        store.offset = cut(context.gpr[RSP] - store.size, stack_size)
        return True
    if not insn.memory:
        return False
    if opcode < 0x38:
        return opcode & 7 < 2
    if opcode == 0x80 or opcode == 0x81 or opcode == 0x83:
        return group != 7
    if opcode == 0x8f:
        store.size = insn.operand_size
        store.source_size = insn.operand_size
        store.source_segment = SREG_SS
        store.source_offset = cut(context.gpr[RSP], stack_size)
        # The address is worked out with %rsp as popped.
        if insn.base == RSP:
            store.offset = cut(store.offset + insn.operand_size, insn.address_size)
        return True
    if opcode == 0xf6 or opcode == 0xf7:
        return group == 2 or group == 3
    if opcode == 0xfe or opcode == 0xff:
        return group < 2
    return 0x86 <= opcode <= 0x89 or opcode == 0xa2 or opcode == 0xa3 or opcode == 0xc6 or opcode == 0xc7


cdef bint prepare_0f(const Instruction *insn, const Context *context, Store *store, int group) noexcept nogil:
    cdef uint8_t opcode = insn.opcode
    cdef int64_t bit
    if opcode & 0xf0 == 0x90:
        store.size = 1
        return True
    if opcode == 0xb0 or opcode == 0xb1 or opcode == 0xc0 or opcode == 0xc1:
        return True
    store.size = insn.operand_size
    if opcode == 0xab or opcode == 0xb3 or opcode == 0xbb:
        # A bit string: the register reaches beyond the word.
        bit = <int64_t>(context.gpr[insn.reg] << 64 - 8 * store.size) >> 64 - 8 * store.size
        store.offset += <uint64_t>((bit >> (3 + (store.size > 2) + (store.size > 4) + 1)) * store.size)
        store.offset = cut(store.offset, insn.address_size)
        return True
    if opcode == 0xba:
        return group > 4
    if opcode == 0xc7:
        store.size = 2 * (8 if insn.operand_size == 8 else 4)
        return group == 1
    return opcode == 0xc3 and store.size > 2


cdef void store_execute(const Instruction *insn, Context *context, Store *store) noexcept nogil:
    store.new[0] = store.old[0]
    store.new[1] = store.old[1]
    if insn.map == MAP_ONE_BYTE:
        execute_one_byte(insn, context, store)
    else:
        execute_0f(insn, context, store)


cdef void execute_one_byte(const Instruction *insn, Context *context, Store *store) noexcept nogil:
    cdef uint8_t opcode = insn.opcode
    cdef int size = store.size
    cdef int group = insn.modrm >> 3 & 7
    cdef uint64_t old = store.old[0]
    cdef uint64_t new = old
    cdef uint64_t immediate = cut(insn.immediate, size)
    if 0xa4 <= opcode <= 0xab and opcode & 0xfe != 0xa8:
        store.new[0] = store.source if opcode < 0xa8 else cut(context.gpr[RAX], size)
        string_step(insn, context, size, opcode < 0xa8, True)
        return
    if opcode < 0x38:
        new = arithmetic(context, opcode >> 3, old, register_read(insn, context, insn.reg, size), size)
    elif opcode <= 0x6a:
        new = immediate
        if opcode < 0x58:
            new = cut(context.gpr[opcode & 7 | (insn.rex & 1) << 3], size)
        advance(&context.gpr[RSP], 8 if insn.mode == 64 else 4, -size)
    elif opcode <= 0x83:
        new = arithmetic(context, group, old, immediate, size)
    elif opcode == 0x86 or opcode == 0x87:
        new = register_read(insn, context, insn.reg, size)
        register_write(insn, context, insn.reg, size, old)
    elif opcode == 0x88 or opcode == 0x89:
        new = register_read(insn, context, insn.reg, size)
    elif opcode == 0x8f:
        new = store.source
        advance(&context.gpr[RSP], 8 if insn.mode == 64 else 4, size)
    elif opcode == 0xa2 or opcode == 0xa3:
        new = cut(context.gpr[RAX], size)
    elif opcode == 0xc6 or opcode == 0xc7:
        new = immediate
    elif opcode == 0xf6 or opcode == 0xf7:
        new = cut(~old, size) if group == 2 else subtract(context, 0, old, False, size, ARITHMETIC_FLAGS)
    elif group == 0:
        new = add(context, old, 1, False, size, ARITHMETIC_FLAGS & ~EFLAGS_CF)
    else:
        new = subtract(context, old, 1, False, size, ARITHMETIC_FLAGS & ~EFLAGS_CF)
    store.new[0] = new
    retire(insn, context)


cdef void execute_0f(const Instruction *insn, Context *context, Store *store) noexcept nogil:
    cdef uint8_t opcode = insn.opcode
    cdef int size = store.size
    cdef int operation
    cdef uint64_t old = store.old[0]
    cdef uint64_t new = old
    cdef uint64_t bit
    if opcode & 0xf0 == 0x90:
        new = condition(context, opcode & 15)
    elif opcode == 0xb0 or opcode == 0xb1:
        subtract(context, cut(context.gpr[RAX], size), old, False, size, ARITHMETIC_FLAGS)
        if context.rflags & EFLAGS_ZF:
            new = register_read(insn, context, insn.reg, size)
        else:
            register_write(insn, context, RAX, size, old)
    elif opcode == 0xc0 or opcode == 0xc1:
        new = add(context, old, register_read(insn, context, insn.reg, size), False, size, ARITHMETIC_FLAGS)
        register_write(insn, context, insn.reg, size, old)
    elif opcode == 0xc3:
        new = cut(context.gpr[insn.reg], size)
    elif opcode == 0xc7:
        compare_pair(context, store, size // 2)
        new = store.new[0]
    else:
        if opcode == 0xba:
            operation = insn.modrm >> 3 & 3         # 1 bts, 2 btr, 3 btc
            bit = insn.immediate
        else:
            operation = opcode >> 3 & 3
            bit = context.gpr[insn.reg]
        bit = <uint64_t>1 << (bit & 8 * size - 1)
        set_flags(context, EFLAGS_CF, EFLAGS_CF if old & bit else 0)
        new = old | bit if operation == 1 else old & ~bit if operation == 2 else old ^ bit
    store.new[0] = new
    retire(insn, context)


cdef void compare_pair(Context *context, Store *store, int half) noexcept nogil:
    # cmpxchg8b keeps its two halves in old[0]; cmpxchg16b in old[0] and old[1].
    cdef uint64_t low = store.old[0]
    cdef uint64_t high = store.old[1]
    if half == 4:
        high = low >> 32
        low = cut(low, 4)
    if low == cut(context.gpr[RAX], half) and high == cut(context.gpr[RDX], half):
        set_flags(context, EFLAGS_ZF, EFLAGS_ZF)
        store.new[0] = cut(context.gpr[RBX], half)
        store.new[1] = cut(context.gpr[RCX], half)
        if half == 4:
            store.new[0] |= store.new[1] << 32
            store.new[1] = 0
    else:
        set_flags(context, EFLAGS_ZF, 0)
        context.gpr[RAX] = low
        context.gpr[RDX] = high
