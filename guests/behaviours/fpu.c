/* The FPU: task-switched traps, exceptions, state kept across hypercalls and events. */
#include "kit.h"

static u64 before[2] = { 0x1122334455667788, 0x99aabbccddeeff00 }, after[2];
static u32 mxcsr;
static u16 control;

void main(void)
{
    u64 cr0;
    attempt("fninit", :);
    printf("fninit: %s\n", outcome());
    hypercall(fpu_taskswitch, 1);
    asm volatile("mov %%cr0, %0" : "=r"(cr0));
    printf("ts after fpu_taskswitch(1): %lu\n", cr0 >> 3 & 1);
    attempt("fninit", :);
    printf("fninit: %s\n", outcome());
    asm volatile("mov %%cr0, %0" : "=r"(cr0));
    printf("ts after #NM: %lu\n", cr0 >> 3 & 1);
    attempt("fninit", :);
    printf("fninit again: %s\n", outcome());
    hypercall(fpu_taskswitch, 1);
    attempt("movups %0, %%xmm3", : : "m"(before));
    printf("sse with ts: %s\n", outcome());
    attempt("movups %0, %%xmm3", : : "m"(before));
    printf("sse again: %s\n", outcome());
    hypercall(fpu_taskswitch, 1);
    hypercall(fpu_taskswitch, 0);
    attempt("movups %%xmm3, %0", : "=m"(after));
    printf("after taskswitch(0): %s, kept: %d\n", outcome(), !memcmp(before, after, 16));
    attempt("mov %0, %%cr0", : : "r"(cr0 | 8));
    attempt("fnop", :);
    printf("fnop with ts by mov cr0: %s\n", outcome());
    attempt("wait", :);
    printf("wait: %s\n", outcome());
    hypercall(fpu_taskswitch, 1);
    attempt("wait", :);
    printf("wait with ts: %s\n", outcome());
    hypercall(fpu_taskswitch, 0);

    asm volatile("fninit; fnstcw %0; stmxcsr %1" : "=m"(control), "=m"(mxcsr));
    printf("control words: %x %x\n", control, mxcsr & 0xffc0);
    asm volatile("movups %0, %%xmm5; movups %0, %%xmm15" : : "m"(before));
    hypercall(sched_op, SCHEDOP_yield, 0);
    struct sched_poll poll = { NULL, 0, now() + 2000000 };
    hypercall(sched_op, SCHEDOP_poll, &poll);
    asm volatile("movups %%xmm15, %0" : "=m"(after));
    printf("xmm15 kept across a wait: %d\n", !memcmp(before, after, 16));
    static u8 area[512] aligned(16);
    attempt("fxsave %0", : "=m"(area));
    printf("fxsave: %s\n", outcome());
    attempt("fxrstor %0", : : "m"(area));
    printf("fxrstor: %s\n", outcome());
    attempt("fxsave 8(%0)", : : "r"(area) : "memory");
    printf("fxsave, misaligned: %s\n", outcome());
}
