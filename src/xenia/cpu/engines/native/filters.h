/* What each of a stub's two threads may ask of the kernel. */
#ifndef XENIA_FILTERS_H
#define XENIA_FILTERS_H

#include "calls.h"
#include "stub.h"

#include <asm/signal.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/mman.h>
#include <linux/seccomp.h>
#include <stddef.h>

#define SIGNAL_KICK SIGUSR1

/* Descriptors. */
enum {
    MAKER = 0,
    MEMORY = STUB_MEMORY,
    COPIES = STUB_COPIES,
    AREA,
    REQUESTS,
    ANSWERS,
    OWN_EVENT,
    EVENTS,
    NR_FDS = EVENTS - MEMORY - 1 + NR_STUBS,
    RECEIVED = 64,
};

#pragma GCC visibility push(hidden)
extern char report_call[], wait_call[], return_call[]; /* behind each `syscall` of the handler's */
#pragma GCC visibility pop

static void put_filter(struct sock_filter *code, unsigned short length)
{
    struct sock_fprog program = {length, code};
    must(CALL(seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}
#define FILTER(code) put_filter(code, sizeof(code) / sizeof(*(code)))

#define LOW(member) offsetof(struct seccomp_data, member)
#define HIGH(member) (offsetof(struct seccomp_data, member) + 4)
#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define ANSWER(what) BPF_STMT(BPF_RET | BPF_K, what)
/* Where it is another value the answer is `otherwise`. */
#define NEEDS(offset, value, otherwise) \
    LOAD(offset), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 1, 0), ANSWER(otherwise)
#define WORD(member, value, otherwise) \
    NEEDS(LOW(member), (uint64_t)(value), otherwise), NEEDS(HIGH(member), (uint64_t)(value) >> 32, otherwise)
/* The next `count` instructions are for that number. */
#define IF_NUMBER(number, count) LOAD(LOW(nr)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, count)


#define TRAPS SECCOMP_RET_TRAP

static void filter_guest(void)
{
    struct sock_filter code[] = {
        NEEDS(LOW(arch), AUDIT_ARCH_X86_64, TRAPS),
        NEEDS(HIGH(instruction_pointer), (uint64_t)STUB_BASE >> 32, TRAPS),
        LOAD(LOW(instruction_pointer)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(uintptr_t)return_call, 0, 4),
        NEEDS(LOW(nr), __NR_rt_sigreturn, TRAPS),
        ANSWER(SECCOMP_RET_ALLOW),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(uintptr_t)report_call, 0, 19),
        NEEDS(LOW(nr), __NR_futex, TRAPS),
        WORD(args[0], STUB_REPORT, TRAPS),
        NEEDS(LOW(args[1]), FUTEX_WAKE, TRAPS),
        WORD(args[2], 1, TRAPS),
        ANSWER(SECCOMP_RET_ALLOW),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(uintptr_t)wait_call, 1, 0),
        ANSWER(TRAPS),
        NEEDS(LOW(nr), __NR_futex, TRAPS),
        WORD(args[0], STUB_CONTROL, TRAPS),
        NEEDS(LOW(args[1]), FUTEX_WAIT, TRAPS),
        WORD(args[3], 0, TRAPS),
        ANSWER(SECCOMP_RET_ALLOW),
    };
    FILTER(code);
}

#define DIES SECCOMP_RET_KILL_PROCESS

static void filter_mapper(long process, long thread)
{
    struct sock_filter code[] = {
        NEEDS(LOW(arch), AUDIT_ARCH_X86_64, DIES),
        IF_NUMBER(__NR_futex, 18),
        NEEDS(HIGH(args[0]), STUB_CONTROL >> 32, DIES),
        LOAD(LOW(args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FUTEX_WAKE, 7, 0),
        NEEDS(LOW(args[1]), FUTEX_WAIT, DIES),
        NEEDS(LOW(args[0]), STUB_CONTROL + offsetof(StubControl, bell), DIES),
        ANSWER(SECCOMP_RET_ALLOW),
        LOAD(LOW(args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(STUB_CONTROL + offsetof(StubControl, go)), 3, 0),
        NEEDS(LOW(args[0]), STUB_CONTROL + offsetof(StubControl, parked), DIES),
        ANSWER(SECCOMP_RET_ALLOW),
        IF_NUMBER(__NR_write, 10),
        NEEDS(LOW(args[0]), OWN_EVENT, DIES),
        WORD(args[1], STUB_CONTROL + offsetof(StubControl, one), DIES),
        ANSWER(SECCOMP_RET_ALLOW),
        IF_NUMBER(__NR_tgkill, 10),
        NEEDS(LOW(args[0]), process, DIES),
        NEEDS(LOW(args[1]), thread, DIES),
        NEEDS(LOW(args[2]), SIGNAL_KICK, DIES),
        ANSWER(SECCOMP_RET_ALLOW),
        IF_NUMBER(__NR_mmap, 14),
        LOAD(LOW(args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, ~(PROT_READ | PROT_WRITE | PROT_EXEC), 0, 1),
        ANSWER(DIES),
        NEEDS(LOW(args[3]), MAP_SHARED | MAP_FIXED | MAP_POPULATE, DIES),
        LOAD(LOW(args[4])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MEMORY, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, COPIES, 1, 0),
        ANSWER(DIES),
        NEEDS(LOW(args[2]), PROT_EXEC, DIES),
        ANSWER(SECCOMP_RET_ALLOW),
        IF_NUMBER(__NR_munmap, 1),
        ANSWER(SECCOMP_RET_ALLOW),
        IF_NUMBER(__NR_sched_setaffinity, 1),
        ANSWER(SECCOMP_RET_ALLOW),
        IF_NUMBER(__NR_exit_group, 1),
        ANSWER(SECCOMP_RET_ALLOW),
        ANSWER(DIES),
    };
    FILTER(code);
}

#endif
