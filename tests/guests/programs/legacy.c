/* A 32-bit program: the ways into the kernel, signals, segments, and the instructions that 64-bit code lost.
 *
 * No C library: none for 32 bits is there where this is built.
 */
#include <stdint.h>

enum { EXIT = 1, FORK = 2, WRITE = 4, WAITPID = 7, GETPID = 20, KILL = 37, MODIFY_LDT = 123, SCHED_YIELD = 158,
       RT_SIGACTION = 174, MMAP2 = 192, SET_THREAD_AREA = 243 };
enum { SIGILL = 4, SIGTRAP = 5, SIGFPE = 8, SIGUSR1 = 10, SIGSEGV = 11 };
enum { SA_SIGINFO = 4, SA_RESTORER = 0x04000000, SA_NODEFER = 0x40000000 };
enum { PAGE = 4096, PROT_ALL = 7, MAP_PRIVATE_ANONYMOUS = 0x22, AT_SYSINFO = 32 };

void *vsyscall_gate;

int call(int number, int a, int b, int c);
int call_gate(int number, int a, int b, int c, int d, int e, int f);
int signal_of(void (*code)(void));
void restorer(void);
void in_64_bits(uint32_t *high);
extern char recovered[];

asm(
    ".globl _start\n"
    "_start: mov %esp, %eax; and $-16, %esp; sub $12, %esp; push %eax; call begin\n"
    "call: push %ebx; mov 8(%esp), %eax; mov 12(%esp), %ebx; mov 16(%esp), %ecx; mov 20(%esp), %edx\n"
    "  int $0x80; pop %ebx; ret\n"
    "call_gate: push %ebx; push %esi; push %edi; push %ebp\n"
    "  mov 20(%esp), %eax; mov 24(%esp), %ebx; mov 28(%esp), %ecx; mov 32(%esp), %edx; mov 36(%esp), %esi\n"
    "  mov 40(%esp), %edi; mov 44(%esp), %ebp; call *vsyscall_gate; pop %ebp; pop %edi; pop %esi; pop %ebx; ret\n"
    "restorer: mov $173, %eax; int $0x80\n"                             /* rt_sigreturn */
    /* Call code; a signal's handler continues at `recovered` with the signal in eax. */
    "signal_of: push %ebx; push %esi; push %edi; push %ebp; mov 20(%esp), %ecx; mov %esp, saved_stack; call *%ecx\n"
    "  xor %eax, %eax\n"
    "recovered: mov saved_stack, %esp; pop %ebp; pop %edi; pop %esi; pop %ebx; ret\n"
    /* To 64-bit code and back: the upper half of a register shows where one is. */
    "in_64_bits: push %ebx; push %esi; push %edi; mov 16(%esp), %edi; ljmp $0x33, $1f\n"
    ".code64\n"
    "1: movabs $0x123456789abcdef0, %rax; shr $32, %rax; mov %eax, (%rdi); lea back(%rip), %rax; ljmp *(%rax)\n"
    ".code32\n"
    "2: pop %edi; pop %esi; pop %ebx; ret\n"
    ".data\n"
    "back: .long 2b; .word 0x23\n"
    "saved_stack: .long 0\n"
    ".text\n");

void *memset(void *to, int value, unsigned length)
{
    for (unsigned i = 0; i < length; i++)
        ((char *)to)[i] = value;
    return to;
}

static void print(const char *text)
{
    unsigned length = 0;
    while (text[length])
        length++;
    call(WRITE, 1, (int)text, length);
}

static void print_number(unsigned number)
{
    char text[12], *at = text + 11;
    *at = 0;
    do
        *--at = '0' + number % 10;
    while (number /= 10);
    print(at);
}

#define EXPECT(condition) \
    do { \
        if (!(condition)) { \
            print("    line "); \
            print_number(__LINE__); \
            print(": " #condition "\n"); \
            return 0; \
        } \
    } while (0)

static void check(const char *name, int (*body)(void))
{
    int status, child = call(FORK, 0, 0, 0);
    if (child == 0)
        call(EXIT, !body(), 0, 0);
    call(WAITPID, child, (int)&status, 0);
    print("legacy ");
    print(name);
    print(status ? ": FAILED with status " : ": ok\n");
    if (status) {
        print_number(status);
        print("\n");
    }
}

#define CHECK(name) check(#name, name)

static int *map(void)
{
    return (int *)call_gate(MMAP2, 0, PAGE, PROT_ALL, MAP_PRIVATE_ANONYMOUS, -1, 0);
}

/* --- ways in */

static int through_int_0x80(void)
{
    int pid = call(GETPID, 0, 0, 0);
    for (int i = 0; i < 500; i++)
        EXPECT(call(GETPID, 0, 0, 0) == pid);
    EXPECT(call(9999, 0, 0, 0) == -38);
    return 1;
}

static int through_the_vdso(void)
{
    EXPECT(vsyscall_gate);
    int pid = call(GETPID, 0, 0, 0), *memory = map();
    for (int i = 0; i < 500; i++)
        EXPECT(call_gate(GETPID, 1, 2, 3, 4, 5, 6) == pid);
    EXPECT((unsigned)memory < -4096u);      /* six arguments arrived */
    memory[5] = 7;
    EXPECT(memory[5] == 7);
    EXPECT(call_gate(9999, 0, 0, 0, 0, 0, 0) == -38);
    return 1;
}

static int registers_survive_a_call(void)
{
    for (int i = 0; i < 100; i++) {
        int ecx = 0x11111111 + i, edx = 0x22222222, esi = 0x33333333, edi = 0x44444444, eax = SCHED_YIELD;
        asm volatile("int $0x80" : "+a"(eax), "+c"(ecx), "+d"(edx), "+S"(esi), "+D"(edi) :: "memory");
        EXPECT(eax == 0 && ecx == 0x11111111 + i && edx == 0x22222222 && esi == 0x33333333 && edi == 0x44444444);
    }
    return 1;
}

/* --- signals */

struct sigaction { void *handler; unsigned flags; void *restorer; unsigned mask[2]; };

static volatile int handled, at_address;

static void on_signal(int number, int *info, unsigned *context)
{
    handled = number;
    at_address = info[3];
    if (number != SIGUSR1) {
        unsigned *registers = context + 5;      /* gs fs es ds edi esi ebp esp ebx edx ecx eax trapno err eip */
        registers[11] = number;
        registers[14] = (unsigned)recovered;
    }
}

static void catch_all(void)
{
    static const int numbers[] = { SIGILL, SIGTRAP, SIGFPE, SIGUSR1, SIGSEGV };
    for (int i = 0; i < 5; i++) {
        struct sigaction action = { on_signal, SA_SIGINFO | SA_RESTORER | SA_NODEFER, restorer, { 0, 0 } };
        int result = RT_SIGACTION;
        asm volatile("int $0x80" : "+a"(result) : "b"(numbers[i]), "c"(&action), "d"(0), "S"(8) : "memory");
    }
}

static int a_signal_and_its_return(void)
{
    catch_all();
    for (int i = 0; i < 50; i++) {
        double x = 1.5 + i, y;
        int result = KILL;
        handled = 0;
        asm volatile("fldl %2; int $0x80; fstpl %0" : "=m"(y), "+a"(result) : "m"(x), "b"(call(GETPID, 0, 0, 0)),
                     "c"(SIGUSR1)
                     : "memory");
        EXPECT(handled == SIGUSR1 && y == x);
    }
    return 1;
}

static void wild_read(void) { *(volatile int *)0x1234 = 1; }
static void kernel_read(void) { *(volatile int *)0xffffe000 = 1; }
static void undefined(void) { asm volatile("ud2"); }
static void divides(void) { asm volatile("xor %%ecx, %%ecx; div %%ecx" ::: "eax", "ecx", "edx"); }
static void overflows(void) { asm volatile("mov $0x7fffffff, %%eax; inc %%eax; into" ::: "eax"); }
static void out_of_bounds(void) { int limits[2] = { 0, 5 }; asm volatile("bound %0, %1" :: "r"(6), "m"(limits)); }
static void privileged(void) { asm volatile("cli"); }
static void bad_segment(void) { asm volatile("mov %0, %%fs" :: "r"(0x1233)); }
static void bad_far_jump(void) { asm volatile("ljmp $0x1233, $0"); }
static void trap(void) { asm volatile("int3"); }
static void wrong_gate(void) { asm volatile("int $0x82"); }

static int faults(void)
{
    catch_all();
    EXPECT(signal_of(wild_read) == SIGSEGV && at_address == 0x1234);
    EXPECT(signal_of(kernel_read) == SIGSEGV);
    EXPECT(signal_of(undefined) == SIGILL);
    EXPECT(signal_of(divides) == SIGFPE);
    EXPECT(signal_of(overflows) == SIGSEGV);
    EXPECT(signal_of(out_of_bounds) == SIGSEGV);
    EXPECT(signal_of(privileged) == SIGSEGV);
    EXPECT(signal_of(bad_segment) == SIGSEGV);
    EXPECT(signal_of(bad_far_jump) == SIGSEGV);
    EXPECT(signal_of(trap) == SIGTRAP);
    EXPECT(signal_of(wrong_gate) == SIGSEGV);
    return 1;
}

/* --- segments */

/* flags: 32 bits, contents (2 bits), read/execute only, limit in pages, not present, usable */
struct user_desc { unsigned entry_number, base, limit, flags; };
enum { DATA32 = 1, CODE32 = 1 | 2 << 1, PAGES = 1 << 4, NOT_PRESENT = 1 << 5, USABLE = 1 << 6 };

static int a_thread_area(void)
{
    int *memory = map(), word;
    struct user_desc area = { -1u, (unsigned)memory, 0xfffff, DATA32 | PAGES | USABLE };
    EXPECT(call(SET_THREAD_AREA, (int)&area, 0, 0) == 0);
    EXPECT(area.entry_number >= 12 && area.entry_number <= 14);
    asm volatile("mov %0, %%gs" :: "r"(area.entry_number << 3 | 3));
    memory[2] = 0x5a5a;
    for (int i = 0; i < 30; i++) {
        int status, child = call(FORK, 0, 0, 0);
        if (child == 0) {
            int *other = map();
            struct user_desc mine = { area.entry_number, (unsigned)other, 0xfffff, DATA32 | PAGES | USABLE };
            other[2] = i;
            call(SET_THREAD_AREA, (int)&mine, 0, 0);
            asm volatile("mov %1, %%gs; mov %%gs:8, %0" : "=r"(word) : "r"(area.entry_number << 3 | 3));
            call(SCHED_YIELD, 0, 0, 0);
            asm volatile("mov %%gs:8, %0" : "=r"(word));
            call(EXIT, word != i, 0, 0);
        }
        asm volatile("mov %%gs:8, %0" : "=r"(word));
        EXPECT(word == 0x5a5a);
        call(WAITPID, child, (int)&status, 0);
        EXPECT(status == 0);
    }
    return 1;
}

static int descriptors_of_ones_own(void)
{
    int *memory = map(), word;
    catch_all();
    struct user_desc data = { 1, (unsigned)memory, 15, DATA32 | USABLE };
    EXPECT(call(MODIFY_LDT, 1, (int)&data, sizeof(data)) == 0);
    memory[3] = 0x77;
    asm volatile("mov %1, %%gs; mov %%gs:12, %0" : "=r"(word) : "r"(1 << 3 | 7));
    EXPECT(word == 0x77);

    /* A code segment that begins where the code lies: offset 0. */
    struct user_desc code = { 2, (unsigned)memory, 0xfff, CODE32 | USABLE };
    unsigned char bytes[] = { 0xb8, 42, 0, 0, 0, 0xcb };        /* mov $42, %eax; lret */
    for (int i = 0; i < 6; i++)
        ((unsigned char *)memory)[i] = bytes[i];
    EXPECT(call(MODIFY_LDT, 1, (int)&code, sizeof(code)) == 0);
    asm volatile("lcall $0x17, $0" : "=a"(word) :: "memory");
    EXPECT(word == 42);
    unsigned access, limit;
    asm volatile("lsl %1, %0" : "=r"(limit) : "r"(1 << 3 | 7));
    asm volatile("lar %1, %0" : "=r"(access) : "r"(2 << 3 | 7));
    EXPECT(limit == 15 && (access & 0x9800) == 0x9800);
    return 1;
}

static int interrupted_in_a_code_segment(void)
{
    /* mov $3000000, %ecx; 1: dec %ecx; jnz 1b; mov $20, %eax; int $0x80; mov $42, %eax; lret */
    static const unsigned char bytes[] = { 0xb9, 0xc0, 0xc6, 0x2d, 0, 0x49, 0x75, 0xfd, 0xb8, 20, 0, 0, 0, 0xcd, 0x80,
                                           0xb8, 42, 0, 0, 0, 0xcb };
    int *memory = map(), word;
    struct user_desc code = { 4, (unsigned)memory, 0xfff, CODE32 | USABLE };
    for (unsigned i = 0; i < sizeof(bytes); i++)
        ((unsigned char *)memory)[i] = bytes[i];
    EXPECT(call(MODIFY_LDT, 1, (int)&code, sizeof(code)) == 0);
    asm volatile("lcall $0x27, $0" : "=a"(word) :: "ecx", "memory");
    EXPECT(word == 42);
    return 1;
}

static int a_stack_segment(void)
{
    /* A stack of its own, whose top is its segment's limit; interrupts arrive while it is in use. */
    int *memory = map(), result;
    struct user_desc stack = { 3, (unsigned)memory, 0xfff, DATA32 | USABLE };
    EXPECT(call(MODIFY_LDT, 1, (int)&stack, sizeof(stack)) == 0);
    asm volatile("mov %%esp, %%esi; mov %%ss, %%edi; mov %1, %%ss; mov $0xffc, %%esp; push $5; push $6\n"
                 "mov $20, %%eax; int $0x80\n"
                 "mov $3000000, %%ecx; 1: dec %%ecx; jnz 1b; pop %%eax; pop %%ecx; mov %%edi, %%ss; mov %%esi, %%esp"
                 : "=a"(result) : "b"(3 << 3 | 7) : "ecx", "esi", "edi", "memory");
    EXPECT(result == 6 && memory[1022] == 5);
    return 1;
}

static int to_64_bits_and_back(void)
{
    uint32_t high;
    for (int i = 0; i < 20; i++) {
        high = 0;
        in_64_bits(&high);
        EXPECT(high == 0x12345678);
    }
    return 1;
}

static int instructions_of_old(void)
{
    int eax = 0x0f, flags;
    asm volatile("aaa" : "+a"(eax));
    EXPECT((eax & 0xffff) == 0x105);
    asm volatile("pusha; popa; push %%cs; add $4, %%esp; pushf; pop %0" : "=r"(flags) :: "memory");
    EXPECT(flags & 0x200);
    eax = 7;
    asm volatile("aam $2; aad $2" : "+a"(eax));
    EXPECT((eax & 0xff) == 7);
    return 1;
}

void begin(uintptr_t *stack)
{
    uintptr_t *at = stack + 1 + stack[0] + 1;
    while (*at++)
        ;
    for (; at[0]; at += 2)
        if (at[0] == AT_SYSINFO)
            vsyscall_gate = (void *)at[1];
    CHECK(through_int_0x80);
    CHECK(through_the_vdso);
    CHECK(registers_survive_a_call);
    CHECK(a_signal_and_its_return);
    CHECK(faults);
    CHECK(a_thread_area);
    CHECK(descriptors_of_ones_own);
    CHECK(interrupted_in_a_code_segment);
    CHECK(a_stack_segment);
    CHECK(to_64_bits_and_back);
    CHECK(instructions_of_old);
    call(EXIT, 0, 0, 0);
}
