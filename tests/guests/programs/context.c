/* What belongs to a process alone: floating point, segment bases and descriptors, across switches and signals. */
#include "check.h"
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/time.h>
#define PROGRAM "context"

/* A computation in xmm and x87 registers that keeps its state in them all the while. */
static uint64_t compute(uint32_t seed, int rounds)
{
    double sse[4] = { seed, seed + 1, seed + 2, seed + 3 };
    long double x87 = seed;
    for (int i = 0; i < rounds; i++) {
        for (int lane = 0; lane < 4; lane++)
            sse[lane] = sse[lane] * 1.0000001 + 1 / (sse[lane] + lane + 1);
        x87 = x87 * 1.0000001L + 1 / (x87 + 1);
    }
    uint64_t sum = 0, word;
    for (int lane = 0; lane < 4; lane++) {
        memcpy(&word, &sse[lane], 8);
        sum = sum * 31 + word;
    }
    memcpy(&word, &x87, 8);
    return sum * 31 + word;
}

static int processes_compute_at_once(void)
{
    enum { PROCESSES = 4, ROUNDS = 60000 };
    uint64_t alone[PROCESSES], *together = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < PROCESSES; i++)
        alone[i] = compute(i + 1, ROUNDS);
    for (int i = 0; i < PROCESSES; i++)
        if (fork() == 0) {
            for (int part = 0; part < 3; part++) {
                together[i * 3 + part] = compute(i + 1, ROUNDS);
                sched_yield();
            }
            _exit(0);
        }
    while (wait(NULL) > 0)
        ;
    for (int i = 0; i < 3 * PROCESSES; i++)
        EXPECT(together[i] == alone[i / 3], "process %d", i / 3);
    return 1;
}

static volatile int interrupted;

static void spoil(int number)
{
    (void)number;
    uint32_t mxcsr = 0x7f80;
    asm volatile("fninit; fldpi; fldpi; fldpi; pcmpeqd %%xmm0, %%xmm0; movaps %%xmm0, %%xmm1; movaps %%xmm0, %%xmm2;"
                 "movaps %%xmm0, %%xmm7; movaps %%xmm0, %%xmm15; ldmxcsr %0" :: "m"(mxcsr)
                 : "xmm0", "xmm1", "xmm2", "xmm7", "xmm15");
    interrupted++;
}

static int signals_keep_floating_point(void)
{
    uint64_t undisturbed = compute(7, 200000);
    struct sigaction action = { .sa_handler = spoil };
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = { { 0, 1000 }, { 0, 1000 } };
    setitimer(ITIMER_REAL, &often, NULL);
    while (interrupted < 8)
        EXPECT(compute(7, 200000) == undisturbed, "after %d signals", interrupted);
    return 1;
}

static int a_fork_takes_its_state_along(void)
{
    double before = 2.5, after;
    uint32_t mxcsr = 0x3f80, found;
    uint16_t control = 0x77f, found_control;
    asm volatile("ldmxcsr %0; fldcw %1; movsd %2, %%xmm9" :: "m"(mxcsr), "m"(control), "m"(before) : "xmm9");
    pid_t child;
    asm volatile("syscall" : "=a"(child) : "a"(SYS_fork) : "rcx", "r11", "memory");
    asm volatile("movsd %%xmm9, %0; stmxcsr %1; fnstcw %2" : "=m"(after), "=m"(found), "=m"(found_control));
    int same = after == before && (found & ~0x3f) == mxcsr && found_control == control;
    if (child == 0)
        _exit(same);
    int status;
    waitpid(child, &status, 0);
    EXPECT(same && WEXITSTATUS(status) == 1);
    return 1;
}

static int segment_bases(void)
{
    uint64_t area[2] = { 0x1234, 0x5678 }, base, word;
    EXPECT(syscall(SYS_arch_prctl, ARCH_SET_GS, area) == 0);
    for (int i = 0; i < 20; i++) {
        if (fork() == 0)
            _exit(0);
        wait(NULL);
        asm volatile("mov %%gs:8, %0" : "=r"(word));
        EXPECT(word == 0x5678);
    }
    EXPECT(syscall(SYS_arch_prctl, ARCH_GET_GS, &base) == 0 && base == (uint64_t)area);
    asm volatile("mov %0, %%gs" :: "r"(0));
    EXPECT(syscall(SYS_arch_prctl, ARCH_GET_GS, &base) == 0 && base == 0);
    return 1;
}

/* glibc keeps its errno behind fs, so this uses gs. */
static int descriptors_of_ones_own(void)
{
    uint32_t *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0), word;
    struct user_desc entry = { .entry_number = 3, .base_addr = (uintptr_t)low, .limit = 4095, .seg_32bit = 1,
                               .useable = 1 };
    low[1] = 0xabcd;
    EXPECT(syscall(SYS_modify_ldt, 1, &entry, sizeof(entry)) == 0);
    asm volatile("mov %1, %%gs; mov %%gs:4, %0" : "=r"(word) : "r"(3 << 3 | 7));
    EXPECT(word == 0xabcd);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            struct user_desc other = entry;
            uint32_t mine[2] = { 0, i };
            memcpy(low, mine, 8);
            other.entry_number = 3 + i;
            syscall(SYS_modify_ldt, 1, &other, sizeof(other));
            asm volatile("mov %1, %%gs; mov %%gs:4, %0" : "=r"(word) : "r"((3 + i) << 3 | 7));
            _exit(word == (uint32_t)i ? 0 : 1);
        }
        int status;
        waitpid(child, &status, 0);
        EXPECT(status == 0, "child %d: %x", i, status);
        asm volatile("mov %%gs:4, %0" : "=r"(word));
        EXPECT(word == 0xabcd);
    }
    catch_all();
    EXPECT(SIGNAL_OF(asm volatile("mov %0, %%gs" :: "r"(100 << 3 | 7))) == SIGSEGV);
    struct user_desc gone = { .entry_number = 3, .read_exec_only = 1, .seg_not_present = 1 };
    EXPECT(syscall(SYS_modify_ldt, 1, &gone, sizeof(gone)) == 0);
    EXPECT(SIGNAL_OF(asm volatile("mov %0, %%gs" :: "r"(3 << 3 | 7))) == SIGSEGV);
    unsigned char table[64];
    EXPECT(syscall(SYS_modify_ldt, 0, table, sizeof(table)) >= 0);
    return 1;
}

static int many_descriptors(void)
{
    struct user_desc entry = { .limit = 0xfffff, .seg_32bit = 1, .limit_in_pages = 1, .useable = 1 };
    uint32_t *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0), word;
    for (int i = 0; i < 1024; i++)
        low[i] = i;
    for (int i = 0; i < 8192; i += 431) {
        entry.entry_number = i;
        entry.base_addr = (uintptr_t)low + 4 * (i % 1024);
        EXPECT(syscall(SYS_modify_ldt, 1, &entry, sizeof(entry)) == 0);
    }
    for (int i = 0; i < 8192; i += 431) {
        asm volatile("mov %1, %%gs; mov %%gs:0, %0" : "=r"(word) : "r"(i << 3 | 7));
        EXPECT(word == (uint32_t)i % 1024, "entry %d", i);
    }
    return 1;
}

static __thread uint64_t own;

static void *keeps_its_bases(void *number)
{
    uint64_t fs, gs, at_first, wanted = ((uint64_t)number + 1) << 33;
    own = (uint64_t)number;
    asm volatile("wrgsbase %1; rdfsbase %0" : "=r"(at_first) : "r"(wanted));
    for (int i = 0; i < 500; i++) {
        sched_yield();
        if (i % 50 == 0)
            usleep(10);
        asm volatile("rdfsbase %0; rdgsbase %1" : "=r"(fs), "=r"(gs));
        if (own != (uint64_t)number || fs != at_first || gs != wanted)
            return "lost";
    }
    return NULL;
}

static int threads_write_their_own_bases(void)
{
    enum { THREADS = 6 };
    pthread_t threads[THREADS];
    void *lost;
    EXPECT(getauxval(AT_HWCAP2) & 2);       /* the kernel offers the instructions */
    for (uint64_t i = 0; i < THREADS; i++)
        EXPECT(pthread_create(&threads[i], NULL, keeps_its_bases, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &lost);
        EXPECT(lost == NULL, "thread %d", i);
    }
    catch_all();
    EXPECT(SIGNAL_OF(asm volatile("wrgsbase %0" :: "r"(1ul << 63))) == SIGSEGV);
    return 1;
}

int main(void)
{
    CHECK(processes_compute_at_once);
    CHECK(signals_keep_floating_point);
    CHECK(a_fork_takes_its_state_along);
    CHECK(segment_bases);
    CHECK(descriptors_of_ones_own);
    CHECK(many_descriptors);
    CHECK(threads_write_their_own_bases);
}
