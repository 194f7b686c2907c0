/* How long an instruction is, and where it has its opcode and its displacement: of 64-bit code, as Intel's and AMD's
 * manuals lay down (volume 2, appendix A; volume 3, appendix A). */
#ifndef XENIA_INSTRUCTION_H
#define XENIA_INSTRUCTION_H

#include <stdint.h>

enum { INSTRUCTION_LONGEST = 15 };

typedef struct {
    int length;       /* 0: there is none, or it is not all there */
    int opcode;       /* where, after the prefixes */
    int displacement; /* where its 4 bytes are: of an address, or of a branch; 0: it has none */
} Instruction;

/* A bit for each of the 256 bytes that an opcode may be, 16 in a row. */
typedef uint16_t OpcodeSet[16];

#define HAS(set, opcode) ((set)[(opcode) >> 4] >> ((opcode) & 15) & 1)

static const OpcodeSet one_modrm = {
    0x0f0f, 0x0f0f, 0x0f0f, 0x0f0f, 0, 0, 0x0a08, 0, 0xfffb, 0, 0, 0, 0x00c3, 0xff0f, 0, 0xc0c0,
};
static const OpcodeSet one_imm8 = {
    0x1010, 0x1010, 0x1010, 0x1010, 0, 0, 0x0c00, 0xffff, 0x0009, 0, 0x0100, 0x00ff, 0x2043, 0, 0x08ff, 0,
};
static const OpcodeSet one_imm32 = { /* 16 bits with an operand-size prefix */
    0x2020, 0x2020, 0x2020, 0x2020, 0, 0, 0x0300, 0, 0x0002, 0, 0x0200, 0, 0x0080, 0, 0, 0,
};
static const OpcodeSet one_none = { /* in 64-bit code */
    0x40c0, 0xc0c0, 0x8080, 0x8080, 0, 0, 0x0003, 0, 0x0004, 0x0400, 0, 0, 0x4000, 0x0070, 0x0400, 0,
};
static const OpcodeSet two_no_modrm = {
    0x4be0, 0, 0, 0x00ff, 0, 0, 0, 0x0080, 0xffff, 0, 0x0707, 0, 0xff00, 0, 0, 0,
};
static const OpcodeSet two_imm8 = {
    0x8000, 0, 0, 0, 0, 0, 0, 0x000f, 0, 0, 0x1010, 0x0400, 0x0074, 0, 0, 0,
};
static const OpcodeSet two_none = {
    0x1410, 0, 0x00f0, 0xfa40, 0, 0, 0, 0, 0, 0, 0x00c0, 0, 0, 0, 0, 0,
};

/* Past the ModRM byte at `at` and what belongs to it; 0: that is not all there. */
static inline int past_modrm(const uint8_t *code, int at, int room, Instruction *it)
{
    int mod, rm;
    if (at >= room)
        return 0;
    mod = code[at] >> 6;
    rm = code[at++] & 7;
    if (mod == 3)
        return at;
    if (rm == 4) {
        if (at >= room)
            return 0;
        rm = code[at++] & 7;
    }
    if (mod == 1)
        return at + 1;
    if (mod == 2 || rm == 5) {
        it->displacement = at;
        return at + 4;
    }
    return at;
}

/* The opcode of maps 0f, 0f 38 and 0f 3a, with VEX, EVEX or without; 0: there is none. */
static inline int past_two(const uint8_t *code, int at, int room, int map, int vex, int wide, Instruction *it)
{
    int opcode, immediate;
    if (at >= room)
        return 0;
    opcode = code[at++];
    if (map == 1 && HAS(two_none, opcode))
        return 0;
    if (map == 1 && !vex && opcode >> 4 == 8) {
        it->displacement = at;
        return wide ? 0 : at + 4; /* Intel's and AMD's processors differ with an operand-size prefix */
    }
    if (map == 1 && (vex ? opcode == 0x77 : HAS(two_no_modrm, opcode)))
        return at;
    immediate = map == 3 || (map == 1 && HAS(two_imm8, opcode));
    if (map == 1 && !vex && opcode == 0x78) /* EXTRQ, INSERTQ; VMREAD without a prefix */
        immediate = wide ? 2 : 0;
    at = past_modrm(code, at, room, it);
    return at ? at + immediate : 0;
}

static inline int past_one(const uint8_t *code, int at, int room, int rex, int wide, int narrow, Instruction *it)
{
    int opcode = code[at++], modrm = HAS(one_modrm, opcode), extension = 0, immediate = HAS(one_imm8, opcode);
    if (HAS(one_none, opcode))
        return 0;
    if (opcode == 0xe8 || opcode == 0xe9) {
        it->displacement = at;
        return wide ? 0 : at + 4;
    }
    if (modrm) {
        extension = at < room ? code[at] >> 3 & 7 : 0;
        at = past_modrm(code, at, room, it);
        if (!at)
            return 0;
    }
    if (HAS(one_imm32, opcode))
        immediate = wide && !(rex & 8) ? 2 : 4;
    else if (opcode == 0xf6 && extension < 2)
        immediate = 1;
    else if (opcode == 0xf7 && extension < 2)
        immediate = wide && !(rex & 8) ? 2 : 4;
    else if (opcode >> 3 == 0xb8 >> 3)
        immediate = rex & 8 ? 8 : wide ? 2 : 4;
    else if (opcode == 0xc2 || opcode == 0xca)
        immediate = 2;
    else if (opcode == 0xc8)
        immediate = 3;
    else if (opcode >> 2 == 0xa0 >> 2)
        immediate = narrow ? 4 : 8;
    return at + immediate;
}

static inline Instruction instruction_at(const uint8_t *code, int room)
{
    Instruction it = {0, 0, 0};
    int at = 0, rex = 0, wide = 0, narrow = 0, repeated = 0, first, end;
    if (room > INSTRUCTION_LONGEST)
        room = INSTRUCTION_LONGEST;
    for (; at < room; at++) {
        int byte = code[at];
        if (byte >> 4 == 4) {
            rex = byte;
            continue;
        }
        if (byte == 0x66)
            wide = 1;
        else if (byte == 0x67)
            narrow = 1;
        else if (byte == 0xf2)
            repeated = 1;
        else if (byte != 0xf3 && byte != 0xf0 && (byte & 0xe7) != 0x26 && byte != 0x64 && byte != 0x65)
            break;
        rex = 0; /* it counts in front of the opcode alone */
    }
    if (at >= room)
        return it;
    it.opcode = at;
    first = code[at];
    if (first == 0x0f && at + 1 < room && (code[at + 1] == 0x38 || code[at + 1] == 0x3a))
        end = past_two(code, at + 2, room, code[at + 1] == 0x38 ? 2 : 3, 0, wide, &it);
    else if (first == 0x0f)
        end = past_two(code, at + 1, room, 1, 0, wide || (repeated && at + 1 < room && code[at + 1] == 0x78), &it);
    else if (first == 0xc5)
        end = past_two(code, at + 2, room, 1, 1, 0, &it);
    else if (first == 0xc4 && at + 1 < room && (code[at + 1] & 31) >= 1 && (code[at + 1] & 31) <= 3)
        end = past_two(code, at + 3, room, code[at + 1] & 31, 1, 0, &it);
    else if (first == 0x62 && at + 1 < room && 0x6e >> (code[at + 1] & 7) & 1)
        end = past_two(code, at + 4, room, code[at + 1] & 7, 1, 0, &it);
    else if (first == 0xc4 || first == 0x62)
        end = 0;
    else if (first == 0x8f && at + 1 < room && (code[at + 1] & 31) >= 8) { /* XOP */
        int map = code[at + 1] & 31;
        end = map > 10 ? 0 : past_modrm(code, at + 4, room, &it);
        end += !end || map == 9 ? 0 : map == 8 ? 1 : 4;
    } else
        end = past_one(code, at, room, rex, wide, narrow, &it);
    it.length = end <= room ? end : 0;
    return it;
}

#undef HAS

#endif
