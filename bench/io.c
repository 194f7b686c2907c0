/* What a disk does, measured from inside: a line "TEST MILLISECONDS" on the standard input is answered by "TEST: rate
 * seconds".
 *
 *   io FILE            with O_DIRECT, as on a disk
 *   io FILE cached     through the page cache: what a guest's disk is to its host
 *
 * Rates are per second: MB (10^6 bytes) where the test moves 1 MB at a time, operations elsewhere. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define LARGE (1 << 20)
#define SMALL 4096
#define DEPTH 32
#define STRETCH 8               /* times LARGE */

static int direct, cached;      /* two descriptors of the same disk */
static uint64_t size;
static char *buffer;            /* of LARGE bytes */
static double lasted;           /* seconds that were measured last */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void check(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

static uint64_t anywhere(void)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % (size / SMALL) * SMALL;
}

static double sequential(int fd, int writes, double seconds)
{
    double begun = now(), spent;
    uint64_t at = 0, done = 0;
    do {
        ssize_t moved = writes ? pwrite(fd, buffer, LARGE, at) : pread(fd, buffer, LARGE, at);
        check(moved == LARGE, "1 MB");
        done += LARGE;
        at = at + 2 * LARGE > size ? 0 : at + LARGE;
    } while ((spent = now() - begun) < seconds);
    lasted = spent;
    return done / spent / 1e6;
}

/* What writes reach the disk when, the guest's cache decides; all have by the end of a stretch, and the last one counts
 * whole. */
static double write_behind(double seconds)
{
    double begun = now(), spent;
    uint64_t at = 0, done = 0;
    do {
        for (int i = 0; i < STRETCH; i++) {
            check(pwrite(cached, buffer, LARGE, at) == LARGE, "1 MB through the cache");
            done += LARGE;
            at = at + 2 * LARGE > size ? 0 : at + LARGE;
        }
        check(fsync(cached) == 0, "fsync");
    } while ((spent = now() - begun) < seconds);
    lasted = spent;
    return done / spent / 1e6;
}

/* The disk's own pages are not in the guest's cache: reading ahead is part of what is measured. */
static double read_ahead(double seconds)
{
    posix_fadvise(cached, 0, 0, POSIX_FADV_DONTNEED);
    double begun = now(), spent, outside = 0;
    uint64_t at = 0, done = 0;
    do {
        check(pread(cached, buffer, LARGE, at) == LARGE, "1 MB through the cache");
        done += LARGE;
        at += LARGE;
        if (at + LARGE > size) {
            double before = now();
            posix_fadvise(cached, 0, 0, POSIX_FADV_DONTNEED);
            outside += now() - before;
            at = 0;
        }
    } while ((spent = now() - begun - outside) < seconds);
    lasted = spent;
    return done / spent / 1e6;
}

static double one_at_a_time(int writes, double seconds)
{
    double begun = now(), spent;
    uint64_t done = 0;
    do {
        ssize_t moved = writes ? pwrite(direct, buffer, SMALL, anywhere()) : pread(direct, buffer, SMALL, anywhere());
        check(moved == SMALL, "4 KB");
        done++;
    } while ((spent = now() - begun) < seconds);
    lasted = spent;
    return done / spent;
}

static double many_at_a_time(int writes, double seconds)
{
    static struct iocb blocks[DEPTH];
    struct iocb *submitted[DEPTH];
    struct io_event events[DEPTH];
    aio_context_t context = 0;
    uint64_t done = 0;
    int free = DEPTH;
    check(syscall(SYS_io_setup, DEPTH, &context) == 0, "io_setup");
    for (int i = 0; i < DEPTH; i++)
        submitted[i] = &blocks[i];
    double begun = now(), spent;
    do {
        for (int i = 0; i < free; i++) {
            struct iocb *block = submitted[i];
            int slot = block - blocks;
            memset(block, 0, sizeof *block);
            block->aio_fildes = direct;
            block->aio_lio_opcode = writes ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
            block->aio_buf = (uintptr_t)(buffer + slot * SMALL);
            block->aio_nbytes = SMALL;
            block->aio_offset = anywhere();
            block->aio_data = (uintptr_t)block;
        }
        check(syscall(SYS_io_submit, context, (long)free, submitted) == free, "io_submit");
        free = syscall(SYS_io_getevents, context, 1L, (long)DEPTH, events, NULL);
        check(free > 0, "io_getevents");
        for (int i = 0; i < free; i++) {
            check(events[i].res == SMALL, "4 KB");
            submitted[i] = (struct iocb *)(uintptr_t)events[i].data;
        }
        done += free;
    } while ((spent = now() - begun) < seconds);
    for (int left = DEPTH - free; left > 0; left -= free)
        free = syscall(SYS_io_getevents, context, 1L, (long)DEPTH, events, NULL);
    syscall(SYS_io_destroy, context);
    lasted = spent;
    return done / spent;
}

static double durable(double seconds)
{
    double begun = now(), spent;
    uint64_t at = 0, done = 0;
    do {
        check(pwrite(cached, buffer, SMALL, at) == SMALL && fsync(cached) == 0, "4 KB, durable");
        at = at + 2 * SMALL > size ? 0 : at + SMALL;
        done++;
    } while ((spent = now() - begun) < seconds);
    lasted = spent;
    return done / spent;
}

static double measure(const char *test, double seconds)
{
    if (!strcmp(test, "read"))
        return sequential(direct, 0, seconds);
    if (!strcmp(test, "write"))
        return sequential(direct, 1, seconds);
    if (!strcmp(test, "ahead"))
        return read_ahead(seconds);
    if (!strcmp(test, "behind"))
        return write_behind(seconds);
    if (!strcmp(test, "read1"))
        return one_at_a_time(0, seconds);
    if (!strcmp(test, "write1"))
        return one_at_a_time(1, seconds);
    if (!strcmp(test, "read32"))
        return many_at_a_time(0, seconds);
    if (!strcmp(test, "write32"))
        return many_at_a_time(1, seconds);
    if (!strcmp(test, "fsync"))
        return durable(seconds);
    fprintf(stderr, "no test %s\n", test);
    exit(1);
}

int main(int argc, char **argv)
{
    char test[16];
    int milliseconds;
    struct termios terminal;
    if (argc < 2)
        return 1;
    if (!tcgetattr(0, &terminal)) {     /* a console: no echo, or questions and answers mix */
        terminal.c_lflag &= ~ECHO;
        tcsetattr(0, TCSANOW, &terminal);
    }
    direct = open(argv[1], O_RDWR | (argc > 2 ? 0 : O_DIRECT));
    cached = open(argv[1], O_RDWR);
    check(direct >= 0 && cached >= 0, argv[1]);
    size = lseek(direct, 0, SEEK_END);
    buffer = aligned_alloc(SMALL, LARGE);
    for (int i = 0; i < LARGE; i++)
        buffer[i] = (char)(i % 64 ? i * 31 >> 6 : (int)(anywhere() >> 12));    /* neither zeroes nor noise */
    printf("ready\n");
    fflush(stdout);
    while (scanf("%15s %d", test, &milliseconds) == 2 && milliseconds) {
        double rate = measure(test, milliseconds / 1e3);
        printf("%s: %.1f %.4f\n", test, rate, lasted);
        fflush(stdout);
    }
    return 0;
}
