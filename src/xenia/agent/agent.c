/*
 * The guest agent: process 1 of a Linux guest that Xenia boots.
 *
 * It makes the usual mounts, loads the kernel modules it is told to, and then, as its configuration says, either gives a
 * shell on the console (mode=shell), or runs one command whose standard streams and exit status it carries over the
 * console in records (mode=command); see toolstack/agent.py for the protocol.  When that ends, it powers the guest off.
 *
 * Where the kernel's command line says root=, the file system there takes the place of the initial RAM disk (root.h).
 * A command then runs in it; instead of a shell, its own init takes over and nothing of the agent is left.
 *
 * The configuration is a file of NUL-terminated "key=value" strings: /xenia.conf, or argv[1] when the agent is not
 * process 1 (then it touches nothing but its standard input and output, which stand for the console: so it can be tested).
 *
 * Freestanding: no C library, x86-64 Linux system calls only, so that it is one small static file.
 */
#include "linux.h"
#include "root.h"

/* --- configuration */

enum { MAX_ARGS = 4096, MAX_ENV = 1024, MAX_MODULES = 256, CONF_SIZE = 1 << 20 };

static char conf[CONF_SIZE + 1];
static const char *args[MAX_ARGS + 1], *environment[MAX_ENV + 1];
static char *modules[MAX_MODULES];      /* "PATH" or "PATH OPTIONS" */
static u32 nr_args, nr_env, nr_modules;
static const char *search_path = "/bin", *directory = "/", *hostname, *greeting;
static u32 is_command, rows, columns;

static int read_conf(const char *path)
{
    s64 fd = call2(SYS_open, path, O_RDONLY | O_CLOEXEC);
    u64 size = 0;
    s64 n;
    if (fd < 0)
        return -1;
    while (size < CONF_SIZE && (n = call3(SYS_read, fd, conf + size, CONF_SIZE - size)) > 0)
        size += (u64)n;
    call1(SYS_close, fd);
    for (const char *at = conf; at < conf + size; at += length_of(at) + 1) {
        const char *value;
        if ((value = value_of(at, "mode")))
            is_command = is_same(value, "command");
        else if ((value = value_of(at, "module")) && nr_modules < MAX_MODULES)
            modules[nr_modules++] = (char *)value;
        else if ((value = value_of(at, "arg")) && nr_args < MAX_ARGS)
            args[nr_args++] = value;
        else if ((value = value_of(at, "env")) && nr_env < MAX_ENV)
            environment[nr_env++] = value;
        else if ((value = value_of(at, "cwd")))
            directory = value;
        else if ((value = value_of(at, "hostname")))
            hostname = value;
        else if ((value = value_of(at, "greeting")))
            greeting = value;
        else if ((value = value_of(at, "rows")))
            rows = number_of(value);
        else if ((value = value_of(at, "columns")))
            columns = number_of(value);
    }
    for (u32 i = 0; i < nr_env; i++) {
        const char *value = value_of(environment[i], "PATH");
        if (value)
            search_path = value;
    }
    return 0;
}

/* --- process 1's own duties */

static void mount_all(void)
{
    static const struct { const char *type, *target, *options; } mounts[] = {
        { "devtmpfs", "/dev", "mode=0755" },
        { "devpts", "/dev/pts", "mode=0620,gid=5,ptmxmode=0666" },
        { "tmpfs", "/dev/shm", "mode=1777" },
        { "proc", "/proc", 0 },
        { "sysfs", "/sys", 0 },
        { "tmpfs", "/run", "mode=0755" },
        { "tmpfs", "/tmp", "mode=1777" },
    };
    static const char *const links[][2] = {
        { "/proc/self/fd", "/dev/fd" }, { "fd/0", "/dev/stdin" }, { "fd/1", "/dev/stdout" }, { "fd/2", "/dev/stderr" },
    };
    for (u32 i = 0; i < sizeof mounts / sizeof *mounts; i++) {
        call2(SYS_mkdir, mounts[i].target, 0755);
        call5(SYS_mount, mounts[i].type, mounts[i].target, mounts[i].type, 0, mounts[i].options);
    }
    for (u32 i = 0; i < sizeof links / sizeof *links; i++)
        call2(SYS_symlink, links[i][0], links[i][1]);
}

static void load_modules(void)
{
    for (u32 i = 0; i < nr_modules; i++) {
        char *options = modules[i];
        while (*options && *options != ' ')
            options++;
        if (*options)
            *options++ = 0;
        s64 fd = call2(SYS_open, modules[i], O_RDONLY | O_CLOEXEC);
        if (fd < 0 || call3(SYS_finit_module, fd, options, 0) < 0) {
            say(2, "xenia: cannot load ");
            say(2, modules[i]);
            say(2, "\n");
        }
        call1(SYS_close, fd);
    }
}

static void loopback_up(void)
{
    enum { AF_INET = 2, SOCK_DGRAM = 2, SIOCSIFFLAGS = 0x8914, IFF_UP = 1 };
    struct { char name[16]; short flags; char rest[22]; } request = { "lo", IFF_UP, { 0 } };
    s64 fd = call3(SYS_socket, AF_INET, SOCK_DGRAM, 0);
    if (fd >= 0) {
        call3(SYS_ioctl, fd, SIOCSIFFLAGS, &request);
        call1(SYS_close, fd);
    }
}

/* What busybox's halt, poweroff and reboot ask of process 1, by signal. */
enum { END_SIGNALS = SIGNAL_BIT(SIGUSR1) | SIGNAL_BIT(SIGUSR2) | SIGNAL_BIT(SIGTERM) };
static u64 how_to_end = REBOOT_POWER_OFF;

static int is_end_signal(u32 signal)
{
    if (!(END_SIGNALS & SIGNAL_BIT(signal)))
        return 0;
    how_to_end = signal == SIGTERM ? REBOOT_RESTART : REBOOT_POWER_OFF;
    return 1;
}

/* End all other processes and let what they wrote reach the disks; a root file system is clean then. */
static void settle(void)
{
    int status;
    call2(SYS_kill, -1, SIGKILL);
    while (call4(SYS_wait4, -1, &status, 0, 0) > 0)
        ;
    call0(SYS_sync);
    call5(SYS_mount, 0, "/", 0, MS_REMOUNT | MS_RDONLY, 0);
}

static void __attribute__((noreturn)) end_guest(int is_init, int console)
{
    call3(SYS_ioctl, console, TCSBRK, 1);           /* wait until it is written */
    if (is_init) {
        settle();
        call4(SYS_reboot, REBOOT_MAGIC1, REBOOT_MAGIC2, how_to_end, 0);
    }
    for (;;)
        call1(SYS_exit, 0);
}

/* Run args[] with the signal mask cleared, looked up along PATH as a shell does; does not return. */
static void __attribute__((noreturn)) execute(void)
{
    static char path[4096 + 256];
    static const u64 no_signals = 0;
    const char *name = args[0], *at = name;
    s64 error = -ENOENT;
    int status;
    call4(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, 0, sizeof no_signals);
    if (call1(SYS_chdir, directory) < 0) {
        say(2, "xenia: no directory ");
        say(2, directory);
        say(2, "\n");
        call1(SYS_exit, 126);
    }
    while (*at && *at != '/')
        at++;
    if (*at == '/') {
        error = call3(SYS_execve, name, args, environment);
    } else if (*name) {
        u64 name_length = length_of(name);
        for (const char *start = search_path, *end;; start = end + 1) {
            for (end = start; *end && *end != ':'; end++)
                ;
            u64 length = (u64)(end - start);
            if (length && length + name_length + 2 <= sizeof path) {
                memcpy(path, start, length);
                path[length] = '/';
                memcpy(path + length + 1, name, name_length + 1);
                s64 failure = call3(SYS_execve, path, args, environment);
                if (failure != -ENOENT && failure != -ENOTDIR)
                    error = failure;
            }
            if (!*end)
                break;
        }
    }
    status = error == -ENOENT || error == -ENOTDIR ? 127 : 126;
    say(2, "xenia: ");
    say(2, name);
    say(2, status == 127 ? ": not found\n" : ": cannot be executed\n");
    for (;;)
        call1(SYS_exit, status);
}

/* --- mode=shell */

static void set_window_size(int console)
{
    struct { u16 rows, columns, x, y; } size = { (u16)rows, (u16)columns, 0, 0 };
    if (rows && columns)
        call3(SYS_ioctl, console, TIOCSWINSZ, &size);
}

static void run_shell(int is_init)
{
    static const u64 awaited = END_SIGNALS | SIGNAL_BIT(SIGCHLD);
    call4(SYS_rt_sigprocmask, SIG_SETMASK, &awaited, 0, sizeof awaited);
    s64 child = call0(SYS_fork);
    if (child == 0) {
        int console = 0;
        call0(SYS_setsid);
        if (is_init) {
            console = (int)call2(SYS_open, "/dev/hvc0", O_RDWR);
            if (console < 0)
                console = (int)call2(SYS_open, "/dev/console", O_RDWR);
            for (int fd = 0; fd < 3; fd++)
                call2(SYS_dup2, console, fd);
            if (console > 2)
                call1(SYS_close, console);
            set_window_size(0);
        }
        call3(SYS_ioctl, 0, TIOCSCTTY, 1);
        if (greeting)
            say(1, greeting);
        execute();
    }
    for (;;) {
        s64 pid, signal = call4(SYS_rt_sigtimedwait, &awaited, 0, 0, sizeof awaited);
        int status;
        if (signal > 0 && is_end_signal((u32)signal))
            return;
        while ((pid = call4(SYS_wait4, -1, &status, WNOHANG, 0)) > 0)
            if (pid == child)
                return;
    }
}

/* --- mode=command: records on the console */

enum {
    RECORD = 256, HEADER = 8, PAYLOAD = RECORD - HEADER, WINDOW = 64 << 10,
    /* from the guest */
    HELLO = 1, STDOUT = 2, STDERR = 3, CREDIT = 4, EXITED = 5, KILLED = 6,
    /* from the host */
    STDIN = 16, STDIN_END = 17, SIGNAL = 18,
    VERSION = 1,
};

static const u8 magic[3] = { 0x10, 0xf5, 'X' };

static u16 check_of(const u8 *header)
{
    u32 sum = 0x5a;
    for (u32 i = 0; i < 6; i++)
        sum = sum * 31 + header[i];
    return (u16)sum;
}

static void put_header(u8 *record, u32 type, u32 length)
{
    memcpy(record, magic, 3);
    record[3] = (u8)type;
    record[4] = (u8)length;
    record[5] = (u8)(length >> 8);
    u16 check = check_of(record);
    record[6] = (u8)check;
    record[7] = (u8)(check >> 8);
}

static void send(int console, u32 type, const void *data, u32 length)
{
    u8 record[RECORD];
    put_header(record, type, length);
    memcpy(record + HEADER, data, length);
    write_all(console, record, HEADER + length);
}

static void send_number(int console, u32 type, u32 value)
{
    u8 bytes[4] = { (u8)value, (u8)(value >> 8), (u8)(value >> 16), (u8)(value >> 24) };
    send(console, type, bytes, 4);
}

/* Move what one of the command's output pipes holds, or some of it, to the console; how much that was, 0 at the end. */
static s64 forward(int console, u32 type, int pipe)
{
    static u8 data[16 * PAYLOAD], records[16 * RECORD];
    s64 n = call3(SYS_read, pipe, data, sizeof data);
    u64 size = 0;
    if (n <= 0)
        return n == -EAGAIN || n == -EINTR ? -1 : 0;
    for (s64 at = 0; at < n; at += PAYLOAD) {       /* full records, so that each is one chunk of the console driver */
        u32 length = (u32)(n - at < PAYLOAD ? n - at : PAYLOAD);
        put_header(records + size, type, length);
        memcpy(records + size + HEADER, data + at, length);
        size += HEADER + length;
    }
    write_all(console, records, size);
    return n;
}

/* When the command has ended, what it wrote is still in its pipes.  What its children go on to write is not waited for. */
static void drain(int console, u32 type, int pipe)
{
    int left = 0;
    call3(SYS_ioctl, pipe, FIONREAD, &left);
    while (left > 0) {
        s64 n = forward(console, type, pipe);
        if (n <= 0)
            return;
        left -= (int)n;
    }
}

struct Input {              /* what arrived for the command and is not yet in its pipe: a ring of WINDOW bytes */
    u8 ring[WINDOW];
    u32 head, used;
    u32 owed;               /* bytes passed on and not yet granted to the host again */
    int pipe;               /* -1: closed */
    int ended;
};

static void close_input(struct Input *input)
{
    if (input->pipe >= 0)
        call1(SYS_close, input->pipe);
    input->pipe = -1;
}

static void pump_input(struct Input *input, int console)
{
    while (input->used && input->pipe >= 0) {
        u32 run = WINDOW - input->head < input->used ? WINDOW - input->head : input->used;
        s64 n = call3(SYS_write, input->pipe, input->ring + input->head, run);
        if (n == -EAGAIN || n == -EINTR)
            break;
        if (n <= 0) {
            close_input(input);     /* nobody reads any more */
            break;
        }
        input->head = (input->head + (u32)n) % WINDOW;
        input->used -= (u32)n;
        input->owed += (u32)n;
    }
    if (input->ended && !input->used)
        close_input(input);
    if (input->pipe < 0)            /* what arrives now has no reader, and no more is asked for */
        input->used = input->owed = 0;
    if (input->owed >= WINDOW / 4 || (input->owed && !input->used)) {
        send_number(console, CREDIT, input->owed);
        input->owed = 0;
    }
}

struct Parser {
    u8 record[RECORD];
    u32 have;
};

static void take_record(const u8 *record, struct Input *input, s64 child)
{
    u32 length = record[4] | (u32)record[5] << 8;
    switch (record[3]) {
    case STDIN:
        if (length <= WINDOW - input->used)
            for (u32 i = 0; i < length; i++)
                input->ring[(input->head + input->used++) % WINDOW] = record[HEADER + i];
        break;
    case STDIN_END:
        input->ended = 1;
        break;
    case SIGNAL:
        if (length == 1 && child > 0)
            call2(SYS_kill, -child, record[HEADER]);
        break;
    }
}

static void parse(struct Parser *parser, const u8 *data, u32 length, struct Input *input, s64 child)
{
    for (u32 i = 0; i < length; i++) {
        u8 *record = parser->record;
        record[parser->have++] = data[i];
        if (parser->have <= 3) {
            if (record[parser->have - 1] != magic[parser->have - 1])
                parser->have = data[i] == magic[0] ? (record[0] = magic[0], 1) : 0;
            continue;
        }
        if (parser->have < HEADER)
            continue;
        u32 size = record[4] | (u32)record[5] << 8;
        if (size > PAYLOAD || check_of(record) != (u16)(record[6] | record[7] << 8)) {
            parser->have = 0;
            continue;
        }
        if (parser->have == HEADER + size) {
            take_record(record, input, child);
            parser->have = 0;
        }
    }
}

static void make_raw(int console)
{
    struct { u32 iflag, oflag, cflag, lflag; u8 line, cc[19]; u8 spare[28]; } mode;
    if (call3(SYS_ioctl, console, TCGETS, &mode) < 0)
        return;
    mode.iflag = 0;
    mode.oflag = 0;
    mode.lflag = 0;
    mode.cflag = (mode.cflag & ~0x130u) | 0x30;     /* 8 bits, no parity */
    mode.cc[6] = 1;                                 /* VMIN */
    mode.cc[5] = 0;                                 /* VTIME */
    call3(SYS_ioctl, console, TCSETS, &mode);
}

static void run_command(int is_init, int console)
{
    static struct Input input;
    static struct Parser parser;
    int in[2], out[2], err[2], status = 0, running = 1;
    u8 hello[5] = { VERSION, (u8)WINDOW, (u8)(WINDOW >> 8), (u8)(WINDOW >> 16), (u8)(WINDOW >> 24) };

    call2(SYS_pipe2, in, O_CLOEXEC);
    call2(SYS_pipe2, out, O_CLOEXEC);
    call2(SYS_pipe2, err, O_CLOEXEC);
    u64 awaited = SIGNAL_BIT(SIGCHLD) | (is_init ? END_SIGNALS : 0);
    u64 mask = awaited | SIGNAL_BIT(SIGPIPE);       /* that one because writing tells */
    call4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, sizeof mask);
    s64 signals = call4(SYS_signalfd4, -1, &awaited, sizeof awaited, O_CLOEXEC | O_NONBLOCK);

    s64 child = call0(SYS_fork);
    if (child == 0) {
        call0(SYS_setsid);
        call2(SYS_dup2, in[0], 0);
        call2(SYS_dup2, out[1], 1);
        call2(SYS_dup2, err[1], 2);
        execute();
    }
    call1(SYS_close, in[0]);
    call1(SYS_close, out[1]);
    call1(SYS_close, err[1]);
    call3(SYS_fcntl, in[1], F_SETFL, O_NONBLOCK);
    call3(SYS_fcntl, out[0], F_SETFL, O_NONBLOCK);
    call3(SYS_fcntl, err[0], F_SETFL, O_NONBLOCK);
    input.pipe = in[1];
    send(console, HELLO, hello, sizeof hello);

    int out_open = 1, err_open = 1;
    while (running) {
        struct { int fd; short events, revents; } wait[5] = {
            { (int)signals, POLLIN, 0 },
            { console, POLLIN, 0 },
            { out_open ? out[0] : -1, POLLIN, 0 },
            { err_open ? err[0] : -1, POLLIN, 0 },
            { input.pipe, input.used ? POLLOUT : 0, 0 },
        };
        if (call3(SYS_poll, wait, 5, -1) < 0)
            continue;
        if (wait[1].revents & POLLIN) {
            static u8 data[4096];
            s64 n = call3(SYS_read, console, data, sizeof data);
            if (n > 0)
                parse(&parser, data, (u32)n, &input, child);
        } else if (wait[1].revents & (POLLHUP | POLLERR)) {
            call2(SYS_kill, -child, SIGHUP);        /* the console is gone */
            return;
        }
        if (wait[2].revents)
            out_open = forward(console, STDOUT, out[0]) != 0;
        if (wait[3].revents)
            err_open = forward(console, STDERR, err[0]) != 0;
        if (wait[4].revents & (POLLERR | POLLHUP))
            close_input(&input);
        pump_input(&input, console);
        if (wait[0].revents) {
            u32 info[32];                           /* struct signalfd_siginfo: the signal's number comes first */
            s64 pid;
            int one;
            while (call3(SYS_read, signals, info, sizeof info) > 0)
                if (is_end_signal(info[0]))
                    return;
            while ((pid = call4(SYS_wait4, -1, &one, WNOHANG, 0)) > 0)
                if (pid == child)
                    status = one, running = 0;
        }
    }
    drain(console, STDOUT, out[0]);
    drain(console, STDERR, err[0]);
    if (is_init)
        settle();                                   /* the host may end the guest at the next word */
    if (status & 0x7f)
        send_number(console, KILLED, status & 0x7f);
    else
        send_number(console, EXITED, status >> 8 & 0xff);
}

/* --- start */

/* Tell why there is no root file system, and end. */
static void __attribute__((noreturn)) fail_root(int console)
{
    if (is_command) {
        send(console, STDERR, root_failure, (u32)length_of(root_failure));
        send_number(console, EXITED, 126);
        end_guest(1, console);
    }
    say(2, root_failure);
    call3(SYS_ioctl, 2, TCSBRK, 1);
    write_all(quiet_printk, "0 0 0 0", 7);          /* that line is what there is to know of the panic to come */
    for (;;)
        call1(SYS_exit, 1);
}

__attribute__((noreturn, used)) static void start(u64 *stack)
{
    int is_init = call0(SYS_getpid) == 1, console = 0;
    const char **argv = (const char **)stack + 1, **envp = argv + stack[0] + 1;
    const char *path = "/xenia.conf";
    if (!is_init) {
        if (stack[0] < 2) {
            say(2, "usage: agent CONF (on a terminal as standard input); it is meant to be process 1 of a guest\n");
            for (;;)
                call1(SYS_exit, 2);
        }
        path = argv[1];
    }
    int has_conf = read_conf(path) == 0;
    if (!nr_args)
        args[nr_args++] = "/bin/sh";
    if (is_init) {
        mount_all();
        if (!has_conf)
            say(2, "xenia: no /xenia.conf\n");
        if (hostname)
            call2(SYS_sethostname, hostname, length_of(hostname));
        loopback_up();
        load_modules();
    }
    if (is_command) {
        if (is_init) {
            call3(SYS_syslog, SYSLOG_CONSOLE_LEVEL, 0, 1);      /* from here on the kernel speaks up in emergencies only */
            console = (int)call2(SYS_open, "/dev/hvc0", O_RDWR | O_NOCTTY | O_CLOEXEC);
            if (console < 0)
                console = 0;
        }
        make_raw(console);
    }
    if (is_init && read_kernel_words() && !take_root(is_command))
        fail_root(console);
    if (is_command) {
        run_command(is_init, console);
    } else if (is_init && root_device) {
        set_window_size(0);
        become_init(argv, envp);
        fail_root(console);
    } else {
        run_shell(is_init);
    }
    end_guest(is_init, console);
}

__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n");
