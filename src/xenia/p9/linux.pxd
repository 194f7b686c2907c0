# What the server asks of Linux: every name is looked up beside a descriptor, one component at a time.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from posix.time cimport timespec

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <dirent.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <sys/socket.h>
    #include <sys/stat.h>
    #include <sys/statfs.h>
    #include <sys/syscall.h>
    #include <sys/uio.h>
    #include <sys/xattr.h>
    #include <unistd.h>
    #ifndef XENIA_P9_LINUX
    #define XENIA_P9_LINUX
    #ifndef RWF_NOWAIT
    #define RWF_NOWAIT 8
    #endif
    struct p9_open_how { uint64_t flags, mode, resolve; };         /* struct open_how of linux/openat2.h */
    enum { P9_NO_MAGICLINKS = 0x02, P9_BENEATH = 0x08, P9_CACHED = 0x20, P9_OPENAT2 = 437 };
    /* A descriptor of what one name is in a folder, a symbolic link as itself; it opens nothing.  `cached`: fail with
       EAGAIN rather than wait for a disk. */
    static inline int look_up(int folder, const char *name, int cached)
    {
        int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
        struct p9_open_how how = { (uint64_t)flags, 0, P9_NO_MAGICLINKS | P9_BENEATH | (cached ? P9_CACHED : 0) };
        long found = syscall(P9_OPENAT2, folder, name, &how, sizeof how);
        if (found < 0 && (errno == ENOSYS || (errno == EINVAL && cached)))
            found = openat(folder, name, flags);                    /* before Linux 5.6, or 5.12: no less safe */
        return (int)found;
    }
    /* Its name among this process's descriptors, by which it is reached once more: see proc(5). */
    static inline void name_descriptor(char *name, int descriptor) { snprintf(name, 16, "%d", descriptor); }
    static inline void path_descriptor(char *path, int descriptor)
    {
        snprintf(path, 32, "/proc/self/fd/%d", descriptor);
    }
    static inline int stat_descriptor(int descriptor, struct statx *found)
    {
        return statx(descriptor, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME, found);
    }
    static inline int rename_exactly(int from, const char *old, int to, const char *new)
    {
        return (int)syscall(SYS_renameat2, from, old, to, new, 0);
    }
    static inline long read_entries(int folder, void *entries, size_t size)
    {
        return syscall(SYS_getdents64, folder, entries, size);
    }
    static inline int linux_errno(void) { return errno; }
    #endif
    """
    enum:
        O_RDONLY, O_WRONLY, O_RDWR, O_ACCMODE, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NONBLOCK, O_NOFOLLOW, O_CLOEXEC
        O_DIRECTORY, O_PATH, O_DSYNC, O_SYNC, O_NOCTTY
        S_IFMT, S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK, S_ISUID, S_ISGID
        AT_REMOVEDIR, AT_EMPTY_PATH, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW
        MSG_NOSIGNAL, SHUT_RDWR, STATX_BTIME, RWF_NOWAIT
        UTIME_NOW, UTIME_OMIT
        XATTR_CREATE, XATTR_REPLACE

    struct iovec:
        void *iov_base
        size_t iov_len

    struct statx_timestamp:
        int64_t tv_sec
        uint32_t tv_nsec

    struct Statx "statx":
        uint32_t stx_mask, stx_blksize, stx_nlink, stx_uid, stx_gid
        uint16_t stx_mode
        uint64_t stx_ino, stx_size, stx_blocks
        statx_timestamp stx_atime, stx_btime, stx_ctime, stx_mtime
        uint32_t stx_rdev_major, stx_rdev_minor, stx_dev_major, stx_dev_minor

    struct fsid_t:
        int __val[2]

    struct Statfs "statfs":
        long f_type, f_bsize, f_namelen
        uint64_t f_blocks, f_bfree, f_bavail, f_files, f_ffree
        fsid_t f_fsid

    struct dirent64:
        uint64_t d_ino
        int64_t d_off
        unsigned short d_reclen
        unsigned char d_type
        char d_name[256]

    int look_up(int folder, const char *name, bint cached) nogil
    void name_descriptor(char *name, int descriptor) nogil
    void path_descriptor(char *path, int descriptor) nogil
    int stat_descriptor(int descriptor, Statx *found) nogil
    int rename_exactly(int from_folder, const char *old, int to_folder, const char *name) nogil
    long read_entries(int folder, void *entries, size_t size) nogil
    int linux_errno() nogil
    int openat(int folder, const char *name, int flags, ...) nogil
    int mkdirat(int folder, const char *name, uint32_t mode) nogil
    int mknodat(int folder, const char *name, uint32_t mode, uint64_t device) nogil
    int symlinkat(const char *target, int folder, const char *name) nogil
    int linkat(int from_folder, const char *old, int to_folder, const char *name, int flags) nogil
    int unlinkat(int folder, const char *name, int flags) nogil
    long readlinkat(int folder, const char *name, char *target, size_t size) nogil
    int fchmodat(int folder, const char *name, uint32_t mode, int flags) nogil
    int utimensat(int folder, const char *name, const timespec *times, int flags) nogil
    int ftruncate(int descriptor, int64_t size) nogil
    int fsync(int descriptor) nogil
    int fdatasync(int descriptor) nogil
    int fstatfs(int descriptor, Statfs *found) nogil
    int64_t lseek(int descriptor, int64_t offset, int whence) nogil
    int close(int descriptor) nogil
    ssize_t pread(int descriptor, void *data, size_t size, int64_t offset) nogil
    ssize_t pwrite(int descriptor, const void *data, size_t size, int64_t offset) nogil
    ssize_t preadv2(int descriptor, const iovec *parts, int nr_parts, int64_t offset, int flags) nogil
    ssize_t send(int descriptor, const void *data, size_t size, int flags) nogil
    int shutdown(int descriptor, int how) nogil
    ssize_t recv(int descriptor, void *data, size_t size, int flags) nogil
    ssize_t getxattr(const char *path, const char *name, void *value, size_t size) nogil
    ssize_t listxattr(const char *path, char *names, size_t size) nogil
    int setxattr(const char *path, const char *name, const void *value, size_t size, int flags) nogil
    int removexattr(const char *path, const char *name) nogil


# What the last call failed with; never 0.
cdef inline int failure() noexcept nogil:
    cdef int number = linux_errno()
    return number if number > 0 else 5
