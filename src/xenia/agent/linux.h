/*
 * What the agent has of a C library: Linux's system calls for x86-64 and a few things to do with strings.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long s64;

/* --- system calls */

enum {
    SYS_read = 0, SYS_write = 1, SYS_open = 2, SYS_close = 3, SYS_rt_sigprocmask = 14, SYS_rt_sigtimedwait = 128,
        SYS_ioctl = 16, SYS_dup2 = 33,
    SYS_getpid = 39, SYS_socket = 41, SYS_fork = 57, SYS_execve = 59, SYS_exit = 60, SYS_wait4 = 61, SYS_kill = 62,
    SYS_fcntl = 72, SYS_chdir = 80, SYS_mkdir = 83, SYS_symlink = 88, SYS_syslog = 103, SYS_setsid = 112,
        SYS_sysinfo = 99, SYS_statfs = 137, SYS_sync = 162,
    SYS_mount = 165, SYS_reboot = 169, SYS_sethostname = 170, SYS_signalfd4 = 289, SYS_pipe2 = 293,
    SYS_finit_module = 313, SYS_poll = 7, SYS_fstat = 5, SYS_bind = 49, SYS_chroot = 161, SYS_umount2 = 166,
    SYS_getdents64 = 217, SYS_openat = 257, SYS_unlinkat = 263, SYS_faccessat = 269, SYS_pread64 = 17,
    SYS_sendto = 44, SYS_recvfrom = 45, SYS_setsockopt = 54, SYS_readlink = 89, SYS_clock_gettime = 228,
    SYS_mmap = 9, SYS_readv = 19, SYS_writev = 20, SYS_prctl = 157, SYS_ftruncate = 77, SYS_setuid = 105,
        SYS_setgid = 106, SYS_setgroups = 116, SYS_fchown = 93, SYS_chmod = 90,
};

enum { O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_CREAT = 0100, O_NOCTTY = 0400, O_TRUNC = 01000, O_NONBLOCK = 04000,
       O_CLOEXEC = 02000000 };
enum { O_DIRECTORY = 0200000, O_NOFOLLOW = 0400000, AT_FDCWD = -100, AT_REMOVEDIR = 0x200 };
enum { EINTR = 4, EAGAIN = 11, ENOMEM = 12, ENOENT = 2, EACCES = 13, ENOTDIR = 20, ENOEXEC = 8, EROFS = 30, EBUSY = 16,
       ENOBUFS = 105 };
enum { MS_RDONLY = 1, MS_REMOUNT = 32, MS_BIND = 4096, MS_MOVE = 8192, MNT_DETACH = 2 };
enum { SIGHUP = 1, SIGKILL = 9, SIGUSR1 = 10, SIGUSR2 = 12, SIGPIPE = 13, SIGTERM = 15, SIGCHLD = 17, SIG_SETMASK = 2 };
enum { POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 16 };
enum { TCGETS = 0x5401, TCSETS = 0x5402, TIOCSCTTY = 0x540e, TIOCGWINSZ = 0x5413, TIOCSWINSZ = 0x5414,
       TCSBRK = 0x5409, FIONREAD = 0x541b, TIOCGPTN = 0x80045430, TIOCSPTLCK = 0x40045431 };
enum { WNOHANG = 1, F_SETFL = 4, F_DUPFD_CLOEXEC = 1030, F_SETPIPE_SZ = 1031, PROT_READ = 1, PROT_WRITE = 2,
       MAP_SHARED = 1, SYSLOG_CONSOLE_LEVEL = 8 };
#define REBOOT_MAGIC1 0xfee1deadUL
#define REBOOT_MAGIC2 672274793UL
#define REBOOT_POWER_OFF 0x4321fedcUL
#define REBOOT_RESTART 0x1234567UL
#define SIGNAL_BIT(n) (1UL << ((n) - 1))

static s64 syscall6(s64 n, s64 a, s64 b, s64 c, s64 d, s64 e, s64 f)
{
    s64 result;
    register s64 r10 __asm__("r10") = d;
    register s64 r8 __asm__("r8") = e;
    register s64 r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define call0(n) syscall6(n, 0, 0, 0, 0, 0, 0)
#define call1(n, a) syscall6(n, (s64)(a), 0, 0, 0, 0, 0)
#define call2(n, a, b) syscall6(n, (s64)(a), (s64)(b), 0, 0, 0, 0)
#define call3(n, a, b, c) syscall6(n, (s64)(a), (s64)(b), (s64)(c), 0, 0, 0)
#define call4(n, a, b, c, d) syscall6(n, (s64)(a), (s64)(b), (s64)(c), (s64)(d), 0, 0)
#define call5(n, a, b, c, d, e) syscall6(n, (s64)(a), (s64)(b), (s64)(c), (s64)(d), (s64)(e), 0)
#define call6(n, a, b, c, d, e, f) syscall6(n, (s64)(a), (s64)(b), (s64)(c), (s64)(d), (s64)(e), (s64)(f))

/* --- memory and strings; gcc may call the first two on its own */

void *memcpy(void *to, const void *from, u64 length)
{
    void *result = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
    return result;
}

void *memset(void *to, int value, u64 length)
{
    void *result = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(value) : "memory");
    return result;
}

static u64 length_of(const char *text)
{
    u64 n = 0;
    while (text[n])
        n++;
    return n;
}

static int is_same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static int starts_with(const char *text, const char *start)
{
    while (*start && *text == *start)
        text++, start++;
    return *start == 0;
}

static int ends_with(const char *text, const char *end)
{
    u64 length = length_of(text), wanted = length_of(end);
    return length >= wanted && is_same(text + length - wanted, end);
}

/* The value if `text` is "key=value" with this key, else 0. */
static const char *value_of(const char *text, const char *key)
{
    while (*key && *text == *key)
        text++, key++;
    return *key == 0 && *text == '=' ? text + 1 : 0;
}

static u32 number_of(const char *text)
{
    u32 n = 0;
    while (*text >= '0' && *text <= '9')
        n = n * 10 + (u32)(*text++ - '0');
    return n;
}

static void write_all(int fd, const void *data, u64 length)
{
    const char *at = data;
    while (length) {
        s64 n = call3(SYS_write, fd, at, length);
        if (n == -EINTR)
            continue;
        if (n == -EAGAIN) {
            struct { int fd; short events, revents; } wait = { fd, POLLOUT, 0 };
            call3(SYS_poll, &wait, 1, -1);
            continue;
        }
        if (n <= 0)
            return;
        at += n;
        length -= (u64)n;
    }
}

static void say(int fd, const char *text)
{
    write_all(fd, text, length_of(text));
}
