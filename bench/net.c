/* What a network does, measured from inside.
 *
 *   net serve PORT             answers, for ever; says "serving" first
 *   net measure ADDRESS PORT   says "ready"; a line "TEST MILLISECONDS" on the standard input is answered by
 *                              "TEST: rate seconds"
 *
 * Rates are per second: MB (10^6 bytes) that arrived, elsewhere packets that arrived (of a flood: that were sent),
 * answers or connections.  The
 * first byte of a connection says what it is for. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define LARGE (256 << 10)
#define DATAGRAM 64
#define MOST 256                /* connections at once */
#define BATCH 64

enum { SINK = 'S', SOURCE = 'R', ANSWER = 'E', COUNT = 'U' };

static char buffer[LARGE];
static struct sockaddr_in server = { .sin_family = AF_INET };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void check(int good, const char *what)
{
    if (!good) {
        printf("%s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static void write_all(int fd, const void *data, size_t size)
{
    while (size) {
        ssize_t count = write(fd, data, size);
        check(count > 0, "write");
        data = (const char *)data + count;
        size -= count;
    }
}

static void read_all(int fd, void *data, size_t size)
{
    while (size) {
        ssize_t count = read(fd, data, size);
        check(count > 0, "read");
        data = (char *)data + count;
        size -= count;
    }
}

/* --- the server ------------------------------------------------------------------------------------------------ */

static uint64_t nr_datagrams, received[MOST];
static char purpose[MOST];      /* 0: it has not said */
static struct pollfd polls[MOST];
static int nr_polls;

static void drop(int index)
{
    close(polls[index].fd);
    nr_polls--;
    polls[index] = polls[nr_polls];
    purpose[index] = purpose[nr_polls];
    received[index] = received[nr_polls];
}

static int serve_one(int index)         /* 0: it is over */
{
    int fd = polls[index].fd;
    ssize_t count;
    if (!purpose[index]) {
        if (read(fd, &purpose[index], 1) != 1)
            return 0;
        received[index] = 0;
        if (purpose[index] == COUNT)
            return write(fd, &nr_datagrams, 8) == 8 && 0;
        polls[index].events = purpose[index] == SOURCE ? POLLOUT : POLLIN;
        return 1;
    }
    if (purpose[index] == SOURCE) {
        count = write(fd, buffer, LARGE);
        return count > 0 || errno == EAGAIN;
    }
    count = read(fd, buffer, purpose[index] == ANSWER ? 1 : LARGE);
    if (count < 0)
        return errno == EAGAIN;
    received[index] += count;
    if (purpose[index] == ANSWER)
        return count == 1 && write(fd, buffer, 1) == 1;
    if (count == 0)
        return write(fd, &received[index], 8) == 8 && 0;
    return 1;
}

static void take_datagrams(int fd)
{
    static char data[BATCH][DATAGRAM];
    struct mmsghdr messages[BATCH] = { 0 };
    struct iovec parts[BATCH];
    int count;
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){ data[i], DATAGRAM };
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
    nr_datagrams += count > 0 ? count : 0;
}

static void serve(void)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), datagrams = socket(AF_INET, SOCK_DGRAM, 0), on = 1, large = 4 << 20;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(datagrams, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
    check(!bind(listener, (void *)&server, sizeof(server)) && !listen(listener, 128), "listen");
    check(!bind(datagrams, (void *)&server, sizeof(server)), "bind");
    polls[0] = (struct pollfd){ listener, POLLIN, 0 };
    polls[1] = (struct pollfd){ datagrams, POLLIN, 0 };
    nr_polls = 2;
    printf("serving\n");
    for (;;) {
        check(poll(polls, nr_polls, -1) > 0, "poll");
        if (polls[1].revents)
            take_datagrams(datagrams);
        for (int i = nr_polls - 1; i >= 2; i--)
            if (polls[i].revents && !serve_one(i))
                drop(i);
        if (polls[0].revents && nr_polls < MOST) {
            int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (fd >= 0) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
                purpose[nr_polls] = 0;
                polls[nr_polls++] = (struct pollfd){ fd, POLLIN, 0 };
            }
        }
    }
}

/* --- who measures ---------------------------------------------------------------------------------------------- */

static int connected(char what)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct linger reset = { 1, 0 };         /* no port waits for another 60 s */
    check(!connect(fd, (void *)&server, sizeof(server)), "connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (what != SINK)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    write_all(fd, &what, 1);
    return fd;
}

static double bulk(int streams, int out, double until)      /* bytes that arrived */
{
    struct pollfd ends[8];
    uint64_t all = 0, one;
    for (int i = 0; i < streams; i++) {
        ends[i] = (struct pollfd){ connected(out ? SINK : SOURCE), out ? POLLOUT : POLLIN, 0 };
        fcntl(ends[i].fd, F_SETFL, O_NONBLOCK);
    }
    while (now() < until) {
        poll(ends, streams, 100);
        for (int i = 0; i < streams; i++)
            if (ends[i].revents) {
                ssize_t count = out ? write(ends[i].fd, buffer, LARGE) : read(ends[i].fd, buffer, LARGE);
                check(count > 0 || errno == EAGAIN, "stream");
                all += !out && count > 0 ? count : 0;
            }
    }
    for (int i = 0; i < streams; i++)
        if (out)
            shutdown(ends[i].fd, SHUT_WR);
    for (int i = 0; i < streams; i++) {
        fcntl(ends[i].fd, F_SETFL, 0);
        if (out) {
            read_all(ends[i].fd, &one, 8);
            all += one;
        }
        close(ends[i].fd);
    }
    return all;
}

static uint64_t datagrams_received(void)
{
    uint64_t count;
    int fd = connected(COUNT);
    read_all(fd, &count, 8);
    close(fd);
    return count;
}

static double datagrams(double until)
{
    uint64_t before = datagrams_received();
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    connect(fd, (void *)&server, sizeof(server));
    while (now() < until)
        for (int i = 0; i < 16; i++)
            send(fd, buffer, DATAGRAM, 0);
    close(fd);
    return datagrams_received() - before;
}

static double flood(double until, int all)      /* nobody counts what arrives, and nobody need listen there */
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    double count = 0;
    struct sockaddr_in to = server;
    if (all)                    /* of a network with 256 addresses */
        to.sin_addr.s_addr |= htonl(255);
    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on));
    connect(fd, (void *)&to, sizeof(to));
    while (now() < until)
        for (int i = 0; i < 16; i++)
            count += send(fd, buffer, DATAGRAM, 0) == DATAGRAM;
    close(fd);
    return count;
}

static double compute(double until)    /* no network at all: what a neighbour costs that only keeps a processor busy */
{
    volatile double count = 0;
    while (now() < until)
        for (int i = 0; i < 1000; i++)
            count++;
    return count;
}

static double answers(double until)
{
    int fd = connected(ANSWER);
    double count = 0;
    for (; now() < until; count++) {
        write_all(fd, buffer, 1);
        read_all(fd, buffer, 1);
    }
    close(fd);
    return count;
}

static double connections(double until)
{
    double count = 0;
    for (; now() < until; count++) {
        int fd = connected(ANSWER);
        write_all(fd, buffer, 1);
        read_all(fd, buffer, 1);
        close(fd);
    }
    return count;
}

static double measure(const char *test, double until)       /* how much; -1: no such test */
{
    if (!strncmp(test, "out", 3))
        return bulk(atoi(test + 3), 1, until) / 1e6;
    if (!strncmp(test, "in", 2))
        return bulk(atoi(test + 2), 0, until) / 1e6;
    if (!strcmp(test, "datagrams"))
        return datagrams(until);
    if (!strcmp(test, "flood") || !strcmp(test, "shout"))
        return flood(until, *test == 's');
    if (!strcmp(test, "compute"))
        return compute(until);
    if (!strcmp(test, "answers"))
        return answers(until);
    return strcmp(test, "connections") ? -1 : connections(until);
}

int main(int argc, char **argv)
{
    char line[64], test[32];
    int milliseconds;
    struct termios terminal;
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 3)
        return 2;
    server.sin_port = htons(atoi(argv[argc - 1]));
    if (!strcmp(argv[1], "serve"))
        serve();
    inet_aton(argv[2], &server.sin_addr);
    if (!tcgetattr(0, &terminal)) {         /* questions are not to be echoed */
        terminal.c_lflag &= ~(ECHO | ICANON);
        tcsetattr(0, TCSANOW, &terminal);
    }
    printf("ready\n");
    while (fgets(line, sizeof(line), stdin) && sscanf(line, "%31s %d", test, &milliseconds) == 2) {
        double begun = now(), amount = measure(test, begun + milliseconds / 1000.0), lasted = now() - begun;
        if (amount < 0)
            break;
        printf("%s: %.3f %.6f\n", test, amount / lasted, lasted);
    }
    return 0;
}
