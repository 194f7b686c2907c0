/* What Linux's own operations cost, in ns: `name: ns`.  The best of several rounds of each. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 5

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void null_syscalls(int n)
{
    while (n--)
        syscall(SYS_getppid);
}

static void page_faults(int n)
{
    char *memory = mmap(NULL, n * 4096ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < n; i++)
        memory[i * 4096ul] = 1;
    munmap(memory, n * 4096ul);
}

static void forks(int n)
{
    while (n--) {
        pid_t child = fork();
        if (!child)
            _exit(0);
        waitpid(child, NULL, 0);
    }
}

static void fork_execs(int n)
{
    while (n--) {
        pid_t child = fork();
        if (!child) {
            execl("/proc/self/exe", "micro", "nothing", NULL);
            _exit(1);
        }
        waitpid(child, NULL, 0);
    }
}

static void switches(int n)
{
    int there[2], back[2];
    char byte = 0;
    if (pipe(there) || pipe(back))
        exit(1);
    pid_t child = fork();
    if (!child) {
        for (int i = 0; i < n; i++)
            if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
                _exit(1);
        _exit(0);
    }
    for (int i = 0; i < n; i++)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            exit(1);
    waitpid(child, NULL, 0);
    close(there[0]), close(there[1]), close(back[0]), close(back[1]);
}

static void measure(const char *name, void (*work)(int), int n)
{
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        double before = now();
        work(n);
        double spent = now() - before;
        if (spent < best)
            best = spent;
    }
    printf("%s: %.1f\n", name, best / n);
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return 0;
    measure("Linux null syscall", null_syscalls, 20000);
    measure("Linux anonymous write fault", page_faults, 1000);
    measure("Linux fork and wait", forks, 20);
    measure("Linux fork, exec and wait", fork_execs, 20);
    measure("Linux pipe round trip (two context switches)", switches, 1000);
    return 0;
}
