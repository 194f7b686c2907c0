/*
 * The guest agent: process 1 of a Linux guest that Xenia boots.
 *
 * It makes the usual mounts, loads the kernel modules it is told to, and then, as its configuration says, either gives
 * a shell on the console (mode=shell), or a command there (mode=screen), or runs one command whose standard streams and
 * exit status it carries over the console in records (mode=command); see agent/protocol.py for the protocol.  When that
 * ends, it powers the guest off.
 *
 * Where the kernel's command line says root=, the file system there takes the place of the initial RAM disk (root.h).
 * A command then runs in it; instead of a shell, its own init takes over and nothing of the agent is left.
 *
 * The configuration is a file of NUL-terminated "key=value" strings: /xenia.conf, or argv[1] when the agent is not
 * process 1 (then it touches nothing but its standard input and output, which stand for the console: so it can be
 * tested).
 *
 * Freestanding: no C library, x86-64 Linux system calls only, so that it is one small static file.
 */
#include "linux.h"
#include "root.h"
#include "memory.h"
#include "rings.h"
#include "store.h"
#include "window.h"

static const char *hostname;

#include "network.h"
#include "shares.h"
#include "cpus.h"

/* --- configuration */

enum { CONF_SIZE = 1 << 20, MAX_ARGS = CONF_SIZE / sizeof "arg=", MAX_ENV = MAX_ARGS, MAX_MODULES = 256 };

static char conf[CONF_SIZE + 1];
static const char *args[MAX_ARGS + 1], *environment[MAX_ENV + 8];
static char *modules[MAX_MODULES];      /* "PATH" or "PATH OPTIONS" */
static u32 nr_args, nr_env, nr_modules;
static const char *search_path = "/bin", *directory = "/", *greeting, *user;
static u32 is_command, on_screen, wants_tty, rows, columns;

/* Read a file of at most so many bytes, which are the buffer's but for one; whether it is there.  `flags` are more of
 * open's. */
static int read_file(const char *path, s64 flags, char *buffer, u64 most, u64 *size)
{
    s64 fd = call2(SYS_open, path, O_RDONLY | O_CLOEXEC | flags);
    s64 n;
    *size = *buffer = 0;
    if (fd < 0)
        return 0;
    while (*size < most && (n = call3(SYS_read, fd, buffer + *size, most - *size)) > 0)
        *size += (u64)n;
    buffer[*size] = 0;
    call1(SYS_close, fd);
    return 1;
}

#include "image.h"

/* Take in what `conf` says, of which there are so many bytes. */
static void parse_conf(u64 size)
{
    for (const char *at = conf; at < conf + size; at += length_of(at) + 1) {
        const char *value;
        if ((value = value_of(at, "mode")))
            is_command = is_same(value, "command"), on_screen = is_same(value, "screen");
        else if ((value = value_of(at, "module")) && nr_modules < MAX_MODULES)
            modules[nr_modules++] = (char *)value;
        else if ((value = value_of(at, "arg")) && nr_args < MAX_ARGS)
            args[nr_args++] = value;
        else if ((value = value_of(at, "env")) && nr_env < MAX_ENV)
            environment[nr_env++] = value;
        else if ((value = value_of(at, "share")))
            read_share((char *)value);
        else if ((value = value_of(at, "own")) && nr_own < MAX_OWN)
            own_variables[nr_own++] = value;
        else if ((value = value_of(at, "cwd")))
            directory = value;
        else if ((value = value_of(at, "hostname")))
            hostname = value;
        else if ((value = value_of(at, "greeting")))
            greeting = value;
        else if ((value = value_of(at, "user")))
            user = value;
        else if ((value = value_of(at, "tty")))
            wants_tty = number_of(value);
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
    set_own_variables();
}

static int read_conf(const char *path)
{
    u64 size;
    if (!read_file(path, O_NOFOLLOW, conf, CONF_SIZE, &size))
        return -1;
    parse_conf(size);
    return 0;
}

/* --- process 1's own duties */

static void mount_all(void)
{
    static const struct { const char *type, *target, *options; } mounts[] = {
        { "devtmpfs", "/dev", "mode=0755" },
        { "devpts", "/dev/pts", "mode=0620,gid=5,ptmxmode=0666" },
        { "proc", "/proc", 0 },
        { "sysfs", "/sys", 0 },
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

static void load_module(const char *path, const char *options)
{
    s64 fd = call2(SYS_open, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || call3(SYS_finit_module, fd, options, 0) < 0) {
        say(2, "xenia: cannot load ");
        say(2, path);
        say(2, "\n");
    }
    call1(SYS_close, fd);
}

/* Load the cards' module while others go on: it waits for their backends.  It is read at once, for the RAM disk may be
 * gone soon. */
static void load_aside(const char *path, const char *options)
{
    has_driver = 1;
    s64 fd = call2(SYS_open, path, O_RDONLY | O_CLOEXEC);
    if (call0(SYS_fork) == 0) {
        call3(SYS_finit_module, fd, options, 0);
        call1(SYS_exit, 0);
    }
    call1(SYS_close, fd);
}

static void load_modules(void)
{
    for (u32 i = 0; i < nr_modules; i++) {
        char *options = modules[i];
        while (*options && *options != ' ')
            options++;
        if (*options)
            *options++ = 0;
        if (nr_vifs && ends_with(modules[i], "/xen_netfront.ko"))
            load_aside(modules[i], options);
        else
            load_module(modules[i], options);
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

#include "users.h"

/* Run args[] with the signal mask cleared, looked up along PATH as a shell does; does not return. */
static void __attribute__((noreturn)) execute(void)
{
    static char path[4096 + 256];
    static const u64 no_signals = 0;
    const char *name = args[0], *at = name;
    s64 error = -ENOENT;
    int status;
    call4(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, 0, sizeof no_signals);
    if (user)
        become_user();
    else if (has_image)
        become_image_user();
    args[nr_args] = environment[nr_env] = 0;
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

/* --- mode=shell, and mode=screen: a command that has the console for itself */

/* Say how the command ended, in the guest's home in xenstore: as a shell does. */
static void tell_status(int status)
{
    static struct StoreMessage answer;
    char text[16] = "";
    s64 store = call2(SYS_open, "/dev/xen/xenbus", O_RDWR | O_CLOEXEC);
    append_number(text, sizeof text, (u32)(status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff));
    if (ask_store((int)store, XS_WRITE, "data/xenia-status", text, length_of(text)))
        hear_store((int)store, &answer);
    call1(SYS_close, store);
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
            if (!has_window_size(0))      /* else what follows the window was here first, and knows better */
                set_window_size(0, rows, columns);
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
        while ((pid = call4(SYS_wait4, -1, &status, WNOHANG, 0)) > 0) {
            if (pid != child)
                continue;
            if (on_screen || has_image)
                tell_status(status);
            if (has_image && status)
                say(2, "xenia: the image's command failed\n");
            return;
        }
    }
}

#include "command.h"
#include "exec.h"

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

/* What process 1 does first; whether a disk is to be the root file system. */
static int begin(int has_conf)
{
    mount_all();
    int in_root = read_kernel_words();
    const char *in_memory = make_folders_in_memory(!in_root && !root_share());
    if (!has_conf)
        say(2, "xenia: no /xenia.conf\n");
    if (hostname)
        call2(SYS_sethostname, hostname, length_of(hostname));
    prepare_network();
    load_modules();
    limit_files_in_memory(in_memory);
    if (is_command || on_screen || !in_root)
        begin_network();
    return in_root;
}

/* See what is to be run in the root file system, where it is a container image's: there no init is to come, which would
 * do the rest. */
static void take_image(void)
{
    has_image = !init_path && read_image_command();
    if (has_image && !is_command && !on_screen) {
        make_root_writable();
        begin_network();
    }
}

__attribute__((noreturn, used)) static void start(u64 *stack)
{
    int is_init = call0(SYS_getpid) == 1, in_root = 0, console = 0;
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
    if (is_init)
        in_root = begin(has_conf);
    if (is_command) {
        if (is_init) {
            /* from here on the kernel speaks up in emergencies only */
            call3(SYS_syslog, SYSLOG_CONSOLE_LEVEL, 0, 1);
            console = (int)call2(SYS_open, "/dev/hvc0", O_RDWR | O_NOCTTY | O_CLOEXEC);
            if (console < 0)
                console = 0;
            open_rings();
        }
        make_raw(console);
    }
    if (in_root && !take_root(is_command || on_screen))
        fail_root(console);
    if (in_root)
        take_image();
    if ((root_share() && !take_share(root_share())) || !mount_shares())
        fail_root(console);
    await_network(in_root || root_share());
    if (is_init)
        follow_cpus();
    if (is_init && !is_command && rows)
        follow_window();
    if (is_init && !is_command)
        follow_requests();
    if (is_command) {
        run_command(is_init, console);
    } else if (has_image && !on_screen && !is_init_program(args[0])) {
        greeting = 0;
        run_shell(is_init);
    } else if (in_root && !on_screen) {
        if (has_image)
            init_path = args[0];
        set_window_size(0, rows, columns);
        become_init(argv, envp);
        fail_root(console);
    } else {
        run_shell(is_init);
    }
    end_guest(is_init, console);
}

__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n");
