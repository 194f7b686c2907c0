/*
 * The FPU, MMX and SSE registers as a processor stores them with fxsave64.
 *
 * Unicorn keeps x87 registers by number and not by their distance from the top of the stack, an empty one as a tag of
 * one byte, and beside the two control words what its arithmetic makes of them.
 */
#include "interpose.h"

#define MXCSR_BITS 0xffffu

typedef struct {
    uint16_t control, status;
    uint8_t used, reserved; /* a bit for each register, by number */
    uint16_t opcode;
    uint64_t ip, dp;
    uint32_t mxcsr, mxcsr_bits;
    uint8_t st[8][16]; /* from the top */
    uint8_t xmm[16][16];
    uint8_t reserved_too[48];
    uint16_t cs, ds; /* in the part that is left to software */
    uint8_t unused[44];
} Area;
_Static_assert(sizeof(Area) == 512, "fxsave");
_Static_assert(offsetof(Area, cs) == 464, "fxsave");

void fpu_save(const CPUX86State *env, uint8_t *area)
{
    Area *to = (Area *)area;
    memset(to, 0, sizeof *to);
    to->control = env->fpuc;
    to->status = (env->fpus & ~0x3800) | (env->fpstt & 7) << 11;
    to->opcode = env->fpop;
    to->ip = env->fpip, to->cs = env->fpcs;
    to->dp = env->fpdp, to->ds = env->fpds;
    to->mxcsr = env->mxcsr, to->mxcsr_bits = MXCSR_BITS;
    for (int n = 0; n < 8; n++) {
        to->used |= !env->fptags[n] << n;
        memcpy(to->st[n], env->fpregs[(env->fpstt + n) & 7].bytes, 10);
    }
    for (int n = 0; n < 16; n++)
        memcpy(to->xmm[n], env->xmm[n].words, 16);
}

void fpu_load(CPUX86State *env, const uint8_t *area)
{
    const Area *from = (const Area *)area;
    env->fpuc = from->control;
    env->fpus = from->status & ~0x3800;
    env->fpstt = from->status >> 11 & 7;
    env->fpop = from->opcode;
    env->fpip = from->ip, env->fpcs = from->cs;
    env->fpdp = from->dp, env->fpds = from->ds;
    env->mxcsr = from->mxcsr & MXCSR_BITS;
    for (int n = 0; n < 8; n++) {
        env->fptags[n] = !(from->used >> n & 1);
        memcpy(env->fpregs[(env->fpstt + n) & 7].bytes, from->st[n], 10);
    }
    for (int n = 0; n < 16; n++)
        memcpy(env->xmm[n].words, from->xmm[n], 16);
    update_fp_status_x86_64(env);
    update_mxcsr_status_x86_64(env);
}
