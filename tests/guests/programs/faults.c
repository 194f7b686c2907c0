/* What user code must not do, and the signal that tells it so. */
#include "check.h"
#define PROGRAM "faults"

static int exceptions(void)
{
    catch_all();
    EXPECT(SIGNAL_OF(asm volatile("xor %%ecx, %%ecx; div %%ecx" ::: "rax", "rcx", "rdx")) == SIGFPE
           && caught_code == FPE_INTDIV);
    EXPECT(SIGNAL_OF(asm volatile("ud2")) == SIGILL);
    EXPECT(SIGNAL_OF(asm volatile("int3")) == SIGTRAP);
    EXPECT(SIGNAL_OF(asm volatile(".byte 0xcd, 3")) == SIGTRAP);     /* int $3 */
    EXPECT(SIGNAL_OF(asm volatile("int $0x20")) == SIGSEGV);
    EXPECT(SIGNAL_OF(asm volatile("int $0x82")) == SIGSEGV);         /* Xen's own, where there is one */
    EXPECT(SIGNAL_OF(asm volatile("int1")) == SIGTRAP, "signal %d", caught_signal);
    int number = 20;                                                 /* getpid, as 32-bit programs call it */
    asm volatile("int $0x80" : "+a"(number) :: "r8", "r9", "r10", "r11");
    EXPECT(number == getpid());
    return 1;
}

static int privileged_instructions(void)
{
    catch_all();
    EXPECT(SIGNAL_OF(asm volatile("cli")) == SIGSEGV);
    EXPECT(SIGNAL_OF(asm volatile("hlt")) == SIGSEGV);
    EXPECT(SIGNAL_OF(asm volatile("inb $0x80, %%al" ::: "rax")) == SIGSEGV);
    EXPECT(SIGNAL_OF(asm volatile("rdmsr" :: "c"(0x10) : "rax", "rdx")) == SIGSEGV);
    EXPECT(SIGNAL_OF(asm volatile("mov %%cr3, %%rax" ::: "rax")) == SIGSEGV);
    EXPECT(SIGNAL_OF(asm volatile("mov %%rax, %%dr7" ::: "rax")) == SIGSEGV);
    EXPECT(SIGNAL_OF(asm volatile("wbinvd")) == SIGSEGV);
    EXPECT(SIGNAL_OF(asm volatile("invlpg (%rsp)")) == SIGSEGV);
    EXPECT(SIGNAL_OF(asm volatile("lgdt (%rsp)")) == SIGSEGV);
    EXPECT(SIGNAL_OF(asm volatile("xor %%eax, %%eax; ltr %%ax" ::: "rax")) == SIGSEGV);
    EXPECT(SIGNAL_OF(asm volatile("swapgs")) == SIGSEGV);
    EXPECT(SIGNAL_OF(asm volatile("sysretq" ::: "rcx")) == SIGSEGV);
    return 1;
}

static int hypercalls_are_the_kernels(void)
{
    /* xen_version through the ways a kernel has: to a user they are a system call, and an instruction that is none. */
    catch_all();
    EXPECT(SIGNAL_OF(asm volatile("int $0x82" :: "a"(17), "D"(0))) == SIGSEGV);
    EXPECT(SIGNAL_OF(asm volatile("vmcall" :: "a"(17), "D"(0))) == SIGILL);
    return 1;
}

static int addresses(void)
{
    catch_all();
    EXPECT(SIGNAL_OF(*(volatile char *)8) == SIGSEGV && caught_address == (void *)8);
    uintptr_t kernel[] = { 0xffff888000001000, 0xffffffff81000000, 0xffff800000000000, 0xffff820000000000,
                           0xffff830000000000, 0xffffc90000000000, 0xffffffffff5fb000 };
    for (volatile int i = 0; i < 7; i++) {
        EXPECT(SIGNAL_OF(*(volatile char *)kernel[i]) == SIGSEGV, "read of %lx", kernel[i]);
        EXPECT(SIGNAL_OF(*(volatile char *)kernel[i] = 1) == SIGSEGV, "write to %lx", kernel[i]);
        EXPECT(SIGNAL_OF(((void (*)(void))kernel[i])()) == SIGSEGV, "jump to %lx", kernel[i]);
    }
    EXPECT(SIGNAL_OF(*(volatile char *)0x8000000000000000) == SIGSEGV);
    EXPECT(SIGNAL_OF(((void (*)(void))0x0000800000000000)()) == SIGSEGV);
    return 1;
}

static int protections(void)
{
    catch_all();
    char *page = pages(1, PROT_READ | PROT_WRITE);
    page[0] = (char)0xc3;
    EXPECT(SIGNAL_OF(((void (*)(void))page)()) == SIGSEGV && caught_address == page && caught_code == SEGV_ACCERR);
    mprotect(page, PAGE, PROT_READ);
    EXPECT(SIGNAL_OF(page[1] = 1) == SIGSEGV && caught_address == page + 1 && caught_code == SEGV_ACCERR);
    EXPECT(page[0] == (char)0xc3);
    mprotect(page, PAGE, PROT_NONE);
    EXPECT(SIGNAL_OF(*(volatile char *)page) == SIGSEGV && caught_code == SEGV_ACCERR);
    mprotect(page, PAGE, PROT_READ | PROT_EXEC);
    EXPECT(SIGNAL_OF(((void (*)(void))page)()) == 0);
    munmap(page, PAGE);
    EXPECT(SIGNAL_OF(((void (*)(void))page)()) == SIGSEGV && caught_code == SEGV_MAPERR);
    return 1;
}

static int a_read_past_the_end_of_a_file(void)
{
    catch_all();
    int file = memfd_create("short", 0);
    char *page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0);
    EXPECT(SIGNAL_OF(*(volatile char *)page) == SIGBUS);
    ftruncate(file, PAGE);
    EXPECT(SIGNAL_OF(*(volatile char *)page) == 0);
    return 1;
}

static int an_instruction_across_two_pages(void)
{
    catch_all();
    unsigned char *page = pages(2, PROT_READ | PROT_WRITE | PROT_EXEC);
    unsigned char code[] = { 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 0xc3 };    /* movabs $..., %rax; ret */
    memcpy(page + PAGE - 5, code, sizeof(code));
    uint64_t (*function)(void) = (uint64_t (*)(void))(page + PAGE - 5);
    EXPECT(function() == 0x0807060504030201);
    mprotect(page + PAGE, PAGE, PROT_NONE);
    EXPECT(SIGNAL_OF(function()) == SIGSEGV && caught_address == page + PAGE);
    mprotect(page + PAGE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    page[PAGE] = 0xff;
    EXPECT(function() == 0x08070605ff030201);
    uint64_t *across = (uint64_t *)(page + PAGE - 4);
    *across = 0x1122334455667788;
    EXPECT(*across == 0x1122334455667788);
    mprotect(page + PAGE, PAGE, PROT_READ);
    EXPECT(SIGNAL_OF(*across = 0) == SIGSEGV && caught_address == page + PAGE);
    EXPECT(*across == 0x1122334455667788);
    return 1;
}

/* Those of the x87 only: the emulated engine computes SSE with every exception masked. */
static int floating_point_exceptions(void)
{
    catch_all();
    uint16_t control = 0x37f & ~(1 << 2);
    EXPECT(SIGNAL_OF({
        asm volatile("fninit; fldcw %0; fld1; fldz; fdivrp; fwait" :: "m"(control));
    }) == SIGFPE && caught_code == FPE_FLTDIV, "signal %d", caught_signal);
    return 1;
}

static volatile int steps;
static volatile uintptr_t last_step;

static void count_step(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    steps++;
    last_step = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
}

static int the_trap_flag(void)
{
    struct sigaction action = { .sa_sigaction = count_step, .sa_flags = SA_SIGINFO };
    sigaction(SIGTRAP, &action, NULL);
    asm volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop; nop; pushfq; andl $~0x100, (%%rsp); popfq; nop"
                 ::: "memory", "cc");
    EXPECT(steps == 6, "%d steps", steps);
    return 1;
}

int main(void)
{
    CHECK(exceptions);
    CHECK(privileged_instructions);
    CHECK(hypercalls_are_the_kernels);
    CHECK(addresses);
    CHECK(protections);
    CHECK(a_read_past_the_end_of_a_file);
    CHECK(an_instruction_across_two_pages);
    CHECK(floating_point_exceptions);
    CHECK(the_trap_flag);
}
