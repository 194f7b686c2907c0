/* The frame on the handler's stack in which the host's kernel keeps the registers of guest code: taken and put.
 *
 * A stub's guest code may write it at any time.  So its addresses are looked at once, and what lies outside of the
 * stub's report is not followed; all else is registers, which guest code can have anyway. */
#ifndef XENIA_FRAME_H
#define XENIA_FRAME_H

#include "stub.h"

#include <cpuid.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

enum { FPU_SIZE = 512, FPU_SOFTWARE = 464, XSTATE_HEADER = 64, XSTATE_MAGIC = 0x46505853, X87_SSE = 3 };
enum { XSTATE_PKRU = 1 << 9, KEY_0_ALONE = 0x55555554, OSPKE = 16 };
enum { USER_CS = 0x33, USER_SS = 0x2b };

typedef struct {
    ucontext_t *context;
    siginfo_t *info;
    uint8_t *fpu;
    uint64_t fpu_address; /* the stub's */
    uint64_t room;        /* behind it */
} Frame;

static inline void *in_report(StubReport *report, uint64_t at, uint64_t size)
{
    uint64_t offset = at - STUB_REPORT;
    if (offset < HANDLER_STACK || offset > REPORT_SIZE - size || (at & 7))
        return NULL;
    return (uint8_t *)report + offset;
}

/* False: there is none, or no whole one. */
static inline int frame_find(StubReport *report, Frame *frame)
{
    frame->context = in_report(report, report->context, offsetof(ucontext_t, uc_sigmask) + 8);
    frame->info = in_report(report, report->info, sizeof(siginfo_t));
    if (frame->context == NULL || frame->info == NULL)
        return 0;
    frame->fpu_address = __atomic_load_n((uintptr_t *)&frame->context->uc_mcontext.fpregs, __ATOMIC_RELAXED);
    frame->fpu = frame->fpu_address & 63 ? NULL : in_report(report, frame->fpu_address, FPU_SIZE + XSTATE_HEADER);
    frame->room = STUB_REPORT + REPORT_SIZE - frame->fpu_address;
    return frame->fpu != NULL;
}

static const uint8_t frame_order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                        REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static inline void frame_take(const Frame *frame, uint64_t *gpr, uint64_t *rip, uint64_t *rflags, uint8_t *fpu)
{
    const greg_t *registers = frame->context->uc_mcontext.gregs;
    for (int n = 0; n < 16; n++)
        gpr[n] = registers[frame_order[n]];
    *rip = registers[REG_RIP];
    *rflags = registers[REG_EFL];
    memcpy(fpu, frame->fpu, FPU_SOFTWARE);
    memset(fpu + FPU_SOFTWARE, 0, FPU_SIZE - FPU_SOFTWARE);
}

/* Where the rights to keys of memory (PKRU) are in it; 0: the host's processor has none. */
static inline uint32_t frame_pkru(void)
{
    static int32_t known = -1;
    uint32_t a, b = 0, c, d;
    if (known < 0) {
        int any = __get_cpuid_count(7, 0, &a, &b, &c, &d) && c & OSPKE && __get_cpuid_count(0xd, 9, &a, &b, &c, &d);
        known = any ? (int32_t)b : 0;
    }
    return (uint32_t)known;
}

/* All else that rt_sigreturn takes is put right too.  What a processor has beyond x87 and SSE begins as new; but what
 * is mapped to be executed alone, for which the kernel takes a key, is not read. */
static inline void frame_put(const Frame *frame, const uint64_t *gpr, uint64_t rip, uint64_t rflags, const uint8_t *fpu)
{
    ucontext_t *context = frame->context;
    greg_t *registers = context->uc_mcontext.gregs;
    uint32_t magic, pkru = frame_pkru(), rights = KEY_0_ALONE;
    for (int n = 0; n < 16; n++)
        registers[frame_order[n]] = gpr[n];
    registers[REG_RIP] = rip;
    registers[REG_EFL] = rflags;
    registers[REG_CSGSFS] = USER_CS | (uint64_t)USER_SS << 48;
    context->uc_mcontext.fpregs = (void *)frame->fpu_address;
    context->uc_stack = (stack_t){
        .ss_sp = (void *)(STUB_REPORT + HANDLER_STACK), .ss_flags = 0, .ss_size = REPORT_SIZE - HANDLER_STACK};
    memset(&context->uc_sigmask, 0, 8);
    memcpy(frame->fpu, fpu, FPU_SOFTWARE);
    memcpy(&magic, frame->fpu + FPU_SOFTWARE, sizeof magic);
    if (magic != XSTATE_MAGIC)
        return;
    *(uint64_t *)(frame->fpu + FPU_SIZE) = X87_SSE;
    if (pkru && pkru + sizeof rights <= frame->room) {
        *(uint64_t *)(frame->fpu + FPU_SIZE) |= XSTATE_PKRU;
        memcpy(frame->fpu + pkru, &rights, sizeof rights);
    }
}

static inline uint64_t frame_word(const Frame *frame, int number)
{
    return frame->context->uc_mcontext.gregs[number];
}
#endif
