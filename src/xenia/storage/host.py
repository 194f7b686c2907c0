"""Reading and writing the host's files whole, through file descriptors."""

from __future__ import annotations

import ctypes
import errno
import os

from xenia.storage.buffers import Buffers, after

IOV_MAX = 1024

KEEP_SIZE = 0x01  # linux/falloc.h
PUNCH_HOLE = 0x02
ZERO_RANGE = 0x10

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)

NOT_POSSIBLE = frozenset((errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY))


def read_all(fd: int, buffers: Buffers, offset: int) -> None:
    """Fill the buffers.  EIO where the file ends too early."""
    while buffers:
        done = os.preadv(fd, buffers[:IOV_MAX], offset)
        if not done:
            raise OSError(errno.EIO, "the file ended before its size")
        offset += done
        buffers = after(buffers, done)


def write_all(fd: int, buffers: Buffers, offset: int) -> None:
    """Write the buffers out."""
    while buffers:
        done = os.pwritev(fd, buffers[:IOV_MAX], offset)
        if not done:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        offset += done
        buffers = after(buffers, done)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2)."""
    while _libc.fallocate(fd, mode, offset, length):
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
