/* What a hypercall, an exception and an event leave in the registers. */
#include "kit.h"

u64 in[16], out[16];       /* named by the assembly below */

#define LOAD "mov 8(%%r15), %%rbx; mov 24(%%r15), %%rdi; mov 32(%%r15), %%rsi; mov 40(%%r15), %%rdx; mov 48(%%r15), %%r8;" \
    "mov 56(%%r15), %%r9; mov 64(%%r15), %%r10; mov 72(%%r15), %%r12; mov 80(%%r15), %%r13; mov 88(%%r15), %%r14;"
#define SAVE "mov %%rbx, 8+out; mov %%rcx, 16+out; mov %%rdi, 24+out; mov %%rsi, 32+out; mov %%rdx, 40+out; mov %%r8, 48+out;" \
    "mov %%r9, 56+out; mov %%r10, 64+out; mov %%r12, 72+out; mov %%r13, 80+out; mov %%r14, 88+out; mov %%r11, 96+out; mov %%rax, out;"
#define CLOBBERS "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", \
    "memory", "cc"

static void compare(const char *name)
{
    static const char *const names[] = { "rax", "rbx", "rcx", "rdi", "rsi", "rdx", "r8", "r9", "r10", "r12", "r13",
                                         "r14", "r11" };
    printf("%s:", name);
    for (int i = 1; i < 12; i++)
        if (i != 2 && in[i] != out[i])
            printf(" %s", names[i]);
    printf(" changed\n");
}

void main(void)
{
    for (int i = 0; i < 16; i++)
        in[i] = 0x1000000000000000ul * i + 0x123;
    in[3] = XENVER_version;
    u64 next;
    asm volatile("lea in, %%r15; " LOAD "mov $17, %%eax; syscall; 1: "
                 SAVE "lea 1b(%%rip), %%rax; mov %%rax, %0" : "=m"(next) : : CLOBBERS);
    /* the label's address goes through memory, as every register is spoken for */
    compare("hypercall");
    printf("rcx is the return address: %d, r11 looks like flags: %lx\n", out[2] == next, out[12] & ~0x8d5ul);
    printf("rax: %lx\n", out[0]);
    asm volatile("lea in, %%r15; " LOAD "movq $1f, attempt_next; ud2; 1: " SAVE : : : CLOBBERS);
    compare("exception");
    struct evtchn_bind_ipi ipi = { 0, 0 };
    hypercall(event_channel_op, EVTCHNOP_bind_ipi, &ipi);
    struct evtchn_port port = { ipi.port };
    hypercall(event_channel_op, EVTCHNOP_send, &port);
    in[3] = XENVER_version;
    asm volatile("movb $0, 1(%0); lea in, %%r15; " LOAD "mov $17, %%eax; syscall; " SAVE : : "r"(vcpu_info) : CLOBBERS);
    compare("hypercall with an event");
    printf("rax: %lx, pending %d\n", out[0], vcpu_info->evtchn_upcall_pending);
}
