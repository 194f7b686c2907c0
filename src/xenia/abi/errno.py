"""Xen's error numbers (public/errno.h).  Guests get them negated.

Written by scripts/abi.py from errno.pxd: do not edit.
"""

from enum import IntEnum


class Errno(IntEnum):
    """XEN_*."""

    EPERM = 1
    ENOENT = 2
    ESRCH = 3
    EINTR = 4
    EIO = 5
    ENXIO = 6
    E2BIG = 7
    ENOEXEC = 8
    EBADF = 9
    EAGAIN = 11
    ENOMEM = 12
    EACCES = 13
    EFAULT = 14
    EBUSY = 16
    EEXIST = 17
    EXDEV = 18
    ENODEV = 19
    EINVAL = 22
    ENOSPC = 28
    EROFS = 30
    ERANGE = 34
    ENOSYS = 38
    ENODATA = 61
    ETIME = 62
    EOVERFLOW = 75
    EILSEQ = 84
    EOPNOTSUPP = 95
    EISCONN = 106
    ENOTCONN = 107
