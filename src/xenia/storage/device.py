"""A block device of the host as the bottom of a stack."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from xenia.errors import ConfigError
from xenia.storage import host
from xenia.storage.file import open_locked
from xenia.storage.host_bytes import HostBytes
from xenia.storage.layer import BlockSize, Capability, Extent

BLKSSZGET, BLKPBSZGET, BLKGETSIZE64 = 0x1268, 0x127B, 0x80081272  # linux/fs.h
BLKDISCARD, BLKSECDISCARD, BLKZEROOUT = 0x1277, 0x127D, 0x127F


class HostDevice(HostBytes):
    """A block device.  Its minimum block is its logical sector."""

    name: ClassVar[str] = "device"

    def __init__(self, fd: int, read_only: bool = False) -> None:
        """Take over an open block device."""
        capabilities = Capability.WRITE | Capability.DISCARD | Capability.SECURE_DISCARD | Capability.WRITE_ZEROES
        block_size = BlockSize(_asked(fd, BLKSSZGET), max(4096, _asked(fd, BLKPBSZGET)))
        super().__init__(fd, Capability(0) if read_only else capabilities, block_size)

    @property
    def native_sector(self) -> int:
        return self.block_size.minimum

    def _measure(self) -> int:
        value = array.array("Q", [0])
        fcntl.ioctl(self.fd, BLKGETSIZE64, value)
        return value[0]

    def _discard(self, offset: int, length: int, secure: bool) -> None:
        try:
            fcntl.ioctl(self.fd, BLKSECDISCARD if secure else BLKDISCARD, struct.pack("=QQ", offset, length))
        except OSError as error:
            if secure or error.errno not in host.NOT_POSSIBLE:
                raise

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        try:
            fcntl.ioctl(self.fd, BLKZEROOUT, struct.pack("=QQ", offset, length))
        except OSError as error:
            if error.errno not in host.NOT_POSSIBLE:
                raise
            self._store_zeroes(offset, length)

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        yield Extent(offset, length)

    def _resize(self, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "a device has the size it has")


def open_device(path: Path, read_only: bool = False) -> HostDevice:
    """Open a block device, for us alone where we write to it: one that is mounted is refused."""
    fd = open_locked(path, os.O_RDONLY if read_only else os.O_RDWR | os.O_EXCL)
    if not stat.S_ISBLK(os.fstat(fd).st_mode):
        os.close(fd)
        raise ConfigError(f"{path} is not a block device")
    return HostDevice(fd, read_only)


def _asked(fd: int, request: int) -> int:
    value = array.array("I", [0])
    fcntl.ioctl(fd, request, value)
    return value[0]
