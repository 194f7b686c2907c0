/* The command's streams: ours, as they are; but a pipe for a terminal, which nobody else is given. */

#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

enum { STREAMS = 3, PIECE = 1 << 16 };

static const char *const STREAM_NAMES[STREAMS] = {"stdin", "stdout", "stderr"};

struct streams {
    int files[STREAMS];   /* what the command gets; -1: it has none */
    int carried[STREAMS]; /* what we bring to the terminal; -1: nothing */
};

/* A descriptor of our own that does not block, to the same pipe; -1: it is no pipe, or not ours to open.  The flags of
 * the one that there is are left alone, for other processes share them. */
static int open_again(int descriptor, int mode)
{
    char path[64], target[8] = "";
    struct stat found;
    if (fstat(descriptor, &found) != 0 || !S_ISFIFO(found.st_mode))
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    int own = open(path, mode | O_NONBLOCK | O_CLOEXEC);
    if (own < 0 || mode == O_WRONLY)
        return own;
    if (readlink(path, target, sizeof target - 1) >= 0 && strncmp(target, "pipe:", 5) == 0)
        return own;
    /* Who opens a FIFO hears no end (POLLHUP) of writers who had gone before: let him have had one. */
    int writer = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    close(writer >= 0 ? writer : own);
    return writer >= 0 ? own : -1;
}

/* false: one is closed, or they are not for us. */
static bool take_streams(struct streams *streams, bool is_interactive)
{
    struct stat found;
    for (int here = 0; here < STREAMS; here++)
        if (fstat(here, &found) != 0)
            return false;
    for (int here = 0; here < STREAMS; here++) {
        streams->files[here] = streams->carried[here] = -1;
        if (here == STDIN_FILENO && !is_interactive)
            continue;
        if (!isatty(here)) {
            int own = open_again(here, here == STDIN_FILENO ? O_RDONLY : O_WRONLY);
            streams->files[here] = own >= 0 ? own : here;
            continue;
        }
        int ends[2];
        if (here == STDIN_FILENO || pipe2(ends, O_CLOEXEC) != 0)
            return false;
        streams->carried[here] = ends[0];
        streams->files[here] = ends[1];
        if (fcntl(ends[1], F_SETFL, O_NONBLOCK) != 0)
            return false;
    }
    return true;
}

/* Close what was ours only to be handed over. */
static void let_go(const struct streams *streams)
{
    for (int here = 0; here < STREAMS; here++)
        if (streams->files[here] >= STREAMS)
            close(streams->files[here]);
}

/* Bring what has come to the terminal; whether there may be more. */
static bool carry(int source, int terminal)
{
    static char piece[PIECE];
    ssize_t size = read(source, piece, sizeof piece);
    if (size <= 0)
        return size < 0 && errno == EINTR;
    for (ssize_t done = 0; done < size;) {
        ssize_t written = write(terminal, piece + done, (size_t)(size - done));
        if (written >= 0)
            done += written;
        else if (errno == EAGAIN) /* somebody else has it so */
            poll(&(struct pollfd){.fd = terminal, .events = POLLOUT}, 1, -1);
        else if (errno != EINTR)
            return false; /* a terminal that hung up */
    }
    return true;
}
