"""The kernel's system calls by name, for the processors that filters are made for.  Source: asm/unistd.h of each."""

from __future__ import annotations

from dataclasses import dataclass

# A name, its number on x86-64, and its number on arm64 ("-": it has none).
_TABLE = """
read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, preadv 295 69, pwritev 296 70,
preadv2 327 286, pwritev2 328 287, lseek 8 62, fsync 74 82, fdatasync 75 83, fallocate 285 47, ftruncate 77 46,
sync_file_range 277 84,
futex 202 98, sched_yield 24 124, nanosleep 35 101, clock_nanosleep 230 115, clock_gettime 228 113,
clock_getres 229 114, gettimeofday 96 169, time 201 -, getrandom 318 278, sched_getaffinity 204 123,
sched_setaffinity 203 122, getcpu 309 168,
mmap 9 222, mprotect 10 226, pkey_mprotect 329 288, munmap 11 215, mremap 25 216, madvise 28 233, brk 12 214,
poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72, epoll_create1 291 20, epoll_ctl 233 21, epoll_wait 232 -,
epoll_pwait 281 22, eventfd2 290 19, timerfd_create 283 85, timerfd_settime 286 86, pipe2 293 59,
memfd_create 319 279, dup 32 23, dup2 33 -, dup3 292 24, close 3 57, close_range 436 436,
rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, sigaltstack 131 132, restart_syscall 219 128,
exit 60 93, exit_group 231 94, set_robust_list 273 99, rseq 334 293, clone 56 220, clone3 435 435, gettid 186 178,
getpid 39 172, getppid 110 173, getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177, tgkill 234 131,
tkill 200 130, kill 62 129, wait4 61 260,
openat 257 56, openat2 437 437, open 2 -, creat 85 -, access 21 -, faccessat 269 48, faccessat2 439 439, stat 4 -,
lstat 6 -, fstat 5 80, newfstatat 262 79, statx 332 291, readlink 89 -, readlinkat 267 78, getdents64 217 61,
getcwd 79 17, unlink 87 -, unlinkat 263 35, flock 73 32, fcntl 72 25, ioctl 16 29,
accept 43 202, accept4 288 242, shutdown 48 210, getsockname 51 204, getpeername 52 205, getsockopt 55 209,
setsockopt 54 208, sendto 44 206, recvfrom 45 207, sendmsg 46 211, recvmsg 47 212, socket 41 198, connect 42 203,
bind 49 200, listen 50 201, socketpair 53 199,
prctl 157 167, seccomp 317 277, landlock_create_ruleset 444 444, prlimit64 302 261, uname 63 160, sysinfo 99 179,
getrusage 98 165, membarrier 324 283, epoll_pwait2 441 441,
execve 59 221, execveat 322 281, fork 57 -, vfork 58 -, ptrace 101 117, process_vm_readv 310 270,
process_vm_writev 311 271, process_madvise 440 440, pidfd_open 434 434, pidfd_getfd 438 438,
pidfd_send_signal 424 424, kcmp 312 272, mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51,
move_mount 429 429, open_tree 428 428, fsopen 430 430, fsconfig 431 431, fsmount 432 432, fspick 433 433,
mount_setattr 442 442, unshare 272 97, setns 308 268, bpf 321 280, perf_event_open 298 241, userfaultfd 323 282,
io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427, keyctl 250 219, add_key 248 217,
request_key 249 218, open_by_handle_at 304 265, name_to_handle_at 303 264, init_module 175 105,
finit_module 313 273, delete_module 176 106, kexec_load 246 104, kexec_file_load 320 294, reboot 169 142,
swapon 167 224, swapoff 168 225, acct 163 89, syslog 103 116, setuid 105 146, setgid 106 144, setreuid 113 145,
setregid 114 143, setresuid 117 147, setresgid 119 149, setgroups 116 159, capset 126 91, personality 135 92,
rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, mknod 133 -, mknodat 259 33, iopl 172 -, ioperm 173 -,
modify_ldt 154 -, setrlimit 160 164,
mkdirat 258 34, renameat2 316 276, linkat 265 37, symlinkat 266 36, fchmodat 268 53, utimensat 280 88, fstatfs 138 44,
getxattr 191 8, setxattr 188 5, listxattr 194 11, removexattr 197 14
"""


@dataclass(frozen=True)
class HostProcessor:
    """A processor as the kernel's filters see it: AUDIT_ARCH of linux/audit.h, and the number of each call."""

    audit: int
    numbers: dict[str, int]


def _numbers(column: int) -> dict[str, int]:
    rows = (entry.split() for entry in _TABLE.replace("\n", " ").split(","))
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


PROCESSORS = {"x86_64": HostProcessor(0xC000003E, _numbers(1)), "aarch64": HostProcessor(0xC00000B7, _numbers(2))}
