/*
 * The processes in which guest user code runs on the host's processor.
 *
 * One program, static, without a C library, linked to an address of its own.  Started once, before Xenia is walled in,
 * it is the *maker*.  It is told of each virtual cpu by a message with descriptors, and forks a maker for that one,
 * which forks *stubs* when it is asked to: processes whose lower half shall mirror a guest's address space.
 *
 * A stub has two threads.  The *guest thread* runs guest code.  Whatever it does but compute is a signal, and the
 * handler reports it and sleeps until Xenia has it go on.  Guest code can jump to any byte of this program, with
 * anything in the registers, and write all that is writable here.  So the filter of this thread lets three system calls
 * through, from three places alone: one wakes who waits for a report, one waits for the next entry, and one is
 * rt_sigreturn.  Everything else traps.  Nothing here is believed by Xenia where it could harm anybody but this address
 * space.
 *
 * The *mapper* makes the system calls that Xenia orders: it maps frames of the machine's memory, and unmaps them.  It
 * has no stack and nothing else in memory but what it can only read, as the guest thread can: the page of orders.  Its
 * state is in its registers.  Its own filter allows no more than such mappings.  That a batch is done it says by an
 * eventfd, which the guest thread cannot write to.
 *
 * A stub serves one address space, and then ends: how its guest thread's registers were left, the next one never sees.
 */
#include "filters.h"
#include "stub.h"

#include <asm/prctl.h>
#include <asm/sigcontext.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <asm/ucontext.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <stddef.h>

#define STRING_(text) #text
#define STRING(text) STRING_(text)
#define WNOHANG 1

void *memcpy(void *to, const void *from, size_t length)
{
    void *answer = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
    return answer;
}

void *memset(void *to, int value, size_t length)
{
    void *answer = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(value) : "memory");
    return answer;
}

/* ---- the guest thread's handler: rdi the signal, rsi its siginfo, rdx the context */

#pragma GCC visibility push(hidden)
extern void handler(void);
extern _Noreturn void mapper(long process, long thread);
extern void restorer(void);
#pragma GCC visibility pop
__asm__(
    ".text\n"
    "handler:\n"
    "  mov $" STRING(STUB_REPORT) ", %rbx\n"
    "  mov $" STRING(STUB_CONTROL) ", %rbp\n"
    "  mov %rdx, %r12\n"
    "  rdfsbase %rax\n  mov %rax, 24(%rbx)\n"
    "  rdgsbase %rax\n  mov %rax, 32(%rbx)\n"
    "  mov %edi, 4(%rbx)\n"
    "  mov %rdx, 8(%rbx)\n"
    "  mov %rsi, 16(%rbx)\n"
    "  mov (%rbp), %r13d\n"
    "  mov %r13d, %eax\n"
    "  xchg %eax, (%rbx)\n" /* before it is asked who sleeps, for all to see */
    "  cmpl $0, 56(%rbp)\n"  /* waits */
    "  je 2f\n"
    "  mov $" STRING(__NR_futex) ", %eax\n"
    "  mov %rbx, %rdi\n"
    "  mov $" STRING(FUTEX_WAKE) ", %esi\n"
    "  mov $1, %edx\n"
    "  xor %r10d, %r10d\n"
    "  syscall\n"
    "report_call:\n"
    "2:\n"
    "  mov 60(%rbp), %ecx\n" /* spins */
    "3:\n"
    "  cmp %r13d, (%rbp)\n"
    "  jne 5f\n"
    "  cmpl $0, 60(%rbp)\n" /* it is to sleep now */
    "  je 4f\n"
    "  pause\n"
    "  dec %ecx\n"
    "  jg 3b\n"
    "4:\n"
    "  mov $1, %eax\n"
    "  xchg %eax, 40(%rbx)\n" /* asleep */
    "1:\n"
    "  mov $" STRING(__NR_futex) ", %eax\n"
    "  mov %rbp, %rdi\n"
    "  mov $" STRING(FUTEX_WAIT) ", %esi\n"
    "  mov %r13d, %edx\n"
    "  xor %r10d, %r10d\n"
    "  syscall\n"
    "wait_call:\n"
    "  cmp %r13d, (%rbp)\n"
    "  je 1b\n"
    "  movl $0, 40(%rbx)\n"
    "5:\n"
    "  mov 32(%rbp), %rax\n  wrfsbase %rax\n"
    "  mov 40(%rbp), %rax\n  wrgsbase %rax\n"
    "  mov %r12, %rsp\n"
    "  mov $" STRING(__NR_rt_sigreturn) ", %eax\n"
    "  syscall\n"
    "return_call:\n"
    "  hlt\n");
_Static_assert(offsetof(StubReport, fs) == 24 && offsetof(StubReport, context) == 8, "handler");
_Static_assert(offsetof(StubReport, asleep) == 40 && offsetof(StubControl, waits) == 56, "handler");
_Static_assert(offsetof(StubControl, spins) == 60, "handler");
_Static_assert(offsetof(StubControl, fs) == 32 && offsetof(StubControl, go) == 0, "handler");

/* ---- the mapper: rdi the process's number, rsi the guest thread's */

__asm__(
    "mapper:\n"
    "  mov %rdi, %r12\n"
    "  mov %rsi, %r13\n"
    "  mov $" STRING(STUB_CONTROL) ", %rbp\n"
    "  xor %esp, %esp\n"   /* the batch that was done last */
    "  xor %r14d, %r14d\n" /* the kick */
    "0:\n"
    "  mov 8(%rbp), %r15d\n" /* the bell */
    "  mov 12(%rbp), %ebx\n" /* the batch: kicks from before it are sent before it is done */
    "  mov 16(%rbp), %ecx\n"
    "  cmp %ecx, %r14d\n"
    "  je 1f\n"
    "  mov %ecx, %r14d\n"
    "  mov $" STRING(__NR_tgkill) ", %eax\n"
    "  mov %r12, %rdi\n"
    "  mov %r13, %rsi\n"
    "  mov $10, %edx\n" /* SIGNAL_KICK */
    "  syscall\n"
    "1:\n"
    "  cmp %ebx, %esp\n"
    "  jne 2f\n"
    "  mov $" STRING(__NR_futex) ", %eax\n"
    "  lea 8(%rbp), %rdi\n"
    "  mov $" STRING(FUTEX_WAIT) ", %esi\n"
    "  mov %r15d, %edx\n"
    "  xor %r10d, %r10d\n"
    "  syscall\n"
    "  jmp 0b\n"
    "2:\n"
    "  mov %ebx, %esp\n"
    "  xor %ebx, %ebx\n"
    "3:\n"
    "  cmp 20(%rbp), %ebx\n"
    "  jae 4f\n"
    "  mov %rbx, %r15\n"
    "  shl $6, %r15\n"
    "  lea 64(%rbp, %r15), %r15\n"
    "  mov (%r15), %rax\n"
    "  mov 8(%r15), %rdi\n"
    "  cmp $-1, %rdi\n"
    "  cmove %r13, %rdi\n"
    "  mov 16(%r15), %rsi\n"
    "  mov 24(%r15), %rdx\n"
    "  mov 32(%r15), %r10\n"
    "  mov 40(%r15), %r8\n"
    "  mov 48(%r15), %r9\n"
    "  syscall\n"
    "  inc %ebx\n"
    "  cmp $-4095, %rax\n"
    "  jb 3b\n"
    "  cmpq $" STRING(__NR_sched_setaffinity) ", (%r15)\n"
    "  je 3b\n" /* the host has taken that processor away: it runs elsewhere */
    "  mov $" STRING(__NR_exit_group) ", %eax\n" /* the host has no room: better no stub than half a mirror */
    "  mov $1, %edi\n"
    "  syscall\n"
    "4:\n"
    "  mov $" STRING(__NR_write) ", %eax\n"
    "  mov $8, %edi\n" /* OWN_EVENT */
    "  lea 24(%rbp), %rsi\n"
    "  mov $8, %edx\n"
    "  syscall\n"
    "  jmp 0b\n");
_Static_assert(SIGNAL_KICK == 10 && OWN_EVENT == 8, "mapper");
_Static_assert(offsetof(StubControl, bell) == 8 && offsetof(StubControl, batch) == 12, "mapper");
_Static_assert(offsetof(StubControl, kicks) == 16 && offsetof(StubControl, count) == 20, "mapper");
_Static_assert(offsetof(StubControl, one) == 24 && offsetof(StubControl, orders) == 64, "mapper");
_Static_assert(sizeof(StubOrder) == 64, "mapper");

/* ---- a stub */

__asm__("restorer:\n mov $" STRING(__NR_rt_sigreturn) ", %eax\n syscall\n hlt\n");

static void handle(int number, void (*handler)(void))
{
    struct {
        void (*handler)(void);
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } action = {handler, SA_SIGINFO | SA_ONSTACK | SA_RESTORER, restorer, ~0ull};
    must(CALL(rt_sigaction, number, &action, 0, 8));
}

static const int NO_MORE[] = {4 /* RLIMIT_CORE */, 1 /* RLIMIT_FSIZE */, 7 /* RLIMIT_NOFILE */};

static void limit(int what, uint64_t value)
{
    uint64_t both[2] = {value, value};
    must(CALL(prlimit64, 0, what, both, 0));
}

static int its_cpuid_faults; /* it will: see StubRequest.make */

/* On the stack of the handler, which it leaves for good. */
static _Noreturn void guest_thread(void)
{
    /* Until the filter stands nothing but the end of this brings it into the handler, which guest code follows. */
    static const uint64_t all_but_the_last = ~(1ull << (SIGILL - 1));
    stack_t stack = {(void *)(STUB_REPORT + HANDLER_STACK), 0, REPORT_SIZE - HANDLER_STACK};
    must(CALL(sigaltstack, &stack, 0));
    must(CALL(prctl, PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0));
    if (its_cpuid_faults)
        must(CALL(arch_prctl, 0x1012 /* ARCH_CPUID_SET */, 0));
    must(CALL(rt_sigprocmask, SIG_SETMASK, &all_but_the_last, 0, 8));
    /* Some calls pass every filter: none does here, where the kernel has this.  The program's own are not concerned. */
    CALL(prctl, 59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1, STUB_BASE, STUB_CONTROL - STUB_BASE, 0);
    filter_guest();
    for (;;)
        __asm__ volatile("ud2");
}

static void end_with(long parent)
{
    must(CALL(prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
    if (CALL(getppid) != parent) /* which ended just before */
        end(0);
}

/* What is left on the stack of this program's start is never used again. */
static _Noreturn void be_stub(StubRequest request, long maker)
{
    static const uint64_t all = ~0ull;
    StubNews news = {request.index, request.number, 0};
    uint64_t offset = (uint64_t)request.index * AREA_SIZE;
    long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, process, thread;
    its_cpuid_faults = request.make == MAKE_FAULTING;
    end_with(maker);
    must(CALL(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    must(CALL(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0));
    /* What guest code has taught the processor's prediction of indirect branches is forgotten before others run.  It is
     * said for both threads: between two processes the host's kernel asks whoever was the first of its process there,
     * and that may have been the mapper. */
    CALL(prctl, PR_SET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, PR_SPEC_FORCE_DISABLE, 0, 0);
    must(CALL(rt_sigprocmask, SIG_SETMASK, &all, 0, 8));
    must(CALL(mmap, STUB_CONTROL, AREA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, AREA, offset));
    memset((void *)STUB_CONTROL, 0, AREA_SIZE);
    ((StubControl *)STUB_CONTROL)->one = 1;
    must(CALL(munmap, STUB_CONTROL, AREA_SIZE));
    must(CALL(mmap, STUB_CONTROL, CONTROL_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, AREA, offset));
    must(CALL(mmap, STUB_REPORT, REPORT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, AREA,
              offset + CONTROL_SIZE));
    for (int number = 1; number < 32; number++)
        if (number != SIGKILL && number != SIGSTOP)
            handle(number, handler);
    news.process = CALL(getpid);
    must(CALL(write, ANSWERS, &news, sizeof news)); /* no guest code ran here yet */
    must(CALL(dup2, EVENTS + request.index, OWN_EVENT));
    must(CALL(close_range, OWN_EVENT + 1, ~0u, 0));
    must(CALL(close, AREA));
    must(CALL(close, REQUESTS)); /* the answers' pipe stays: that it has no other end any more says that none is left */
    for (const int *what = NO_MORE; what < NO_MORE + 3; what++)
        limit(*what, 0);
    must(CALL(munmap, 0, STUB_BASE));
    must(CALL(munmap, STUB_END, HOST_END - STUB_END));
    __asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n xor %%ebp, %%ebp\n call *%2\n 1:"
                     : "=a"(thread)
                     : "0"(__NR_clone), "r"(guest_thread), "D"(flags), "S"(STUB_REPORT + REPORT_SIZE)
                     : "rcx", "r11", "memory");
    must(thread);
    process = CALL(getpid);
    filter_mapper(process, thread);
    mapper(process, thread);
}

/* ---- makers */

static void nothing_to_do(void) {}

typedef struct {
    long process; /* 0 none */
    StubRequest request;
} Made;

static void tell_end(const Made *stub)
{
    StubNews ended = {stub->request.index, stub->request.number, 0};
    must(CALL(write, ANSWERS, &ended, sizeof ended));
}

/* It tells of each that ended by itself. */
static void bury(Made *stubs)
{
    long process;
    while ((process = CALL(wait4, -1, 0, WNOHANG, 0)) > 0)
        for (Made *stub = stubs; stub < stubs + NR_STUBS; stub++)
            if (stub->process == process) {
                stub->process = 0;
                tell_end(stub);
            }
}

static void fulfil(Made *stub, StubRequest request, long own)
{
    if (stub->process) {
        CALL(kill, stub->process, SIGKILL);
        CALL(wait4, stub->process, 0, 0, 0);
    }
    stub->request = request;
    stub->process = request.make ? CALL(fork) : 0;
    if (request.make && stub->process == 0)
        be_stub(request, own);
    if (stub->process <= 0) {
        stub->process = 0;
        tell_end(stub);
    }
}

static _Noreturn void be_maker_of_one(long maker)
{
    static const uint64_t none, children = 1ull << (SIGCHLD - 1);
    Made stubs[NR_STUBS] = {0};
    StubRequest request;
    long own = CALL(getpid);
    struct {
        int fd;
        short events, found;
    } requests = {REQUESTS, 1 /* POLLIN */, 0};
    end_with(maker);
    must(CALL(rt_sigprocmask, SIG_SETMASK, &children, 0, 8));
    handle(SIGCHLD, nothing_to_do);
    for (;;) {
        bury(stubs);
        if (CALL(ppoll, &requests, 1, 0, &none, 8) < 0)
            continue;
        if (CALL(read, REQUESTS, &request, sizeof request) != sizeof request || request.index >= NR_STUBS)
            end(0);
        fulfil(&stubs[request.index], request, own);
    }
}

/* From a message of one byte, to RECEIVED and on; false where there are no more. */
static int receive(void)
{
    struct {
        uint64_t length;
        int level, type;
        int fds[NR_FDS + (NR_FDS & 1)];
    } control;
    char byte;
    struct {
        void *at;
        uint64_t length;
    } vector = {&byte, 1};
    struct {
        void *name;
        uint32_t name_length;
        void *vectors;
        uint64_t nr_vectors;
        void *control;
        uint64_t control_length;
        int flags;
    } message = {0, 0, &vector, 1, &control, sizeof control, 0};
    if (CALL(recvmsg, MAKER, &message, 0) != 1 || control.length != 16 + 4 * NR_FDS)
        return 0;
    for (int i = 0; i < NR_FDS; i++)
        must(CALL(dup2, control.fds[i], RECEIVED + i));
    return 1;
}

static void settle_descriptors(void)
{
    for (int i = 0; i < NR_FDS; i++)
        must(CALL(dup2, RECEIVED + i, i < OWN_EVENT - MEMORY ? MEMORY + i : EVENTS + i - (OWN_EVENT - MEMORY)));
    must(CALL(close_range, EVENTS + NR_STUBS, ~0u, 0));
    for (int fd = 0; fd < 3; fd++)
        CALL(close, fd);
}

__attribute__((used)) static _Noreturn void be_maker(void)
{
    long own = CALL(getpid);
    /* The terminal's signals are Xenia's.  But it stays in that session: the host's scheduler may give each session its
     * turn (autogroup), and a vcpu and its stubs hand one turn to and fro. */
    must(CALL(setpgid, 0, 0));
    must(CALL(close_range, 3, ~0u, 0));
    while (receive()) {
        if (CALL(fork) == 0) { /* where it cannot, that virtual cpu finds the other ends of its pipes closed */
            settle_descriptors();
            be_maker_of_one(own);
        }
        must(CALL(close_range, 3, ~0u, 0));
        while (CALL(wait4, -1, 0, WNOHANG, 0) > 0) {}
    }
    end(0);
}

static uint8_t stack[16384] __attribute__((aligned(16), used));
__asm__(
    ".globl _start\n"
    "_start:\n"
    "  lea stack+16384(%rip), %rsp\n"
    "  call be_maker\n");
