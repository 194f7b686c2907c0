/* Many threads of one process at once, on all vcpus: what each vcpu knows of memory and code changes under it. */
#include "../programs/check.h"
#define PROGRAM "crowd"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#define THREADS 4

static int in_threads(int count, void *(*body)(void *))
{
    pthread_t threads[THREADS];
    intptr_t wrong = 0;
    void *found;
    for (intptr_t i = 0; i < count; i++)
        pthread_create(&threads[i], NULL, body, (void *)i);
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], &found);
        wrong += (intptr_t)found;
    }
    return wrong == 0;
}

/* --- futexes */

static _Atomic uint32_t mutex; /* 0 free, 1 held, 2 held and waited for */
static uint64_t guarded;

static void *take_and_drop(void *unused)
{
    (void)unused;
    for (int i = 0; i < 4000; i++) {
        uint32_t seen = 0;
        if (!atomic_compare_exchange_strong(&mutex, &seen, 1))
            while (atomic_exchange(&mutex, 2))
                syscall(SYS_futex, &mutex, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
        guarded++;
        if (i % 64 == 0)
            sched_yield();
        if (atomic_exchange(&mutex, 0) == 2)
            syscall(SYS_futex, &mutex, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    return NULL;
}

static int futexes(void)
{
    EXPECT(in_threads(THREADS, take_and_drop));
    EXPECT(guarded == THREADS * 4000, "%lu", guarded);
    return 1;
}

/* --- memory that comes and goes */

static void *map_and_unmap(void *which)
{
    for (uint64_t i = 0; i < 250; i++) {
        uint64_t mark = (uintptr_t)which << 32 | i, *memory = pages(16, PROT_READ | PROT_WRITE);
        for (int page = 0; page < 16; page++)
            memory[page * PAGE / 8] = mark + page;
        mprotect(memory, 8 * PAGE, PROT_READ);
        for (int page = 0; page < 16; page++)
            if (memory[page * PAGE / 8] != mark + page || memory[page * PAGE / 8 + 1])
                return "wrong";
        munmap((char *)memory + 4 * PAGE, 8 * PAGE);
        if (memory[12 * PAGE / 8] != mark + 12)
            return "wrong";
        munmap(memory, 16 * PAGE);
    }
    return NULL;
}

static int mappings(void)
{
    EXPECT(in_threads(THREADS, map_and_unmap));
    return 1;
}

/* One thread stores all the time.  Once mprotect, or munmap, has returned to another, nothing is stored any more. */
static volatile uint64_t *stored_to;
static atomic_int over;

static void step_over(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 3; /* incq (%rax) */
}

static void *store_all_the_time(void *unused)
{
    (void)unused;
    while (!over)
        __asm__ volatile("incq (%0)" : : "a"(stored_to) : "memory");
    return NULL;
}

static int a_store_after_the_page_was_taken_is_seen_by_nobody(void)
{
    struct sigaction action = { .sa_sigaction = step_over, .sa_flags = SA_SIGINFO };
    sigaction(SIGSEGV, &action, NULL);
    int file = memfd_create("stored", 0);
    ftruncate(file, PAGE);
    volatile uint64_t *seen = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    stored_to = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    pthread_t thread;
    pthread_create(&thread, NULL, store_all_the_time, NULL);
    for (int i = 0; i < 300; i++) {
        uint64_t before = *seen;
        while (*seen == before)
            sched_yield();
        if (i & 1)
            mprotect((void *)stored_to, PAGE, i & 2 ? PROT_READ : PROT_NONE);
        else
            munmap((void *)stored_to, PAGE);
        before = *seen;
        for (int look = 0; look < 200; look++)
            EXPECT(*seen == before, "turn %d", i);
        mmap((void *)stored_to, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
    }
    over = 1;
    pthread_join(thread, NULL);
    return 1;
}

/* --- code that another thread writes */

static unsigned char *code_here, *code_there;
static _Atomic uint32_t published;

static void *run_what_is_published(void *unused)
{
    uint32_t last = 0, a, b, c, d;
    (void)unused;
    while (last < 3000) {
        uint32_t expected = published;
        __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0) : "memory");
        uint32_t got = ((uint32_t(*)(void))code_there)();
        if (got < expected)
            return "old code";
        last = expected;
    }
    return NULL;
}

static int code_of_another_thread_is_the_new_one(void)
{
    int file = memfd_create("code", 0);
    ftruncate(file, PAGE);
    code_here = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    code_there = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
    memcpy(code_here + 3, (unsigned char[]){ 0xb8, 0, 0, 0, 0, 0xc3 }, 6); /* mov $0, %eax, its number aligned; ret */
    code_there += 3;
    pthread_t thread;
    void *wrong;
    pthread_create(&thread, NULL, run_what_is_published, NULL);
    for (uint32_t i = 1; i <= 3000; i++) {
        *(volatile uint32_t *)(code_here + 4) = i;
        published = i;
    }
    pthread_join(thread, &wrong);
    EXPECT(wrong == NULL, "%s", (char *)wrong);
    return 1;
}

/* --- processes */

static void *fork_and_compare(void *which)
{
    static uint64_t shared[THREADS * 8];
    for (uint64_t i = 0; i < 40; i++) {
        int status;
        volatile uint64_t *mine = &shared[(uintptr_t)which * 8];
        *mine = i;
        pid_t child = fork();
        if (child == 0) {
            *mine += 1;
            _exit(*mine == i + 1 ? 42 : 1);
        }
        if (child < 0 || waitpid(child, &status, 0) != child || status != 42 << 8 || *mine != i)
            return "wrong";
    }
    return NULL;
}

static int forks(void)
{
    EXPECT(in_threads(THREADS, fork_and_compare));
    return 1;
}

static void *exec_and_compare(void *which)
{
    char number[2] = { (char)('1' + (intptr_t)which), 0 };
    for (int i = 0; i < 20; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            execl("/proc/self/exe", "crowd", number, NULL);
            _exit(1);
        }
        if (child < 0 || waitpid(child, &status, 0) != child || status != (40 + number[0]) << 8)
            return "wrong";
    }
    return NULL;
}

static int execs(void)
{
    EXPECT(in_threads(THREADS, exec_and_compare));
    return 1;
}

static atomic_int signals_got;

static void count_signal(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    signals_got += info->si_value.sival_int;
}

static void *send_signals(void *unused)
{
    (void)unused;
    for (int i = 0; i < 1000; i++) {
        while (sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 1 }))
            sched_yield();
        if (i % 100 == 0)
            pthread_kill(pthread_self(), SIGWINCH);
    }
    return NULL;
}

static int signals(void)
{
    struct sigaction action = { .sa_sigaction = count_signal, .sa_flags = SA_SIGINFO | SA_RESTART };
    sigaction(SIGRTMIN, &action, NULL);
    EXPECT(in_threads(THREADS, send_signals));
    for (int i = 0; i < 1000 && signals_got < THREADS * 1000; i++)
        usleep(1000);
    EXPECT(signals_got == THREADS * 1000, "%d", signals_got);
    return 1;
}

static volatile uint64_t traced_steps;
__attribute__((noinline)) void traced_function(void) { __asm__ volatile("nop; incq %0" : "+m"(traced_steps)); }

static int breakpoints_of_another_process(void)
{
    struct user_regs_struct registers;
    int status;
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        for (;;)
            traced_function();
    }
    EXPECT(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
    long word = ptrace(PTRACE_PEEKTEXT, child, traced_function, 0);
    for (int i = 0; i < 150; i++) {
        uint64_t steps = ptrace(PTRACE_PEEKDATA, child, &traced_steps, 0);
        ptrace(PTRACE_POKETEXT, child, traced_function, (word & ~0xffl) | 0xcc);
        ptrace(PTRACE_CONT, child, 0, 0);
        EXPECT(waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP, "%x", status);
        ptrace(PTRACE_GETREGS, child, 0, &registers);
        EXPECT(registers.rip == (uintptr_t)traced_function + 1);
        registers.rip--;
        ptrace(PTRACE_SETREGS, child, 0, &registers);
        ptrace(PTRACE_POKETEXT, child, traced_function, word);
        for (int step = 0; step < 12; step++) {
            ptrace(PTRACE_SINGLESTEP, child, 0, 0);
            EXPECT(waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
        }
        EXPECT((uint64_t)ptrace(PTRACE_PEEKDATA, child, &traced_steps, 0) > steps, "turn %d", i);
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return 1;
}

static int kexec_is_refused(void)
{
    EXPECT(syscall(SYS_kexec_load, 0x100000, 0, NULL, 0x3e0000) == 0 || errno == EPERM || errno == ENOSYS, "%d", errno);
    EXPECT(syscall(SYS_reboot, 0xfee1dead, 672274793, 0x45584543, NULL) == -1);
    EXPECT(errno == EINVAL || errno == ENOSYS || errno == EPERM, "%d", errno);
    return 1;
}

static uint32_t own_apic_id(void)
{
    uint32_t a = 1, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return b >> 24;
}

static int each_vcpu_has_a_number_of_its_own(void)
{
    for (int cpu = 0; cpu < 2; cpu++) {
        cpu_set_t only;
        CPU_ZERO(&only);
        CPU_SET(cpu, &only);
        if (sched_setaffinity(0, sizeof(only), &only)) /* it is away just now */
            continue;
        for (int tries = 0;; tries++) {
            int before = sched_getcpu();
            uint32_t number = own_apic_id();
            if (number == 2u * before)
                break;
            EXPECT(tries < 5, "%u on %d", number, before);
        }
    }
    return 1;
}

int main(int count, char **words)
{
    if (count > 1) /* what `execs` starts */
        return 40 + words[1][0];
    CHECK(each_vcpu_has_a_number_of_its_own);
    CHECK(futexes);
    CHECK(mappings);
    CHECK(a_store_after_the_page_was_taken_is_seen_by_nobody);
    CHECK(code_of_another_thread_is_the_new_one);
    CHECK(forks);
    CHECK(execs);
    CHECK(signals);
    CHECK(breakpoints_of_another_process);
    CHECK(kexec_is_refused);
    return 0;
}
