/* Time as processes see it. */
#include "check.h"
#include <sys/time.h>
#define PROGRAM "clock"
#define MS 1000000ull

static int never_backwards(void)
{
    /* One word holds the latest time that any of three processes saw. */
    uint64_t *latest = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int failed = 0, status;
    for (int i = 0; i < 3; i++)
        if (fork() == 0) {
            for (int n = 0; n < 20000; n++) {
                uint64_t before = __atomic_load_n(latest, __ATOMIC_SEQ_CST), now = now_ns(CLOCK_MONOTONIC);
                if (now < before)
                    _exit(1);
                while (before < now &&
                       !__atomic_compare_exchange_n(latest, &before, now, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
                    ;
                if (n % 500 == 0)
                    sched_yield();
            }
            _exit(0);
        }
    while (wait(&status) > 0)
        failed += status != 0;
    EXPECT(failed == 0);
    return 1;
}

static int the_same_with_and_without_the_kernel(void)
{
    struct timespec at;
    for (int i = 0; i < 500; i++) {
        uint64_t before = now_ns(CLOCK_MONOTONIC);
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &at);
        uint64_t between = at.tv_sec * 1000 * MS + at.tv_nsec, after = now_ns(CLOCK_MONOTONIC);
        EXPECT(before <= between && between <= after, "%lu %lu %lu", before, between, after);
    }
    EXPECT(now_ns(CLOCK_REALTIME) > 1600000000ull * 1000 * MS);
    return 1;
}

static int sleeps(void)
{
    for (uint64_t ms = 1; ms <= 64; ms *= 4) {
        struct timespec pause = { 0, ms * MS };
        uint64_t before = now_ns(CLOCK_MONOTONIC);
        nanosleep(&pause, NULL);
        uint64_t slept = now_ns(CLOCK_MONOTONIC) - before;
        EXPECT(slept >= ms * MS && slept < (ms + 500) * MS, "%lu ms: %lu ns", ms, slept);
    }
    return 1;
}

static volatile int rings;

static void ring(int number)
{
    (void)number;
    rings++;
}

static int interval_timers(void)
{
    signal(SIGALRM, ring);
    struct itimerval every = { { 0, 10000 }, { 0, 10000 } };
    uint64_t before = now_ns(CLOCK_MONOTONIC);
    setitimer(ITIMER_REAL, &every, NULL);
    while (rings < 10)
        pause();
    uint64_t passed = now_ns(CLOCK_MONOTONIC) - before;
    EXPECT(passed >= 100 * MS && passed < 1000 * MS, "%lu ns", passed);
    return 1;
}

static int processor_time(void)
{
    uint64_t cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID), wall = now_ns(CLOCK_MONOTONIC);
    for (volatile int i = 0; i < 3000000; i++)
        ;
    cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    wall = now_ns(CLOCK_MONOTONIC) - wall;
    EXPECT(cpu > 0 && cpu <= wall + 10 * MS, "%lu of %lu ns", cpu, wall);
    struct timespec pause = { 0, 50 * MS };
    cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    nanosleep(&pause, NULL);
    EXPECT(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu < 25 * MS);
    return 1;
}

static int one_spins_and_another_sleeps(void)
{
    pid_t spinner = fork();
    if (spinner == 0)
        for (;;)
            ;
    struct timespec pause = { 0, 5 * MS };
    uint64_t before = now_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < 10; i++)
        nanosleep(&pause, NULL);
    uint64_t passed = now_ns(CLOCK_MONOTONIC) - before;
    kill(spinner, SIGKILL);
    EXPECT(passed < 2000 * MS, "%lu ns", passed);
    return 1;
}

static int the_old_vsyscall_page(void)
{
    /* Its entries are 1 KiB apart: gettimeofday, time, getcpu.  The kernel has to be told vsyscall=emulate or xonly. */
    catch_all();
    time_t now = time(NULL), (*old_time)(time_t *) = (time_t (*)(time_t *))0xffffffffff600400;
    volatile time_t then = 0;
    struct timeval at = { 0, 0 };
    EXPECT(SIGNAL_OF(then = old_time(NULL)) == 0);
    EXPECT(then == now || then == now + 1, "%ld %ld", then, now);
    EXPECT(SIGNAL_OF(((int (*)(struct timeval *, void *))0xffffffffff600000)(&at, NULL)) == 0);
    EXPECT(at.tv_sec == now || at.tv_sec == now + 1);
    return 1;
}

int main(void)
{
    CHECK(never_backwards);
    CHECK(the_same_with_and_without_the_kernel);
    CHECK(sleeps);
    CHECK(interval_timers);
    CHECK(processor_time);
    CHECK(one_spins_and_another_sleeps);
    CHECK(the_old_vsyscall_page);
}
