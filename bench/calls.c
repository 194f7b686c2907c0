/* So many times one thing that a kernel does for a process: what processes on several processors get in each other's
 * way at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES 64

static void forks(int times)
{
    while (times--) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        waitpid(child, NULL, 0);
    }
}

static void faults(int times)
{
    while (times--) {
        char *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (int page = 0; page < PAGES; page++)
            memory[page * PAGE] = 1;
        munmap(memory, PAGES * PAGE);
    }
}

static void pipes(int times)
{
    int there[2], back[2];
    char byte = 0;
    if (pipe(there) || pipe(back))
        exit(1);
    if (fork() == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
            ;
        _exit(0);
    }
    while (times--)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            exit(1);
}

int main(int argc, char **argv)
{
    int times = argc > 2 ? atoi(argv[2]) : 0;
    if (argc > 1 && !strcmp(argv[1], "forks"))
        forks(times);
    else if (argc > 1 && !strcmp(argv[1], "faults"))
        faults(times);
    else if (argc > 1 && !strcmp(argv[1], "pipes"))
        pipes(times);
    else
        return 2;
    return 0;
}
