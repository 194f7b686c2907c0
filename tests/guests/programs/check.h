/* What every test program is made of: named checks, each of which prints "name: ok" or says what it found instead. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096

#define EXPECT(condition, ...) \
    do { \
        if (!(condition)) { \
            printf("    line %d: %s; ", __LINE__, #condition); \
            printf(" " __VA_ARGS__); \
            printf("\n"); \
            return 0; \
        } \
    } while (0)

/* Run a check in a process of its own, so that it can end as it likes and leaves nothing behind. */
static inline void check(const char *program, const char *name, int (*body)(void))
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int passed = body();
        fflush(stdout);
        _exit(passed ? 0 : 1);
    }
    waitpid(child, &status, 0);
    if (status == 0)
        printf("%s %s: ok\n", program, name);
    else if (WIFSIGNALED(status))
        printf("%s %s: FAILED by signal %d\n", program, name, WTERMSIG(status));
    else
        printf("%s %s: FAILED\n", program, name);
    fflush(stdout);
}

#define CHECK(name) check(PROGRAM, #name, name)

static inline void *pages(size_t count, int protection)
{
    void *memory = mmap(NULL, count * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        _exit(2);
    }
    return memory;
}

static inline uint64_t now_ns(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

/* --- the signal that a piece of code ends with */

static sigjmp_buf after_signal;
static volatile int caught_signal, caught_code;
static void *volatile caught_address;

static inline void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    caught_signal = number, caught_code = info->si_code, caught_address = info->si_addr;
    siglongjmp(after_signal, 1);
}

static inline void catch_all(void)
{
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER };
    int numbers[] = { SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS };
    for (int i = 0; i < 5; i++)
        sigaction(numbers[i], &action, NULL);
}

/* The signal that `code` raises, 0 if none. */
#define SIGNAL_OF(...) ({ caught_signal = 0; if (!sigsetjmp(after_signal, 1)) { __VA_ARGS__; } caught_signal; })
