/* What code that broke in would try, for the tests alone: compiled by them, loaded by them, in no package.
 *
 * Each attempt answers 0 where it succeeded, the errno with which it was refused, or -1 where the filter stopped it.  A
 * jail leaves a handler of SIGSYS alone that was there before; this one makes the call fail, so that one process can
 * try all. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static __thread volatile int stopped;

static void on_sigsys(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info, (void)context;
    stopped = 1;
}

void catch(void)
{
    struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &action, NULL);
}

static int result(long value)
{
    int number = errno;
    if (stopped)
        return -1;
    return value < 0 ? number : 0;
}

#define TRY(call) (stopped = 0, errno = 0, result((long)(call)))

static int map(int protection, int flags, int fd)
{
    return TRY(syscall(SYS_mmap, NULL, 4096, protection, flags, fd, 0L));
}

static int tcp(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return TRY(syscall(SYS_connect, fd, &address, sizeof(address)));
}

static int protect(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return TRY(syscall(SYS_mprotect, page, 4096, PROT_READ | PROT_EXEC));
}

static int peek(int pid, int writing)
{
    char byte = 0;
    struct iovec here = {&byte, 1}, there = {&byte, 1};
    return TRY(syscall(writing ? SYS_process_vm_writev : SYS_process_vm_readv, pid, &here, 1, &there, 1, 0));
}

/* The attempt of that name, with a path or a number that it needs. */
int attempt(const char *name, const char *path, long number)
{
    char *none[] = {NULL};
    int pair[2];
    struct rlimit limit = {1 << 20, 1 << 20};
#define IS(text) (strcmp(name, text) == 0)
    if (IS("open for reading")) return TRY(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY));
    if (IS("open for writing")) return TRY(syscall(SYS_openat, AT_FDCWD, path, O_WRONLY));
    if (IS("create")) return TRY(syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT, 0600));
    if (IS("unlink")) return TRY(syscall(SYS_unlinkat, AT_FDCWD, path, 0));
    if (IS("rename")) return TRY(syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, "/tmp/x", 0));
    if (IS("truncate")) return TRY(syscall(SYS_truncate, path, 0));
    if (IS("chmod")) return TRY(syscall(SYS_fchmodat, AT_FDCWD, path, 0777));
    if (IS("symlink")) return TRY(syscall(SYS_symlinkat, "x", AT_FDCWD, path));
    if (IS("open by handle")) return TRY(syscall(SYS_open_by_handle_at, AT_FDCWD, path, 0));
    if (IS("socket")) return TRY(syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0));
    if (IS("raw socket")) return TRY(syscall(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_ICMP));
    if (IS("packet socket")) return TRY(syscall(SYS_socket, AF_PACKET, SOCK_RAW, 0));
    if (IS("netlink socket")) return TRY(syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0));
    if (IS("socket of a protocol that is a module")) return TRY(syscall(SYS_socket, AF_INET, SOCK_STREAM,
                                                                        IPPROTO_SCTP));
    if (IS("pair of datagram sockets")) return TRY(syscall(SYS_socketpair, AF_UNIX, SOCK_DGRAM, 0, pair));
    if (IS("connect over TCP")) return tcp(number);
    if (IS("bind")) return TRY(syscall(SYS_bind, 0, path, 16));
    if (IS("socketpair")) return TRY(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, none));
    if (IS("exec")) return TRY(syscall(SYS_execve, "/bin/true", none, none));
    if (IS("execveat")) return TRY(syscall(SYS_execveat, 0, "", none, none, AT_EMPTY_PATH));
    if (IS("clone a process")) return TRY(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    if (IS("clone3")) return TRY(syscall(SYS_clone3, NULL, 0));
#ifdef SYS_fork
    if (IS("fork")) return TRY(syscall(SYS_fork));
    if (IS("vfork")) return TRY(syscall(SYS_vfork));
#endif
    if (IS("ptrace")) return TRY(syscall(SYS_ptrace, PTRACE_ATTACH, number, 0, 0));
    if (IS("read another's memory")) return peek(number, 0);
    if (IS("write another's memory")) return peek(number, 1);
    if (IS("write its own memory by name")) return TRY(syscall(SYS_openat, AT_FDCWD, "/proc/self/mem", O_RDWR));
    if (IS("map code that is writable")) return map(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                                                    -1);
    if (IS("map code")) return map(PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (IS("map a file as code")) return map(PROT_READ | PROT_EXEC, MAP_SHARED, number);
    if (IS("make memory code")) return protect();
    if (IS("signal another")) return TRY(syscall(SYS_kill, number, 0));
    if (IS("signal another's thread")) return TRY(syscall(SYS_tgkill, number, number, 0));
    if (IS("signal through a descriptor")) return TRY(syscall(SYS_pidfd_open, number, 0));
    if (IS("signal through an owner")) return TRY(syscall(SYS_fcntl, 0, F_SETOWN, number));
    if (IS("type into the terminal")) return TRY(syscall(SYS_ioctl, 0, TIOCSTI, "x"));
    if (IS("raise a limit")) return TRY(syscall(SYS_prlimit64, 0, RLIMIT_CORE, &limit, NULL));
    if (IS("be dumpable")) return TRY(syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0));
    if (IS("unshare")) return TRY(syscall(SYS_unshare, CLONE_NEWUSER));
    if (IS("mount")) return TRY(syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, NULL));
    if (IS("chroot")) return TRY(syscall(SYS_chroot, "/"));
    if (IS("bpf")) return TRY(syscall(SYS_bpf, 0, NULL, 0));
    if (IS("keyctl")) return TRY(syscall(SYS_keyctl, 0, 0, 0, 0, 0));
    if (IS("io_uring")) return TRY(syscall(SYS_io_uring_setup, 1, NULL));
    if (IS("userfaultfd")) return TRY(syscall(SYS_userfaultfd, 0));
    if (IS("perf_event_open")) return TRY(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
    if (IS("setuid")) return TRY(syscall(SYS_setuid, 0));
    if (IS("mknod")) return TRY(syscall(SYS_mknodat, AT_FDCWD, path, 0600, 0));
    if (IS("listen")) return TRY(syscall(SYS_listen, 0, 1));
    return -2;
}
