"""Takes x86 instructions apart: 64-bit, and 32- and 16-bit code of compat mode.

Theory of operation.  Two tables, one character for each opcode, say what follows it; that and the prefixes is all that
a length depends on:

    .  nothing            b  imm8              m  ModRM                    j  branch displacement, 2 or 4 bytes
    n  nothing            w  imm16             B  ModRM, imm8              p  far pointer
    i  imm8               z  imm16 or imm32    Z  ModRM, imm16 or imm32    o  memory offset, by address size
    e  imm16, imm8        v  imm16, 32 or 64   r  ModRM, register only     g  ModRM, then immediate if reg is 0 or 1
    y  ModRM, imm8        x  ModRM, memory only (else VEX or EVEX)         P  prefix or escape       !  undefined

n, i, p, x and y do not exist in 64-bit mode.
"""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

from xenia.cpu.context cimport RBP, RBX, RDI, RSI, RSP, SREG_DS, SREG_SS

cdef enum:
    LONGEST = 15

cdef const char *ONE_BYTE = (
    b"mmmmbznn" b"mmmmbznP"     # 00 add, or
    b"mmmmbznn" b"mmmmbznn"     # 10 adc, sbb
    b"mmmmbzPn" b"mmmmbzPn"     # 20 and, sub
    b"mmmmbzPn" b"mmmmbzPn"     # 30 xor, cmp
    b"........" b"........"     # 40 inc, dec (REX in 64-bit mode)
    b"........" b"........"     # 50 push, pop
    b"nnxmPPPP" b"zZbB...."     # 60
    b"bbbbbbbb" b"bbbbbbbb"     # 70 jcc
    b"BZyBmmmm" b"mmmmmmmm"     # 80
    b"........" b"..p....."     # 90
    b"oooo...." b"bz......"     # a0
    b"bbbbbbbb" b"vvvvvvvv"     # b0 mov
    b"BBw.xxBZ" b"e.w..bn."     # c0
    b"mmmmiin." b"mmmmmmmm"     # d0
    b"bbbbbbbb" b"jjpb...."     # e0
    b"P.PP..gg" b"......mm"     # f0
)

cdef const char *TWO_BYTES = (
    b"mmmm!..." b"..!.!m.B"     # 00
    b"mmmmmmmm" b"mmmmmmmm"     # 10
    b"rrrr!!!!" b"mmmmmmmm"     # 20
    b"......!." b"P!P!!!!!"     # 30
    b"mmmmmmmm" b"mmmmmmmm"     # 40 cmov
    b"mmmmmmmm" b"mmmmmmmm"     # 50
    b"mmmmmmmm" b"mmmmmmmm"     # 60
    b"BBBBmmm." b"mm!!mmmm"     # 70
    b"jjjjjjjj" b"jjjjjjjj"     # 80 jcc
    b"mmmmmmmm" b"mmmmmmmm"     # 90 setcc
    b"...mBm!!" b"...mBmmm"     # a0
    b"mmmmmmmm" b"mmBmmmmm"     # b0
    b"mmBmBBBm" b"........"     # c0
    b"mmmmmmmm" b"mmmmmmmm"     # d0
    b"mmmmmmmm" b"mmmmmmmm"     # e0
    b"mmmmmmmm" b"mmmmmmmm"     # f0
)

# 16-bit addressing: base and index by ModRM.rm.
cdef int8_t[8] BASE16 = [RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX]
cdef int8_t[8] INDEX16 = [RSI, RDI, RSI, RDI, NO_REGISTER, NO_REGISTER, NO_REGISTER, NO_REGISTER]


cdef struct Cursor:
    const uint8_t *bytes
    unsigned at
    unsigned available      # at most LONGEST


cdef inline uint64_t take(Cursor *cursor, int size) noexcept nogil:
    # The next `size` bytes, sign-extended.  Past the end it answers 0; decode looks at `at` once, at the end.
    cdef const uint8_t *here = cursor.bytes + cursor.at
    cdef int16_t word
    cdef int32_t half
    cdef int64_t whole
    cursor.at += size
    if cursor.at > cursor.available:
        return 0
    if size == 1:
        return <uint64_t><int64_t><int8_t>here[0]
    if size == 2:
        memcpy(&word, here, 2)
        return <uint64_t><int64_t>word
    if size == 4:
        memcpy(&half, here, 4)
        return <uint64_t><int64_t>half
    memcpy(&whole, here, 8)
    return <uint64_t>whole


cdef void take_modrm(Instruction *insn, Cursor *cursor, bint register_only) noexcept nogil:
    cdef uint8_t modrm = <uint8_t>take(cursor, 1)
    cdef uint8_t mod = modrm >> 6
    cdef uint8_t rm = modrm & 7
    cdef uint8_t sib
    insn.modrm = modrm
    insn.reg = modrm >> 3 & 7 | (8 if insn.rex & REX_R else 0)
    insn.rm = rm | (8 if insn.rex & REX_B else 0)
    if mod == 3 or register_only:
        return
    insn.memory = True
    if insn.address_size == 2:
        if mod == 0 and rm == 6:
            insn.displacement = <int64_t>take(cursor, 2)
            return
        insn.base = BASE16[rm]
        insn.index = INDEX16[rm]
    else:
        insn.base = insn.rm
        if rm == 4:
            sib = <uint8_t>take(cursor, 1)
            insn.scale = 1 << (sib >> 6)
            insn.index = sib >> 3 & 7 | (8 if insn.rex & REX_X else 0)
            if insn.index == RSP:
                insn.index = NO_REGISTER
            rm = sib & 7
            insn.base = rm | (8 if insn.rex & REX_B else 0)
            if rm == 5 and mod == 0:
                insn.base = NO_REGISTER
                insn.displacement = <int64_t>take(cursor, 4)
        elif rm == 5 and mod == 0:
            insn.base = BASE_RIP if insn.mode == 64 else NO_REGISTER
            insn.displacement = <int64_t>take(cursor, 4)
    if mod == 1:
        insn.displacement = <int64_t>take(cursor, 1)
    elif mod == 2:
        insn.displacement = <int64_t>take(cursor, 2 if insn.address_size == 2 else 4)
    if not insn.overridden and (insn.base == RSP or insn.base == RBP):
        insn.segment = SREG_SS


cdef int decode(Instruction *insn, const uint8_t *bytes, unsigned available, int mode) noexcept nogil:
    cdef Cursor cursor
    cdef uint8_t byte
    cdef char form
    cdef bint wide = mode != 16         # 32-bit operands and addresses, before prefixes
    cdef bint narrow_address = False
    cdef bint simd_immediates = False
    cdef int immediate_size
    memset(insn, 0, sizeof(Instruction))
    cursor.bytes = bytes
    cursor.at = 0
    cursor.available = available if available < LONGEST else LONGEST
    insn.mode = mode
    insn.segment = SREG_DS
    insn.base = NO_REGISTER
    insn.index = NO_REGISTER
    insn.scale = 1

    while True:
        byte = <uint8_t>take(&cursor, 1)
        if cursor.at > cursor.available:
            return DECODE_INVALID if cursor.at > LONGEST else DECODE_SHORT
        if byte == 0x66:
            wide = mode == 16
            simd_immediates = True
        elif byte == 0x67:
            narrow_address = True
        elif byte == 0xf0:
            insn.lock = True
        elif byte == 0xf2 or byte == 0xf3:
            insn.rep = byte
        elif byte & 0xe7 == 0x26 or byte == 0x64 or byte == 0x65:
            # In 64-bit mode only FS and GS count, and the others do not take them back.
            if mode != 64 or byte >= 0x64:
                insn.segment = byte & 7 if byte >= 0x64 else byte >> 3 & 3
                insn.overridden = True
        elif mode == 64 and byte & 0xf0 == 0x40:
            insn.rex = byte
            continue
        else:
            break
        insn.rex = 0        # a REX counts only right before the opcode

    insn.operand_size = 8 if insn.rex & REX_W else 4 if wide else 2
    if mode == 64:
        insn.address_size = 4 if narrow_address else 8
    else:
        insn.address_size = 4 if (mode == 32) != narrow_address else 2

    if byte != 0x0f:
        form = ONE_BYTE[byte]
        if byte & 0xf0 == 0x50 or byte == 0x68 or byte == 0x6a or byte == 0x8f or byte == 0x9c or byte == 0x9d:
            if mode == 64 and insn.operand_size == 4:       # pushes and pops
                insn.operand_size = 8
    else:
        byte = <uint8_t>take(&cursor, 1)
        insn.map = MAP_0F
        form = TWO_BYTES[byte]
        if byte == 0x38 or byte == 0x3a:
            insn.map = MAP_0F38 if byte == 0x38 else MAP_0F3A
            form = c"m" if byte == 0x38 else c"B"
            byte = <uint8_t>take(&cursor, 1)
        elif byte == 0x78 and (simd_immediates or insn.rep == 0xf2):
            form = c"e"
    insn.opcode = byte

    if mode == 64 and (form == c"n" or form == c"i" or form == c"p" or form == c"x" or form == c"y"):
        return DECODE_INVALID
    if form == c"!" or form == c"P":
        return DECODE_INVALID
    immediate_size = 2 if insn.operand_size == 2 else 4

    if form in (c"m", c"B", c"Z", c"g", c"x", c"y", c"r") or insn.map == MAP_0F and byte == 0x78:
        take_modrm(insn, &cursor, form == c"r")
        if form == c"x" and not insn.memory or byte == 0x8f and insn.map == 0 and insn.modrm & 0x38:
            return DECODE_INVALID
    if form in (c"b", c"i", c"B", c"y") or form == c"g" and byte == 0xf6 and insn.modrm & 0x38 < 0x10:
        insn.immediate = take(&cursor, 1)
    elif form in (c"z", c"Z") or form == c"g" and byte == 0xf7 and insn.modrm & 0x38 < 0x10:
        insn.immediate = take(&cursor, immediate_size)
    elif form == c"j":
        insn.immediate = take(&cursor, 4 if mode == 64 else immediate_size)
    elif form == c"w":
        insn.immediate = take(&cursor, 2)
    elif form == c"v":
        insn.immediate = take(&cursor, insn.operand_size)
    elif form == c"o":
        insn.memory = True
        insn.displacement = <int64_t>take(&cursor, insn.address_size)
    elif form == c"p":
        insn.immediate = take(&cursor, immediate_size)
        take(&cursor, 2)                        # the selector of a far pointer
    elif form == c"e":
        insn.immediate = take(&cursor, 1 if insn.map else 2)
        take(&cursor, 1)                        # the level of enter

    if cursor.at > cursor.available:
        return DECODE_INVALID if cursor.at > LONGEST else DECODE_SHORT
    insn.length = cursor.at
    return DECODE_OK


cdef uint64_t cut(uint64_t value, int size) noexcept nogil:
    return value if size == 8 else value & (<uint64_t>1 << 8 * size) - 1


cdef uint64_t effective_offset(const Instruction *insn, const uint64_t *gpr, uint64_t next) noexcept nogil:
    cdef uint64_t offset = <uint64_t>insn.displacement
    if insn.base == BASE_RIP:
        offset += next
    elif insn.base != NO_REGISTER:
        offset += gpr[insn.base]
    if insn.index != NO_REGISTER:
        offset += gpr[insn.index] * insn.scale
    return cut(offset, insn.address_size)


cdef bint moves_stack(const Instruction *insn) noexcept nogil:
    cdef uint8_t opcode = insn.opcode
    if insn.map == MAP_0F:
        return opcode in (0xa0, 0xa1, 0xa8, 0xa9)                       # push and pop of fs and gs
    if insn.map != MAP_ONE_BYTE:
        return False
    if opcode == 0xff:
        return insn.modrm >> 3 & 7 in (2, 3, 6)                         # call, far call, push
    return opcode & 0xf0 == 0x50 or opcode in (0x68, 0x6a, 0x8f, 0x9c, 0x9d, 0xc2, 0xc3, 0xca, 0xcb, 0xcf, 0xe8)


cdef bint is_stack_access(const Instruction *insn, const uint64_t *gpr, uint64_t va) noexcept nogil:
    if insn.memory and insn.segment == SREG_SS:
        return True
    if insn.map == MAP_ONE_BYTE and (insn.opcode == 0xc8 or insn.opcode == 0xc9):       # enter, leave
        return True
    return moves_stack(insn) and va - gpr[RSP] + 64 < 128
