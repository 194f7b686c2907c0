/* Work whose result tells whether any instruction ran twice or not at all: read-modify-write of memory, string moves,
 * locked counters, calls, in kernel and in user mode.  The sums are the same on every host, however often the guest was
 * stopped. */
#include "kit.h"

static u64 words[512];
static u8 from[4096], to[4096];

user_code(u_work,
    "mov $0x600000, %rdi; mov $2000000, %ecx; mov $1, %eax;"
    "1: addq %rax, (%rdi); rolq $7, (%rdi); xorq %rcx, (%rdi); incq 8(%rdi); lock addq $3, 16(%rdi); imul $33, %rax, %rax; inc %rax;"
    "xchgq %rax, 24(%rdi); adcq $0, 32(%rdi); push %rax; pop %rdx; dec %ecx; jnz 1b; mov (%rdi), %rax; add 24(%rdi), %rax;"
    "mov 8(%rdi), %rbx; mov 16(%rdi), %rsi; syscall");

static __attribute__((noinline)) u64 mix(u64 value, u64 n)
{
    return n ? mix(value * 6364136223846793005 + n, n - 1) + 1 : value;
}

void main(void)
{
    u64 sum = 0;
    for (u64 round = 0; round < 400; round++) {
        for (int i = 0; i < 512; i++)
            asm volatile("addq %1, %0; rolq $5, %0; xorq %2, %0; notq %0" : "+m"(words[i]) : "r"(round * i), "r"(sum));
        sum += words[round & 511];
        for (int i = 0; i < 4096; i += 8)
            *(u64 *)&from[i] ^= sum + i;
        memcpy(to, from, sizeof(to));
        for (int i = 0; i < 4096; i += 8)
            sum = sum * 31 + *(u64 *)&to[i];
        sum += mix(sum, 100);
    }
    printf("kernel sum: %lx\n", sum);
    u64 counter = 0;
    for (int i = 0; i < 3000000; i++)
        asm volatile("lock incq %0" : "+m"(counter));
    printf("locked count: %lu\n", counter);
    user_start();
    user_load(u_work, u_work_end - u_work);
    struct frame f = user_frame();
    user_run(&f);
    printf("user sums: %lx %lu %lu\n", f.rax, f.rbx, f.rsi);
}
