/* A command that a guest is asked to run: over the socket of its process, or of the daemon's. */

#pragma once

#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

enum {
    PATIENCE = 5000, /* milliseconds for a guest to answer */
    MOMENT = 300,    /* milliseconds */
    NEWS = 4096,
    LINE = 1024,
    SIGNAL = 1, /* Word.SIGNAL of agent/words.py */
    RUNS = -1,
    TO_TELL = -2, /* its news are for who has the words */
};

enum handed { OTHERWISE, UNANSWERED, HANDED_OVER };

struct command {
    int control; /* what becomes of it (backends/streams/command.py) */
    struct streams streams;
    int signals; /* that are passed on to it */
    bool has_begun, is_interrupted, is_waited_for;
    char news[NEWS]; /* the last */
};

/* Have those that end a process wait; `signals` gets those that would end this one. */
static void block_signals(sigset_t *signals, sigset_t *before)
{
    static const int PASSED_ON[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
    sigset_t blocked;
    struct sigaction action;
    sigemptyset(signals);
    sigemptyset(&blocked);
    sigprocmask(SIG_BLOCK, NULL, before);
    for (size_t i = 0; i < sizeof PASSED_ON / sizeof *PASSED_ON; i++) {
        sigaddset(&blocked, PASSED_ON[i]);
        sigaction(PASSED_ON[i], NULL, &action);
        if (action.sa_handler != SIG_IGN && !sigismember(before, PASSED_ON[i]))
            sigaddset(signals, PASSED_ON[i]);
    }
    sigprocmask(SIG_BLOCK, &blocked, NULL);
}

/* Where this user's processes listen for each other (toolstack/runtime.py), if that is there and the user's. */
static bool find_folder(char path[PATH_MAX])
{
    const char *session = getenv("XDG_RUNTIME_DIR"), *temporary = getenv("TMPDIR");
    int size;
    if (session != NULL && *session == '/' && access(session, W_OK) == 0)
        size = snprintf(path, PATH_MAX, "%s/xenia", session);
    else
        size = snprintf(path, PATH_MAX, "%s/xenia-run-%u", temporary != NULL ? temporary : "/tmp", getuid());
    struct stat found;
    return size < PATH_MAX && lstat(path, &found) == 0 && found.st_uid == getuid() && S_ISDIR(found.st_mode);
}

static bool is_number_behind_a_dot(const char *text)
{
    return text[0] == '.' && text[1] != '\0' && text[1 + strspn(text + 1, "0123456789")] == '\0';
}

/* Where the guest answers; `is_daemons`: among others.  false: nowhere, or not only there. */
static bool find_guest(const char *guest, struct sockaddr_un *address, bool *is_daemons)
{
    char folder[PATH_MAX], name[NAME_MAX + 1] = "daemon";
    DIR *listed = find_folder(folder) ? opendir(folder) : NULL;
    if (listed == NULL)
        return false;
    size_t runs = 0, length = strlen(guest);
    *is_daemons = false;
    for (struct dirent *one; (one = readdir(listed)) != NULL;) {
        *is_daemons |= strcmp(one->d_name, "daemon") == 0;
        if (strncmp(one->d_name, guest, length) == 0 && is_number_behind_a_dot(one->d_name + length)) {
            runs++;
            snprintf(name, sizeof name, "%s", one->d_name);
        }
    }
    closedir(listed);
    address->sun_family = AF_UNIX;
    int size = snprintf(address->sun_path, sizeof address->sun_path, "%s/%s", folder, name);
    return size < (int)sizeof address->sun_path && runs + *is_daemons == 1;
}

/* Milliseconds of a clock that nobody sets. */
static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

/* false: not within that time. */
static bool await(int descriptor, short events, long long end)
{
    for (long long left; (left = end - now()) > 0;)
        if (poll(&(struct pollfd){.fd = descriptor, .events = events}, 1, (int)left) > 0)
            return true;
    return false;
}

/* What becomes of a line that open files go with: only an answer that is no error has the command run. */
static enum handed ask(const struct sockaddr_un *address, const char *line, const int *files, size_t count)
{
    static const char GOOD[] = "{\"answer\"";
    union {
        char bytes[CMSG_SPACE((STREAMS + 2) * sizeof(int))];
        struct cmsghdr aligned;
    } control = {0};
    struct iovec whole = {.iov_base = (char *)line, .iov_len = strlen(line)};
    struct msghdr message = {
        .msg_iov = &whole, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(count * sizeof(int)),
    };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){CMSG_LEN(count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(header), files, count * sizeof(int));
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (client < 0 || connect(client, (const struct sockaddr *)address, sizeof *address) != 0)
        return OTHERWISE;
    long long end = now() + PATIENCE;
    if (sendmsg(client, &message, MSG_NOSIGNAL) != (ssize_t)whole.iov_len)
        return OTHERWISE; /* half a line, which nobody obeys, or nothing: a new socket has room for it */
    char answer[sizeof GOOD - 1];
    size_t known = 0;
    for (ssize_t size = 1; size > 0 && known < sizeof answer; known += size > 0 ? (size_t)size : 0) {
        if (!await(client, POLLIN, end))
            return UNANSWERED;
        size = recv(client, answer + known, sizeof answer - known, 0);
    }
    close(client);
    return known == sizeof answer && memcmp(answer, GOOD, sizeof answer) == 0 ? HANDED_OVER : OTHERWISE;
}

/* Have it run.  `signals` is what it will be passed. */
static enum handed hand_over(struct command *command, const struct request *request, const sigset_t *signals)
{
    struct sockaddr_un address;
    bool is_daemons;
    int files[STREAMS + 2], ends[2], count = 2;
    char line[LINE];
    if (!find_guest(request->guest, &address, &is_daemons) || !take_streams(&command->streams, request->is_interactive)
        || (command->signals = signalfd(-1, signals, SFD_CLOEXEC)) < 0
        || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return OTHERWISE;
    const char *domain = is_daemons ? request->guest : "";
    int size = snprintf(line, sizeof line, "{\"verb\": \"exec\"%s%s%s, \"streams\": [",
                        is_daemons ? ", \"domain\": \"" : "", domain, is_daemons ? "\"" : "");
    if (size > LINE - 64)
        return OTHERWISE; /* such a guest has no name */
    files[0] = ends[0];
    files[1] = memfd_create("xenia-command", MFD_CLOEXEC);
    if (files[1] < 0 || write(files[1], request->bytes, request->size) != (ssize_t)request->size)
        return OTHERWISE;
    for (int here = 0; here < STREAMS; here++) {
        if (command->streams.files[here] < 0)
            continue;
        const char *comma = count > 2 ? ", " : "";
        size += snprintf(line + size, sizeof line - (size_t)size, "%s\"%s\"", comma, STREAM_NAMES[here]);
        files[count++] = command->streams.files[here];
    }
    snprintf(line + size, sizeof line - (size_t)size, "]}\n");
    enum handed handed = ask(&address, line, files, (size_t)count);
    command->control = ends[1];
    close(ends[0]);
    close(files[1]);
    let_go(&command->streams);
    return handed;
}

/* Say that the guest's agent is waited for, as cli/voice.py does, on a terminal; or take that off the screen. */
static void show_waiting(struct command *command, bool is_waited_for)
{
    const char *terminal = getenv("TERM"), *plain = getenv("NO_COLOR");
    bool has_colours = plain == NULL || *plain == '\0';
    if (is_waited_for == command->is_waited_for || !isatty(STDERR_FILENO)
        || (terminal != NULL && strcmp(terminal, "dumb") == 0))
        return;
    command->is_waited_for = is_waited_for;
    if (is_waited_for)
        dprintf(STDERR_FILENO, "\r\x1b[K%sxenia:%s waiting for the guest's agent", has_colours ? "\x1b[1m" : "",
                has_colours ? "\x1b[0m" : "");
    else
        dprintf(STDERR_FILENO, "\r\x1b[K");
}

/* The number in news of that kind; -1: they are of another, or it is no such number. */
static int number_of(const char *news, const char *kind, int most)
{
    size_t length = strlen(kind);
    if (strncmp(news, kind, length) != 0 || news[length] < '0' || news[length] > '9')
        return -1;
    char *end;
    long number = strtol(news + length, &end, 10);
    return strcmp(end, "}") == 0 && number <= most ? (int)number : -1;
}

/* What has become of it: RUNS, TO_TELL, or the exit status. */
static int hear(struct command *command)
{
    ssize_t size = recv(command->control, command->news, sizeof command->news - 1, 0);
    command->news[size > 0 ? size : 0] = '\0';
    command->has_begun = true;
    show_waiting(command, false);
    int status = number_of(command->news, "{\"status\": ", 255);
    int number = number_of(command->news, "{\"signal\": ", 127);
    if (status >= 0 || number >= 0)
        return status >= 0 ? status : 128 + number;
    return strncmp(command->news, "{\"started\": ", 12) == 0 ? RUNS : TO_TELL;
}

/* Send the command a signal; the exit status where it ends us instead. */
static int pass_on(struct command *command, int number)
{
    if (!command->has_begun || (number == SIGINT && command->is_interrupted)) {
        show_waiting(command, false);
        return 128 + number;
    }
    command->is_interrupted |= number == SIGINT;
    unsigned word = (unsigned)SIGNAL << 24 | (unsigned)number;
    send(command->control, &word, sizeof word, MSG_DONTWAIT | MSG_NOSIGNAL); /* unless it has ended, or takes no more */
    return RUNS;
}

/* Carry bytes and signals until it has ended, and what it wrote is out; the exit status, or TO_TELL. */
static int serve(struct command *command)
{
    enum { SIGNALS = STREAMS, CONTROL };
    struct pollfd polled[CONTROL + 1];
    for (int here = 0; here < STREAMS; here++)
        polled[here] = (struct pollfd){.fd = command->streams.carried[here], .events = POLLIN};
    polled[SIGNALS] = (struct pollfd){.fd = command->signals, .events = POLLIN};
    polled[CONTROL] = (struct pollfd){.fd = command->control, .events = POLLIN};
    int status = RUNS, carried = 0;
    for (int here = 0; here < STREAMS; here++)
        carried += polled[here].fd >= 0;
    for (int waiting = MOMENT; status == RUNS || carried > 0;) {
        int ready = poll(polled, CONTROL + 1, waiting);
        if (ready < 0)
            continue;
        if (ready == 0)
            show_waiting(command, true);
        waiting = -1;
        if (polled[CONTROL].revents != 0 && (status = hear(command)) != RUNS)
            polled[CONTROL].fd = -1;
        struct signalfd_siginfo signal;
        if (polled[SIGNALS].revents != 0 && read(polled[SIGNALS].fd, &signal, sizeof signal) == sizeof signal) {
            int ended = pass_on(command, (int)signal.ssi_signo);
            if (ended != RUNS)
                return ended;
        }
        for (int here = 0; here < STREAMS; here++)
            if (polled[here].revents != 0 && !carry(polled[here].fd, here)) {
                polled[here].fd = -1;
                carried--;
            }
    }
    return status;
}
