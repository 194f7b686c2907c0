"""What each kind of thread may ask of the kernel.

`PROCESS` holds for every thread of a process that is jailed.  It allows what Python and the main thread need once all
is open; a call that only somebody who broke in would make ends the process, and one that nobody thought of fails as it
does on a kernel that lacks it.  The other kinds are narrower, and a thread takes its own up before it sees anything of
a guest's.  Nothing that is opened, connected, started or mapped as code is on any list.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import termios
from enum import Enum

from xenia.jail.filter import ENOSYS, EPERM, TRAP, Filter, When, refusal

_PROT_EXEC = 4  # asm-generic/mman.h
_CLONE_THREAD = 0x10000
_CLONE_NEW = 0x7E020080  # CLONE_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET, _NEWTIME
_SIOCATMARK = 0x8905  # asm-generic/sockios.h
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10  # linux/socket.h
_SOCK_TYPE_MASK = 0xF  # linux/net.h
_PR_SET_NAME, _PR_SET_NO_NEW_PRIVS = 15, 38  # linux/prctl.h

PROBE = 0x78656E69
"""An option of prctl(2) that does not exist.  Where it fails with PROBE_ANSWER, the process is jailed: the kernel says
so itself, so that nothing has to be handed to each thread, and nothing can be changed by whoever broke in."""
PROBE_ANSWER = 118

_FATAL = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)

_PRCTL = When(0, (_PR_SET_NAME, _PR_SET_NO_NEW_PRIVS), otherwise=refusal(PROBE_ANSWER))

_NOT_CODE = When(2, (0,), _PROT_EXEC)
_TERMINAL = (
    termios.TCGETS, termios.TCSETS, termios.TCSETSW, termios.TCSETSF,
    termios.TIOCGWINSZ, termios.TIOCSWINSZ, termios.TIOCGPGRP, termios.FIONREAD, termios.FIONBIO, termios.FIOCLEX,
    termios.FIONCLEX,
)  # fmt: skip
# linux/fs.h: BLKSSZGET, BLKPBSZGET, BLKGETSIZE64, BLKDISCARD, BLKSECDISCARD, BLKZEROOUT
_BLOCK_DEVICE = (0x1268, 0x127B, 0x80081272, 0x1277, 0x127D, 0x127F)
_FCNTL = (
    fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_GETLK,
    fcntl.F_SETLK, fcntl.F_SETLKW, fcntl.F_OFD_GETLK, fcntl.F_OFD_SETLK, fcntl.F_OFD_SETLKW, fcntl.F_ADD_SEALS,
    fcntl.F_GET_SEALS,
)  # fmt: skip


_TO_READ = When(2, (os.O_RDONLY,), os.O_ACCMODE | os.O_CREAT | os.O_TRUNC)


def _all(names: str, condition: When | None = None) -> dict[str, When | None]:
    return dict.fromkeys(names.split(), condition)


def _answered(names: str, answer: int) -> dict[str, int]:
    return dict.fromkeys(names.split(), answer)


# What a vcpu's thread needs; the disks' requests that take no time are answered on it, and a guest's frames written to
# its links: to sockets too with pwritev2, which is writev there and, unlike sendmsg, hands no descriptors over.
_VCPU = (
    _all(
        """futex read write close munmap mremap madvise brk clock_gettime clock_nanosleep gettimeofday time sched_yield
    getrandom rt_sigprocmask rt_sigreturn restart_syscall gettid poll ppoll exit exit_group
    timerfd_settime pread64 preadv preadv2 pwritev2 lseek fdatasync"""
    )
    | _all("mmap mprotect", _NOT_CODE)
    | _all("sched_setaffinity", When(0, (0,)))
    | _all("getcpu")
)

_ALARM = _all(
    """futex read write close munmap mremap madvise brk clock_gettime clock_nanosleep sched_yield rt_sigprocmask
    rt_sigreturn restart_syscall gettid epoll_wait epoll_pwait exit exit_group"""
) | _all("mmap mprotect", _NOT_CODE)

# Disks: what is open already is read and written; a server's socket is talked to.
_WORKER = (
    _VCPU
    | _all(
        """clock_getres nanosleep getcpu sigaltstack set_robust_list rseq
        readv writev pwrite64 pwritev fsync fallocate sync_file_range fstat ftruncate
        sendto recvfrom sendmsg recvmsg shutdown getsockname getpeername getsockopt setsockopt
        select pselect6 epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 timerfd_create"""
    )
    | {"ioctl": When(1, _BLOCK_DEVICE), "prctl": When(0, (_PR_SET_NAME,))}
)

# Links to networks: descriptors that are open already. A frame that comes is put into a guest's memory on this thread,
# as a vcpu's own would. Who connects to a socket that listens is taken there, and a datagram is asked for its sender.
_LINK = _VCPU | _all("accept4 recvfrom")

# These start threads, which narrow themselves, and accept connections.
_SERVICE = (
    _WORKER
    | _all("accept4 pipe2 dup seccomp getpid uname sched_getaffinity memfd_create")
    | {
        "clone": When(0, (_CLONE_THREAD,), _CLONE_THREAD | _CLONE_NEW),
        "ioctl": When(1, (*_BLOCK_DEVICE, termios.FIONBIO)),
        "fcntl": When(1, _FCNTL),
        "prctl": _PRCTL,
    }
)

# Which names may be opened is Landlock's to judge.
_PROCESS = (
    _SERVICE
    | _all(
        """openat open access faccessat faccessat2 stat lstat newfstatat statx readlink readlinkat getdents64 getcwd
        unlink unlinkat flock
        accept dup2 dup3 close_range rt_sigaction getppid getuid geteuid getgid getegid wait4 sysinfo getrusage"""
    )
    | {"ioctl": When(1, (*_TERMINAL, *_BLOCK_DEVICE)), "prlimit64": When(2, (0,))}  # asking for limits, not setting
)

# Nobody of ours calls these: whoever does has broken in.
_ESCAPES = _answered(
    """execve execveat fork vfork ptrace process_vm_readv process_vm_writev process_madvise pidfd_open pidfd_getfd
    pidfd_send_signal kcmp socket connect bind listen socketpair mount umount2 pivot_root chroot move_mount open_tree
    fsopen fsconfig fsmount fspick mount_setattr unshare setns bpf perf_event_open userfaultfd io_uring_setup
    io_uring_enter io_uring_register keyctl add_key request_key open_by_handle_at name_to_handle_at init_module
    finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct syslog setuid setgid setreuid
    setregid setresuid setresgid setgroups capset personality rt_sigqueueinfo rt_tgsigqueueinfo mknod mknodat iopl
    ioperm modify_ldt setrlimit pkey_mprotect""",
    TRAP,
)

# What libraries try of their own accord and do without: a name that the C library looks up, a newer call with an older
# one beside it.  These fail, and nothing ends.
_TRIED = _answered(
    """openat open access faccessat faccessat2 stat lstat newfstatat statx readlink readlinkat getdents64 getcwd
    sched_getaffinity sysinfo getpid getuid geteuid prctl""",
    EPERM,
) | _answered("clone3 membarrier epoll_pwait2", ENOSYS)


# TCP, UDP and echoes: no raw socket whoever the user is, and no protocol for which the kernel would load a module.
_INTERNET = When(
    0, (_AF_INET, _AF_INET6),
    also=When(
        1, (socket.SOCK_STREAM, socket.SOCK_DGRAM), _SOCK_TYPE_MASK,
        also=When(2, (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)),
    ),
)  # fmt: skip
# Ends that are each other's for good: a datagram socket could be pointed at any server of the host's.
_PAIR = When(0, (_AF_UNIX,), also=When(1, (socket.SOCK_STREAM,), _SOCK_TYPE_MASK))

# The thread of a network's process: links, and sockets of guests' connections to the world.
_CONNECTIONS = (
    _LINK
    | _all(
        """connect bind listen accept sendto recvfrom recvmsg shutdown getsockname getpeername getsockopt setsockopt
        newfstatat stat fstat epoll_ctl epoll_wait epoll_pwait"""
    )
    | {
        "socket": _INTERNET,
        "openat": _TO_READ,
        "ioctl": When(1, (termios.FIONBIO, termios.FIONREAD, _SIOCATMARK)),
        "fcntl": When(1, _FCNTL),
    }
)

# A network's process makes connections for guests, and has no guest: it opens to read, and what is Landlock's to judge.
_NETWORK = (
    _SERVICE
    | _all(
        """connect bind listen accept newfstatat stat lstat statx readlink readlinkat unlink unlinkat
        rt_sigaction getppid getuid geteuid getgid getegid sysinfo getrusage close_range"""
    )
    | {
        "socket": _INTERNET,
        "socketpair": _PAIR,
        "openat": _TO_READ,
        "ioctl": When(1, (termios.FIONBIO, termios.FIONREAD, _SIOCATMARK)),
        "prlimit64": When(2, (0,)),
    }
)

# What is not a device: a file, a name for a pipe, one for a socket.
_NO_DEVICE = When(2, (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK), 0o170000)

# The threads of a file server's process: what a client asks of a folder. Which names are there is Landlock's to judge.
_FILES = (
    _VCPU
    | _all(
        """pwrite64 fsync ftruncate statx newfstatat fstatfs readlinkat getdents64 openat openat2 mkdirat unlinkat
        renameat2 linkat symlinkat fchmodat utimensat getxattr setxattr listxattr removexattr
        recvfrom sendto shutdown sigaltstack set_robust_list rseq flock"""
    )
    | {"mknodat": _NO_DEVICE, "fcntl": When(1, _FCNTL)}
)

# Its process, which joins its clients to them.
_SERVER = _SERVICE | _FILES | _all("rt_sigaction getppid getuid geteuid getgid getegid") | {"socketpair": _PAIR}


class Kind(Enum):
    """A kind of thread, and its filter."""

    VCPU = "vcpu"  # runs a guest's code
    ALARM = "alarm"  # rings the timers of all vcpus
    WORKER = "worker"  # reads and writes disks
    LINK = "link"  # waits for a network's frames
    NETWORK = "network"  # the same, and makes guests' connections: in a network's process
    FILES = "files"  # answers for a folder: in a file server's process
    SERVICE = "service"  # the store, a console, a device's handshake

    @property
    def filter(self) -> Filter:
        """What it may call."""
        return _FILTERS[self]


_FILTERS = {
    Kind.VCPU: Filter(_VCPU, _TRIED),
    Kind.ALARM: Filter(_ALARM, _TRIED),
    Kind.WORKER: Filter(_WORKER, _TRIED),
    Kind.LINK: Filter(_LINK, _TRIED),
    Kind.NETWORK: Filter(
        _CONNECTIONS, {name: answer for name, answer in _TRIED.items() if name not in _CONNECTIONS}, unmet=EPERM
    ),
    Kind.FILES: Filter(_FILES, {name: answer for name, answer in _TRIED.items() if name not in _FILES}, unmet=EPERM),
    Kind.SERVICE: Filter(_SERVICE, {name: answer for name, answer in _TRIED.items() if name not in _SERVICE}),
}


def forgiving(kind: Kind) -> Filter:
    """The same for a thread in somebody else's program: what is refused fails, and does not end the process.

    A fault of its own does, also where the program handles it: a handler that has told of it puts the default back and
    raises the signal again (as faulthandler does), and one that could not would be called for ever.
    """
    dying: dict[str, When | None] = {"rt_sigaction": When(0, _FATAL), "tgkill": When(0, (os.getpid(),)), "getpid": None}
    return Filter({**kind.filter.allowed, **dying}, kind.filter.answers, EPERM)


def process() -> Filter:
    """What every thread of a jailed process may call.  It sends signals to nobody but itself."""
    own = When(0, (os.getpid(),))
    return Filter(
        _PROCESS | {"kill": own, "tgkill": own}, {**_ESCAPES, "clone3": ENOSYS}, otherwise=ENOSYS, unmet=EPERM
    )


def network() -> Filter:
    """What every thread of a network's process may call."""
    own = When(0, (os.getpid(),))
    answers = {name: answer for name, answer in _ESCAPES.items() if name not in _NETWORK}
    return Filter(_NETWORK | {"kill": own, "tgkill": own}, {**answers, "clone3": ENOSYS}, otherwise=ENOSYS, unmet=EPERM)


def server() -> Filter:
    """What every thread of a file server's process may call."""
    own = When(0, (os.getpid(),))
    answers = {name: answer for name, answer in _ESCAPES.items() if name not in _SERVER}
    return Filter(_SERVER | {"kill": own, "tgkill": own}, {**answers, "clone3": ENOSYS}, otherwise=ENOSYS, unmet=EPERM)
