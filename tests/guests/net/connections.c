/*
 * Many TCP connections from a guest, each checked:
 *
 *     connections parallel ADDRESS PORT COUNT   all open at once; each says its number, closes its half, and hears it back
 *     connections short ADDRESS PORT COUNT      one after another, eight at a time; each says a word, which it hears
 *     connections served ADDRESS PORT COUNT     the same, but for who says a word and closes first: the other end
 *     connections reset ADDRESS PORT COUNT      each is reset in its middle
 *     connections lost ADDRESS PORT             one that is given up because nobody answers
 *     connections datagram ADDRESS PORT COUNT   by UDP; each is heard back
 *
 * ADDRESS is an IPv4 or IPv6 address.  Prints what was done; exit status 0 if all went well.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 1024, PATIENCE = 60000 };

static struct sockaddr_storage target;
static socklen_t target_size;

static void resolve(const char *text, int port)
{
    struct sockaddr_in *v4 = (void *)&target;
    struct sockaddr_in6 *v6 = (void *)&target;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET, v4->sin_port = htons(port), target_size = sizeof *v4;
    } else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6, v6->sin6_port = htons(port), target_size = sizeof *v6;
    } else {
        exit(2);
    }
}

static int fail(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    return 1;
}

static int begin(int flags)
{
    int fd = socket(target.ss_family, SOCK_STREAM | flags, 0);
    if (fd < 0 || (connect(fd, (void *)&target, target_size) && errno != EINPROGRESS))
        exit(fail("connect"));
    return fd;
}

static int parallel(int count)
{
    static int fds[MOST];
    char said[32], heard[64];
    for (int i = 0; i < count; i++)
        fds[i] = begin(SOCK_NONBLOCK);
    for (int i = 0; i < count; i++) {
        struct pollfd poll_out = { fds[i], POLLOUT, 0 };
        int error = 0;
        socklen_t size = sizeof error;
        if (poll(&poll_out, 1, PATIENCE) != 1 || getsockopt(fds[i], SOL_SOCKET, SO_ERROR, &error, &size) || error)
            return errno = error, fail("parallel connect");
    }
    for (int i = 0; i < count; i++) {
        int length = sprintf(said, "number %d\n", i);
        if (write(fds[i], said, length) != length || shutdown(fds[i], SHUT_WR))
            return fail("parallel write");
    }
    for (int i = count - 1; i >= 0; i--) {
        struct pollfd in = { fds[i], POLLIN, 0 };
        int have = 0, n = -1;
        while (n != 0) {
            if (poll(&in, 1, PATIENCE) != 1)
                return errno = ETIMEDOUT, fail("parallel read");
            n = read(fds[i], heard + have, sizeof heard - 1 - have);
            if (n < 0)
                return fail("parallel read");
            have += n;
        }
        heard[have] = 0;
        sprintf(said, "number %d\n", i);
        if (strcmp(said, heard))
            return printf("%d heard '%s'\n", i, heard), 1;
        close(fds[i]);
    }
    return 0;
}

static int shorts(int count, int asks)
{
    int fds[8];
    char heard[64];
    for (int done = 0; done < count; done += 8) {
        for (int i = 0; i < 8; i++)
            fds[i] = begin(SOCK_NONBLOCK);
        for (int i = 0; asks && i < 8; i++) {
            struct pollfd out = { fds[i], POLLOUT, 0 };
            if (poll(&out, 1, PATIENCE) != 1 || write(fds[i], "word", 4) != 4 || shutdown(fds[i], SHUT_WR))
                return fail("short write");
        }
        for (int i = 0; i < 8; i++) {
            struct pollfd in = { fds[i], POLLIN, 0 };
            if (poll(&in, 1, PATIENCE) != 1)
                return errno = ETIMEDOUT, fail("short");
            if (read(fds[i], heard, sizeof heard) != 4)
                return fail("short read");
            close(fds[i]);
        }
    }
    return 0;
}

static int resets(int count)
{
    struct linger now = { 1, 0 };
    char heard[64];
    for (int i = 0; i < count; i++) {
        int fd = begin(0);
        if (write(fd, "x", 1) != 1 || read(fd, heard, 1) != 1)
            return fail("reset");
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(fd);
    }
    return 0;
}

static int lost(void)
{
    int fd = begin(SOCK_NONBLOCK);
    struct pollfd out = { fd, POLLOUT, 0 };
    if (poll(&out, 1, 1500) == 1 && !(out.revents & (POLLERR | POLLHUP)))
        return printf("somebody answers\n"), 1;
    close(fd);
    return 0;
}

static int datagrams(int count)
{
    static char said[1400], heard[2048];
    int fd = socket(target.ss_family, SOCK_DGRAM, 0);
    if (connect(fd, (void *)&target, target_size))
        return fail("datagram");
    for (int i = 0; i < count; i++) {
        struct pollfd in = { fd, POLLIN, 0 };
        int size = 1 + i * 97 % (int)sizeof said;
        memset(said, 'a' + i % 26, size);
        if (send(fd, said, size, 0) != size || poll(&in, 1, 5000) != 1 || recv(fd, heard, sizeof heard, 0) != size)
            return fail("datagram");
        if (memcmp(said, heard, size))
            return printf("another datagram came\n"), 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int count = argc > 4 ? atoi(argv[4]) : 1, status = 2;
    setvbuf(stdout, NULL, _IONBF, 0);
    resolve(argv[2], atoi(argv[3]));
    if (!strcmp(argv[1], "parallel") && count <= MOST)
        status = parallel(count);
    else if (!strcmp(argv[1], "short") || !strcmp(argv[1], "served"))
        status = shorts(count, argv[1][1] == 'h');
    else if (!strcmp(argv[1], "reset"))
        status = resets(count);
    else if (!strcmp(argv[1], "lost"))
        status = lost();
    else if (!strcmp(argv[1], "datagram"))
        status = datagrams(count);
    printf("%s %d: %s\n", argv[1], count, status ? "FAILED" : "ok");
    return status;
}
