/* What a guest does while it is frozen again and again.
 *
 *   writer STOP FILE...    for each FILE four processes write to a quarter of it each, blocks that say which write they are, read
 *                          them again, and look at all of them at the end; one looks at the clocks; one counts on the console
 *
 * They end when STOP is there.  What goes wrong is a line with FAILED. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 65536
#define BLOCKS 64               /* of each writer */
#define WRITERS 4

static const char *stop;
static uint64_t block[BLOCK / 8] __attribute__((aligned(4096))), back[BLOCK / 8] __attribute__((aligned(4096)));

static int stopped(void)
{
    struct stat unused;
    return stat(stop, &unused) == 0;
}

/* Each sector is the number of the write and its own, over and over. */
static void fill(uint64_t number)
{
    for (uint64_t i = 0; i < BLOCK / 8; i += 2)
        block[i] = number, block[i + 1] = i / 64;
}

static int fails(const char *what, const char *file, uint64_t number)
{
    printf("FAILED: %s of write %lu to %s: %s\n", what, number, file, strerror(errno));
    return 1;
}

static int look(int fd, const char *file, int writer, uint64_t number)
{
    fill(number);
    if (pread(fd, back, BLOCK, (off_t)(writer * BLOCKS + number % BLOCKS) * BLOCK) != BLOCK)
        return fails("reading", file, number);
    errno = 0;
    return memcmp(block, back, BLOCK) ? fails("the content", file, number) : 0;
}

static int writer(const char *file, int which)
{
    int direct = strncmp(file, "/dev/", 5) ? 0 : O_DIRECT, fd = open(file, O_RDWR | O_CREAT | direct, 0600);
    uint64_t number = 0;
    if (fd < 0)
        return fails("opening", file, 0);
    for (; number < BLOCKS || !stopped(); number++) {
        fill(number);
        if (pwrite(fd, block, BLOCK, (off_t)(which * BLOCKS + number % BLOCKS) * BLOCK) != BLOCK)
            return fails("writing", file, number);
        if (number % 16 == 7 && fdatasync(fd))
            return fails("flushing", file, number);
        if (number % 8 == 5 && look(fd, file, which, number - (number > BLOCKS ? 40 : 5)))
            return 1;
    }
    if (fsync(fd))
        return fails("flushing", file, number);
    for (uint64_t i = number - BLOCKS; i < number; i++)
        if (look(fd, file, which, i))
            return 1;
    printf("%s %d: %lu\n", file, which, number);
    return 0;
}

static int64_t ns(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    return at.tv_sec * 1000000000l + at.tv_nsec;
}

static int clocks(void)
{
    clockid_t kinds[] = { CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW };
    const char *names[] = { "monotonic", "real", "boot", "raw" };
    int64_t before[4] = { 0 }, looks = 0;
    uint64_t low, high, tsc = 0;
    while (!stopped())
        for (int i = 0; i < 1000; i++, looks++) {
            int64_t now = ns(kinds[i % 4]);
            asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high));
            if (now < before[i % 4] || (high << 32 | low) < tsc) {
                printf("FAILED: %s time went from %ld to %ld, the counter from %lu\n", names[i % 4], before[i % 4], now,
                       tsc);
                return 1;
            }
            before[i % 4] = now;
            tsc = high << 32 | low;
            if (i % 100 == 0)
                usleep(1000);
        }
    printf("clocks: %ld looks\n", looks);
    return 0;
}

static int ticks(void)
{
    unsigned count = 0;
    for (; !stopped(); usleep(5000))
        printf("tick %u\n", count++);
    printf("ticks: %u\n", count);
    return 0;
}

static void begin(int (*what)(void))
{
    if (fork() == 0) {
        setvbuf(stdout, NULL, _IOLBF, 0);
        exit(what());
    }
}

int main(int count, char **words)
{
    int status, failed = 0;
    stop = words[1];
    begin(clocks);
    begin(ticks);
    for (int i = 2; i < count; i++)
        for (int which = 0; which < WRITERS; which++)
            if (fork() == 0)
                return writer(words[i], which);
    while (wait(&status) > 0)
        failed += status != 0;
    printf("writer: %d failed\n", failed);
    return failed;
}
