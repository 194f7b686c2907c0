"""The kernel's doors to a jail: prctl(2), seccomp(2) and landlock(7), and what becomes of a thread that runs into a
wall."""

import os

from libc.errno cimport errno
from libc.stdint cimport int32_t, uint64_t

cdef extern from *:
    """
    #define _GNU_SOURCE
    #include <malloc.h>
    #include <signal.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/prctl.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    #define NR_NAMES 512
    #define NAME_LENGTH 24

    static char call_names[NR_NAMES][NAME_LENGTH];
    static const char *line_end;
    static int violation_status;
    static __attribute__((tls_model("initial-exec"))) __thread char thread_name[16];

    static size_t put(char *line, size_t at, const char *text)
    {
        size_t length = strlen(text);
        memcpy(line + at, text, length);
        return at + length;
    }

    /* SIGSYS: the filter stopped a call.  On the thread that made it, under its filter. */
    static void on_violation(int number, siginfo_t *info, void *context)
    {
        char line[256], digits[12];
        int call = info->si_syscall;
        size_t at = put(line, 0, "xenia: the jail refuses the system call ");
        if (call >= 0 && call < NR_NAMES && call_names[call][0]) {
            at = put(line, at, call_names[call]);
        } else {
            char *digit = digits + sizeof(digits) - 1;
            unsigned rest = (unsigned)call;
            *digit = 0;
            do {
                *--digit = '0' + rest % 10;
            } while (rest /= 10);
            at = put(line, at, digit);
        }
        at = put(line, at, " of a thread");
        if (thread_name[0]) {
            at = put(line, at, " (");
            at = put(line, at, thread_name);
            at = put(line, at, ")");
        }
        at = put(line, at, ": a guest broke out of its machine, or Xenia is at fault; all of it ends here");
        at = put(line, at, line_end);
        if (syscall(SYS_write, 2, line, at)) {}
        for (;;)
            syscall(SYS_exit_group, violation_status);
    }

    static int watch(int status, int terminal)
    {
        struct sigaction action, before;
        violation_status = status;
        line_end = terminal ? "\\r\\n" : "\\n";
        memset(&action, 0, sizeof(action));
        action.sa_sigaction = on_violation;
        action.sa_flags = SA_SIGINFO;
        sigfillset(&action.sa_mask);
        if (sigaction(SIGSYS, NULL, &before))
            return -1;
        if (before.sa_handler != SIG_DFL)
            return 0;
        return sigaction(SIGSYS, &action, NULL);
    }

    static void name_call(int number, const char *name)
    {
        if (number >= 0 && number < NR_NAMES)
            strncpy(call_names[number], name, NAME_LENGTH - 1);
    }

    static void name_thread(const char *name)
    {
        strncpy(thread_name, name, sizeof(thread_name) - 1);
        prctl(PR_SET_NAME, name);
    }

    static int filter(const void *code, size_t bytes, unsigned flags)
    {
        struct { unsigned short length; const void *code; } program = {bytes / 8, code};
        return syscall(SYS_seccomp, 1 /* SECCOMP_SET_MODE_FILTER */, flags, &program);
    }

    static int filters_work(void)
    {
        unsigned action = 0x00030000; /* SECCOMP_RET_TRAP */
        return syscall(SYS_seccomp, 2 /* SECCOMP_GET_ACTION_AVAIL */, 0, &action) == 0;
    }

    static int no_capabilities(void)
    {
        struct { unsigned version; int thread; } header = {0x20080522 /* _LINUX_CAPABILITY_VERSION_3 */, 0};
        struct { unsigned effective, permitted, inheritable; } none[2] = {{0, 0, 0}, {0, 0, 0}};
        return syscall(SYS_capset, &header, none);
    }

    struct ruleset { uint64_t fs, net, scoped; };
    struct __attribute__((packed)) beneath { uint64_t access; int32_t parent; };

    static int ruleset_create(uint64_t fs, uint64_t net, uint64_t scoped)
    {
        struct ruleset rules = {fs, net, scoped};
        size_t size = scoped ? 24 : net ? 16 : 8;
        return syscall(444, &rules, size, 0);
    }

    static int ruleset_abi(void) { return syscall(444, NULL, 0, 1 /* LANDLOCK_CREATE_RULESET_VERSION */); }

    static int ruleset_add(int rules, uint64_t access, int parent)
    {
        struct beneath rule = {access, parent};
        return syscall(445, rules, 1 /* LANDLOCK_RULE_PATH_BENEATH */, &rule, 0);
    }

    static int ruleset_restrict(int rules) { return syscall(446, rules, 0); }

    static void few_arenas(void) { mallopt(M_ARENA_MAX, 64); }
    """
    int watch(int status, int terminal)
    void name_call(int number, const char *name)
    void name_thread(const char *name)
    int filter(const void *code, size_t length, unsigned flags)
    bint filters_work()
    int no_capabilities()
    int ruleset_create(uint64_t fs, uint64_t net, uint64_t scoped)
    int ruleset_abi()
    int ruleset_add(int rules, uint64_t access, int parent)
    int ruleset_restrict(int rules)
    void few_arenas()
    int c_prctl "prctl"(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)

ALL_THREADS = 1     # SECCOMP_FILTER_FLAG_TSYNC


cdef int checked(int result) except -1:
    if result < 0:
        raise OSError(errno, os.strerror(errno))
    return result


def prctl(int option, unsigned long argument=0) -> int:
    """prctl(2) with one argument.  OSError."""
    return checked(c_prctl(option, argument, 0, 0, 0))


def add_filter(bytes code, unsigned flags=0) -> None:
    """Put a filter of system calls over this thread, or over all (ALL_THREADS).  OSError.

    Precondition: no_new_privs is set.
    """
    cdef const char *instructions = code
    if checked(filter(instructions, len(code), flags)):
        raise OSError(0, "a thread has a filter of its own")


def drop_capabilities() -> None:
    """Give up what sets root apart, for this thread and those it will start.  OSError."""
    checked(no_capabilities())


def filters_available() -> bool:
    """Whether this process may put filters of system calls over its threads."""
    return filters_work()


def watch_violations(int status, names: dict[str, int]) -> None:
    """Where a filter stops a call from now on, say which on standard error, and end with `status`.

    A program that handles SIGSYS itself goes on to.  `names`: the calls' numbers by name.
    """
    for name, number in names.items():
        name_call(number, name.encode())
    checked(watch(status, os.isatty(2)))


def name_this_thread(name: str) -> None:
    """What this thread is called where its call is stopped, and in the host's list of threads."""
    name_thread(name.encode())


def landlock_abi() -> int:
    """The version of Landlock that the kernel has; 0 where it has none, or it is off."""
    return max(0, ruleset_abi())


def landlock_ruleset(uint64_t fs, uint64_t net, uint64_t scoped) -> int:
    """A descriptor of rules that handle these rights.  OSError."""
    return checked(ruleset_create(fs, net, scoped))


def landlock_allow(int rules, uint64_t rights, int32_t parent) -> None:
    """Allow these rights beneath the open file `parent`.  OSError."""
    checked(ruleset_add(rules, rights, parent))


def landlock_restrict(int rules) -> None:
    """Hold this thread, and those it will start, to the rules.  OSError.  Precondition: no_new_privs is set."""
    checked(ruleset_restrict(rules))


def settle_allocator() -> None:
    """Let the C library not look into /sys for the number of processors, which it would do late and on any thread."""
    few_arenas()
