/* A debugger and what it debugs: single steps, breakpoints in the code and in the debug registers. */
#include "check.h"
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#define PROGRAM "debug"

static volatile uint64_t watched[4] __attribute__((aligned(32)));
static pid_t child;

static struct user_regs_struct registers(void)
{
    struct user_regs_struct regs;
    ptrace(PTRACE_GETREGS, child, 0, &regs);
    return regs;
}

static void debug_register(int n, uint64_t value)
{
    if (ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[n]), value)) {
        printf("    dr%d = %lx: %s\n", n, value, strerror(errno));
        _exit(1);
    }
}

static uint64_t debug_status(void)
{
    return ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, u_debugreg[6]), 0);
}

/* The signal that the child stopped with; 0 if it ended. */
static int resume(int request)
{
    int status;
    ptrace(request, child, 0, 0);
    waitpid(child, &status, 0);
    return WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
}

/* Start `body` in a child that stops before it. */
static void debuggee(void (*body)(void))
{
    int status;
    fflush(stdout);
    child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        body();
        _exit(0);
    }
    waitpid(child, &status, 0);
}

#define LABEL(name) extern char name[] asm(#name)
LABEL(steps_first);
LABEL(steps_last);
LABEL(steps_string);
LABEL(place);

static void stepped(void)
{
    static char from[64], to[64];
    asm volatile(
        "steps_first: mov $100, %%ecx\n"
        "1: inc %%rax; dec %%ecx; jnz 1b\n"                 /* 300 */
        "mov $39, %%eax; syscall\n"                         /* 2 */
        "lea %0, %%rsi; lea %1, %%rdi; mov $5, %%ecx\n"     /* 3 */
        "steps_string: rep movsb\n"                         /* a step for each turn */
        "pushfq; pop %%rbx; mov $0, %%edx; cpuid\n"         /* 4 */
        "mov %%ss, %%eax; mov %%eax, %%ss; nop\n"           /* 3, or 2 where the last is in the shadow of mov ss */
        "nop\n"
        "steps_last: nop\n"
        :: "m"(from), "m"(to) : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r11", "memory");
}

static int single_steps(void)
{
    debuggee(stepped);
    uint64_t first = (uint64_t)steps_first, last = (uint64_t)steps_last;
    struct user_regs_struct regs = registers();
    for (int i = 0; i < 5000 && regs.rip != first; i++) {
        EXPECT(resume(PTRACE_SINGLESTEP) == SIGTRAP);
        regs = registers();
    }
    EXPECT(regs.rip == first, "never came there: %llx", regs.rip);
    int steps = 0, turns = 0;
    while (regs.rip != last) {
        uint64_t before = regs.rip;
        EXPECT(resume(PTRACE_SINGLESTEP) == SIGTRAP);
        regs = registers();
        EXPECT(regs.rip != before || before == (uint64_t)steps_string, "stuck at %lx", before);
        turns += before == (uint64_t)steps_string;
        EXPECT((debug_status() & 0x4000) != 0);
        EXPECT(++steps < 1000, "at %llx", regs.rip);
    }
    EXPECT(turns == 5, "%d turns", turns);
    EXPECT((regs.rbx & 0x100) == 0, "the debuggee sees its trap flag");
    EXPECT(steps == 1 + 300 + 2 + 3 + 5 + 4 + 2 + 1 || steps == 1 + 300 + 2 + 3 + 5 + 4 + 3 + 1, "%d steps", steps);
    EXPECT(resume(PTRACE_CONT) == 0);
    return 1;
}

static void through_signals(void)
{
    struct sigaction action = { .sa_handler = (void (*)(int))(void *)_exit };
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
}

static int steps_into_a_handler(void)
{
    debuggee(through_signals);
    EXPECT(resume(PTRACE_CONT) == SIGUSR1);
    int status;
    ptrace(PTRACE_SINGLESTEP, child, 0, SIGUSR1);
    waitpid(child, &status, 0);
    EXPECT(WIFSTOPPED(status) && registers().rip == (uint64_t)_exit, "%llx", registers().rip);
    EXPECT(registers().rdi == SIGUSR1);
    EXPECT(resume(PTRACE_KILL) == 0);
    return 1;
}

static void __attribute__((noinline, noclone)) passes(void)
{
    asm volatile("mov $5, %%ebx; 1: place: nop; dec %%ebx; jnz 1b" ::: "rbx", "memory");
}

static int breakpoints_in_the_code(void)
{
    debuggee(passes);
    uint64_t at = (uint64_t)place, word = ptrace(PTRACE_PEEKTEXT, child, at, 0);
    for (int i = 0; i < 5; i++) {
        ptrace(PTRACE_POKETEXT, child, at, (word & ~0xfful) | 0xcc);
        EXPECT(resume(PTRACE_CONT) == SIGTRAP && registers().rip == at + 1);
        ptrace(PTRACE_POKETEXT, child, at, word);
        struct user_regs_struct regs = registers();
        regs.rip = at;
        EXPECT(regs.rbx == (unsigned)(5 - i));
        ptrace(PTRACE_SETREGS, child, 0, &regs);
        EXPECT(resume(PTRACE_SINGLESTEP) == SIGTRAP && registers().rip == at + 1);
    }
    EXPECT(resume(PTRACE_CONT) == 0);
    return 1;
}

static int breakpoints_in_a_register(void)
{
    debuggee(passes);
    debug_register(0, (uint64_t)place);
    debug_register(7, 1);
    for (int i = 0; i < 5; i++) {
        EXPECT(resume(PTRACE_CONT) == SIGTRAP, "pass %d", i);
        EXPECT(registers().rip == (uint64_t)place && (debug_status() & 15) == 1);
        EXPECT(registers().rbx == (unsigned)(5 - i));
    }
    EXPECT(resume(PTRACE_CONT) == 0);
    return 1;
}

static void writes(void)
{
    watched[0] = 1;
    watched[1] = 2;
    uint64_t sum = 0;
    for (int i = 0; i < 4; i++)
        sum += watched[i];
    watched[2] = sum;
    ((volatile char *)watched)[9] = 3;
    asm volatile("incq %0" : "+m"(watched[1]));
}

static int watchpoints_on_writes(void)
{
    debuggee(writes);
    debug_register(1, (uint64_t)&watched[1]);
    debug_register(7, 1 << 2 | 0x9ul << 20);        /* dr1, writes, 8 bytes */
    uint64_t expected[] = { 2, 0x302, 0x303 };
    for (int i = 0; i < 3; i++) {
        EXPECT(resume(PTRACE_CONT) == SIGTRAP, "write %d", i);
        EXPECT((debug_status() & 15) == 2, "dr6 %lx", debug_status());
        EXPECT((uint64_t)ptrace(PTRACE_PEEKDATA, child, &watched[1], 0) == expected[i]);
    }
    EXPECT(resume(PTRACE_CONT) == 0);
    return 1;
}

static int watchpoints_on_reads(void)
{
    debuggee(writes);
    debug_register(3, (uint64_t)&watched[1]);
    debug_register(7, 1 << 6 | 0xbul << 28);        /* dr3, reads and writes, 8 bytes */
    for (int i = 0; i < 4; i++)
        EXPECT(resume(PTRACE_CONT) == SIGTRAP && (debug_status() & 15) == 8, "access %d", i);
    EXPECT(resume(PTRACE_CONT) == 0);
    return 1;
}

static int watchpoints_of_one_process_only(void)
{
    debuggee(writes);
    debug_register(0, (uint64_t)&watched[0]);
    debug_register(7, 1 | 0x9ul << 16);
    watched[0] = 5;                                 /* at the same address, in the debugger */
    sched_yield();
    watched[0] = 6;
    EXPECT(resume(PTRACE_CONT) == SIGTRAP);
    EXPECT((uint64_t)ptrace(PTRACE_PEEKDATA, child, &watched[0], 0) == 1);
    debug_register(7, 0);
    EXPECT(resume(PTRACE_CONT) == 0);
    EXPECT(watched[0] == 6);
    return 1;
}

static void writes_by_the_kernel(void)
{
    int ends[2];
    pipe(ends);
    write(ends[1], "12345678", 8);
    read(ends[0], (void *)&watched[2], 8);
    watched[3] = watched[2];
    watched[2] = 0;
}

static int writes_by_the_kernel_stop_nobody(void)
{
    debuggee(writes_by_the_kernel);
    debug_register(2, (uint64_t)&watched[2]);
    debug_register(7, 1 << 4 | 0x9ul << 24);
    EXPECT(resume(PTRACE_CONT) == SIGTRAP);
    EXPECT(!memcmp("12345678", (uint64_t[]){ ptrace(PTRACE_PEEKDATA, child, &watched[3], 0) }, 8));
    EXPECT(resume(PTRACE_CONT) == 0);
    return 1;
}

int main(void)
{
    CHECK(single_steps);
    CHECK(steps_into_a_handler);
    CHECK(breakpoints_in_the_code);
    CHECK(breakpoints_in_a_register);
    CHECK(watchpoints_on_writes);
    CHECK(watchpoints_on_reads);
    CHECK(watchpoints_of_one_process_only);
    CHECK(writes_by_the_kernel_stop_nobody);
}
