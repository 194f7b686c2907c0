"""The instructions that the interpreter knows, in 64-bit mode.

    add or adc sbb and sub xor cmp test     every form           mov movzx movsx movslq movabs lea xchg
    inc dec not neg cmpxchg xadd            push pop pushf popf  bts btr btc with an immediate or register
    jmp jcc call ret loop jrcxz             setcc cmovcc         clc stc cmc cld std nop
    movs stos, repeated or not              rdtsc cpuid          syscall sysenter int int3 ud2

What is privileged is a #GP; everything else, and whatever is locked, is a #UD.  What an instruction writes to memory is
worked out by cpu/store, which also does the same to a register here: `store_register` takes it for memory.
"""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from xenia.cpu.context cimport (
    EFLAGS_AC, EFLAGS_AF, EFLAGS_CF, EFLAGS_DF, EFLAGS_ID, EFLAGS_NT, EFLAGS_OF, EFLAGS_PF, EFLAGS_RF, EFLAGS_SF,
    EFLAGS_TF, EFLAGS_ZF, R11, RAX, RBX, RCX, RDX, RSP, SREG_FS, Context,
)
from xenia.cpu.cpuid cimport cpuid_policy
from xenia.cpu.decode cimport DECODE_OK, DECODE_SHORT, MAP_0F, MAP_ONE_BYTE, Instruction, cut, decode, effective_offset
from xenia.cpu.processor cimport (
    EXIT_EXCEPTION, EXIT_SOFT_INTERRUPT, EXIT_SYSCALL, EXIT_SYSENTER, TRAP_BP, TRAP_GP, TRAP_UD,
)
from xenia.cpu.store cimport (
    Store, arithmetic, condition, register_read, register_write, retire, store_execute, store_prepare,
)
from xenia.testing.interpreter cimport fetch, leave, read, write

cdef enum:
    CR4_TSD = 4
    ARITHMETIC = EFLAGS_CF | EFLAGS_PF | EFLAGS_AF | EFLAGS_ZF | EFLAGS_SF | EFLAGS_OF
    POPPED = ARITHMETIC | EFLAGS_TF | EFLAGS_DF | EFLAGS_NT | EFLAGS_AC | EFLAGS_ID
    OR = 1                      # for `arithmetic`
    AND = 4
    SUB = 5
    CMP = 7


cdef bint step(Interpreter *engine) noexcept nogil:
    cdef Context *context = engine.processor.context
    cdef Instruction insn
    cdef uint8_t code[15]
    cdef unsigned length = 0
    cdef int outcome
    if not fetch(engine, code, &length):
        return False
    outcome = decode(&insn, code, length, 64)
    if outcome == DECODE_SHORT and length < 15:
        if not fetch(engine, code, &length):
            return False
        outcome = decode(&insn, code, length, 64)
    if outcome != DECODE_OK or insn.lock:
        return refuse(engine, TRAP_UD)
    if insn.map == MAP_ONE_BYTE:
        return one_byte(engine, context, &insn)
    if insn.map == MAP_0F:
        return two_bytes(engine, context, &insn)
    return refuse(engine, TRAP_UD)


cdef bint refuse(Interpreter *engine, int vector) noexcept nogil:
    return leave(engine, EXIT_EXCEPTION, vector, 0, 0)


# --- operands ---


cdef uint64_t address(Interpreter *engine, const Instruction *insn, int segment, uint64_t offset) noexcept nogil:
    return offset + (engine.inside.segments[segment].base if segment >= SREG_FS else 0)


cdef bint load(Interpreter *engine, Context *context, const Instruction *insn, int size,
               uint64_t *value) noexcept nogil:
    # The operand that ModRM.rm names.
    cdef uint64_t offset
    if not insn.memory:
        value[0] = register_read(insn, context, insn.rm, size)
        return True
    value[0] = 0
    offset = effective_offset(insn, context.gpr, context.rip + insn.length)
    return read(engine, address(engine, insn, insn.segment, offset), value, size, False)


cdef bint store_memory(Interpreter *engine, Context *context, const Instruction *insn, Store *store) noexcept nogil:
    cdef uint64_t va = address(engine, insn, store.segment, store.offset)
    if store.source_size:
        if not read(engine, address(engine, insn, store.source_segment, store.source_offset), &store.source,
                    store.source_size, False):
            return False
    if not read(engine, va, store.old, store.size, True):
        return False
    store_execute(insn, context, store)
    return write(engine, va, store.new, store.size)


cdef bint store_register(Context *context, const Instruction *insn) noexcept nogil:
    # As the same instruction would change memory.
    cdef Instruction of_memory = insn[0]
    cdef Store store
    of_memory.memory = True
    if not store_prepare(&of_memory, context, &store):
        return False
    store.old[0] = register_read(insn, context, insn.rm, store.size)
    store_execute(&of_memory, context, &store)
    register_write(insn, context, insn.rm, store.size, store.new[0])
    return True


cdef bint pop(Interpreter *engine, Context *context, uint64_t *value) noexcept nogil:
    if not read(engine, context.gpr[RSP], value, 8, False):
        return False
    context.gpr[RSP] += 8
    return True


cdef bint push(Interpreter *engine, Context *context, uint64_t value) noexcept nogil:
    if not write(engine, context.gpr[RSP] - 8, &value, 8):
        return False
    context.gpr[RSP] -= 8
    return True


cdef uint64_t extended(uint64_t value, int size) noexcept nogil:
    if size == 1:
        return <uint64_t><int64_t><int8_t>value
    return <uint64_t><int64_t><int16_t>value if size == 2 else <uint64_t><int64_t><int32_t>value


# --- one byte ---


cdef bint one_byte(Interpreter *engine, Context *context, const Instruction *insn) noexcept nogil:
    cdef uint8_t opcode = insn.opcode
    cdef int size = insn.operand_size if opcode & 1 else 1
    cdef int group = insn.modrm >> 3 & 7
    cdef Store store
    cdef uint64_t value
    if opcode < 0x40 and opcode & 7 >= 2 or 0x38 <= opcode < 0x3a:
        return compute(engine, context, insn, size)
    if opcode == 0x84 or opcode == 0x85 or opcode == 0xa8 or opcode == 0xa9:
        return test(engine, context, insn, size)
    if (opcode == 0x80 or opcode == 0x81 or opcode == 0x83) and group == CMP:
        if not load(engine, context, insn, size, &value):
            return False
        arithmetic(context, SUB, value, cut(insn.immediate, size), size)
    elif (opcode == 0xf6 or opcode == 0xf7) and group < 2:
        return test(engine, context, insn, size)
    elif opcode == 0x8a or opcode == 0x8b:
        if not load(engine, context, insn, size, &value):
            return False
        register_write(insn, context, insn.reg, size, value)
    elif opcode == 0xa0 or opcode == 0xa1:
        if not load(engine, context, insn, size, &value):
            return False
        register_write(insn, context, RAX, size, value)
    elif opcode & 0xf0 == 0xb0:
        size = insn.operand_size if opcode & 8 else 1
        register_write(insn, context, opcode & 7 | (insn.rex & 1) << 3, size, insn.immediate)
    elif opcode == 0x63:
        if not load(engine, context, insn, 4, &value):
            return False
        register_write(insn, context, insn.reg, insn.operand_size, extended(value, 4))
    elif opcode == 0x8d and insn.memory:
        value = effective_offset(insn, context.gpr, context.rip + insn.length)
        register_write(insn, context, insn.reg, insn.operand_size, value)
    elif opcode & 0xf8 == 0x58 and insn.operand_size == 8:
        if not pop(engine, context, &value):
            return False
        context.gpr[opcode & 7 | (insn.rex & 1) << 3] = value
    elif opcode & 0xf8 == 0x90:
        value = context.gpr[opcode & 7 | (insn.rex & 1) << 3]       # nop: with itself
        register_write(insn, context, opcode & 7 | (insn.rex & 1) << 3, insn.operand_size, context.gpr[RAX])
        if opcode & 7 or insn.rex & 1:
            register_write(insn, context, RAX, insn.operand_size, value)
    elif opcode == 0x9c or opcode == 0x9d:
        if not flags_instruction(engine, context, insn):
            return False
    elif store_prepare(insn, context, &store):
        return store_memory(engine, context, insn, &store)
    elif not insn.memory and insn.modrm and store_register(context, insn):
        return True
    elif (opcode & 0xfe == 0xa4 or opcode & 0xfe == 0xaa) and insn.rep:
        pass                                                        # no round is left
    else:
        return jump_or_leave(engine, context, insn)
    retire(insn, context)
    return True


cdef bint compute(Interpreter *engine, Context *context, const Instruction *insn, int size) noexcept nogil:
    # The eight of 00-3f that do not write memory: from r/m to a register, an immediate to rax, and both forms of cmp.
    cdef int operation = insn.opcode >> 3, form = insn.opcode & 7, target = insn.reg
    cdef uint64_t a, b
    if form > 5:
        return refuse(engine, TRAP_UD)
    if form >= 4:
        target = RAX
        b = cut(insn.immediate, size)
    elif not load(engine, context, insn, size, &b):
        return False
    a = register_read(insn, context, target, size)
    if form < 2:
        a, b = b, a
    if operation == CMP:
        arithmetic(context, SUB, a, b, size)
    else:
        register_write(insn, context, target, size, arithmetic(context, operation, a, b, size))
    retire(insn, context)
    return True


cdef bint test(Interpreter *engine, Context *context, const Instruction *insn, int size) noexcept nogil:
    cdef uint64_t a = cut(context.gpr[RAX], size), b = cut(insn.immediate, size)
    if insn.opcode < 0xa0 or insn.opcode >= 0xf0:
        if not load(engine, context, insn, size, &a):
            return False
        if insn.opcode < 0xa0:
            b = register_read(insn, context, insn.reg, size)
    arithmetic(context, AND, a, b, size)
    retire(insn, context)
    return True


cdef bint flags_instruction(Interpreter *engine, Context *context, const Instruction *insn) noexcept nogil:
    cdef uint64_t value
    if insn.opcode == 0x9c:
        return push(engine, context, context.rflags & ~<uint64_t>EFLAGS_RF)
    if not pop(engine, context, &value):
        return False
    context.rflags = context.rflags & ~<uint64_t>POPPED | value & POPPED
    return True


cdef bint jump_or_leave(Interpreter *engine, Context *context, const Instruction *insn) noexcept nogil:
    cdef uint8_t opcode = insn.opcode
    cdef uint64_t next = context.rip + insn.length, target = next + insn.immediate
    cdef bint taken = True
    if opcode & 0xf0 == 0x70:
        taken = condition(context, opcode & 15)
    elif opcode == 0xe2:
        context.gpr[RCX] -= 1
        taken = context.gpr[RCX] != 0
    elif opcode == 0xe3:
        taken = context.gpr[RCX] == 0
    elif opcode == 0xe8:
        if not push(engine, context, next):
            return False
    elif opcode == 0xc3:
        if not pop(engine, context, &target):
            return False
    elif opcode == 0xff and insn.modrm >> 3 & 7 in (2, 4):
        if not load(engine, context, insn, 8, &target):
            return False
        if insn.modrm >> 3 & 7 == 2 and not push(engine, context, next):
            return False
    elif opcode == 0xcc or opcode == 0xcd:
        context.rip = next
        return leave(engine, EXIT_SOFT_INTERRUPT, TRAP_BP if opcode == 0xcc else insn.immediate & 0xff, 0, 0)
    elif opcode & 0xf4 == 0xe4 or opcode == 0xf4 or opcode & 0xfe == 0xfa or opcode & 0xfc == 0x6c:
        return refuse(engine, TRAP_GP)
    elif opcode == 0xf8 or opcode == 0xf9 or opcode == 0xf5 or opcode & 0xfe == 0xfc:
        change_flag(context, opcode)
        taken = False
    elif opcode != 0xe9 and opcode != 0xeb:
        return refuse(engine, TRAP_UD)
    context.rip = target if taken else next
    return True


cdef void change_flag(Context *context, uint8_t opcode) noexcept nogil:
    if opcode == 0xf5:
        context.rflags ^= EFLAGS_CF
    elif opcode & 1:
        context.rflags |= EFLAGS_CF if opcode == 0xf9 else EFLAGS_DF
    else:
        context.rflags &= ~<uint64_t>(EFLAGS_CF if opcode == 0xf8 else EFLAGS_DF)


# --- two bytes ---


cdef bint two_bytes(Interpreter *engine, Context *context, const Instruction *insn) noexcept nogil:
    cdef uint8_t opcode = insn.opcode
    cdef Store store
    cdef uint64_t value
    cdef int size
    if opcode == 0x05 or opcode == 0x34:
        context.rip += insn.length
        if opcode == 0x05:
            context.gpr[RCX] = context.rip
            context.gpr[R11] = context.rflags
        return leave(engine, EXIT_SYSCALL if opcode == 0x05 else EXIT_SYSENTER, 0, 0, 0)
    if opcode & 0xf0 == 0x80:
        context.rip += insn.length + (insn.immediate if condition(context, opcode & 15) else 0)
        return True
    if opcode & 0xf0 == 0x40 or opcode & 0xf6 == 0xb6:
        size = insn.operand_size if opcode & 0xf0 == 0x40 else 2 if opcode & 1 else 1
        if not load(engine, context, insn, size, &value):
            return False
        if opcode & 0xf0 == 0x40 and not condition(context, opcode & 15):
            value = context.gpr[insn.reg]
        elif opcode & 0xf8 == 0xb8:
            value = extended(value, size)
        register_write(insn, context, insn.reg, insn.operand_size, value)
    elif opcode == 0x1f:
        pass
    elif opcode == 0x31 and (not engine.inside.cr4 & CR4_TSD):
        value = engine.processor.ops.read_tsc(&engine.processor)
        context.gpr[RAX] = cut(value, 4)
        context.gpr[RDX] = value >> 32
    elif opcode == 0xa2:
        cpuid(context)
    elif is_privileged(insn):
        return refuse(engine, TRAP_GP)
    elif store_prepare(insn, context, &store):
        return store_memory(engine, context, insn, &store)
    elif not insn.memory and store_register(context, insn):
        return True
    else:
        return refuse(engine, TRAP_UD)
    retire(insn, context)
    return True


cdef bint is_privileged(const Instruction *insn) noexcept nogil:
    cdef uint8_t opcode = insn.opcode
    cdef int group = insn.modrm >> 3 & 7
    if opcode == 0x01:                                              # lgdt lidt lmsw invlpg
        return insn.memory and (group == 2 or group == 3 or group == 7) or group == 6
    if opcode == 0x00:                                              # lldt ltr
        return group == 2 or group == 3
    # clts sysret wbinvd, control and debug registers, MSRs, counters
    return 0x06 <= opcode <= 0x09 or 0x20 <= opcode <= 0x23 or 0x30 <= opcode <= 0x33


cdef void cpuid(Context *context) noexcept nogil:
    cdef uint32_t leaf[4]
    cpuid_policy(<uint32_t>context.gpr[RAX], <uint32_t>context.gpr[RCX], leaf)
    context.gpr[RAX] = leaf[0]
    context.gpr[RBX] = leaf[1]
    context.gpr[RCX] = leaf[2]
    context.gpr[RDX] = leaf[3]
