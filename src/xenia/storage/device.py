"""A block device of the host as the bottom of a stack."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from xenia.errors import ConfigError
from xenia.storage import host
from xenia.storage.buffers import Buffers
from xenia.storage.file import open_locked, submit_nowait
from xenia.storage.layer import BlockSize, Capability, Extent, Layer, Request

BLKSSZGET, BLKPBSZGET, BLKGETSIZE64 = 0x1268, 0x127B, 0x80081272  # linux/fs.h
BLKDISCARD, BLKSECDISCARD, BLKZEROOUT = 0x1277, 0x127D, 0x127F


class HostDevice(Layer):
    """A block device.  Its minimum block is its logical sector."""

    name: ClassVar[str] = "device"

    def __init__(self, fd: int, read_only: bool = False) -> None:
        """Take over an open block device."""
        capabilities = Capability.NOWAIT | Capability.FLUSH
        if not read_only:
            capabilities |= Capability.WRITE | Capability.DISCARD | Capability.SECURE_DISCARD | Capability.WRITE_ZEROES
        super().__init__(None, capabilities, BlockSize(_asked(fd, BLKSSZGET), max(4096, _asked(fd, BLKPBSZGET))))
        self.fd = fd
        self._size = _device_size(fd)
        self._lost = 0

    @property
    def size(self) -> int:
        return self._size

    def _read(self, buffers: Buffers, offset: int, length: int) -> None:
        host.read_all(self.fd, buffers, offset)

    def _write(self, buffers: Buffers, offset: int, length: int) -> None:
        host.write_all(self.fd, buffers, offset)

    def _flush(self) -> None:
        if not self._lost:
            try:
                os.fdatasync(self.fd)
            except OSError as error:
                self._lost = error.errno or errno.EIO
        if self._lost:
            raise OSError(self._lost, "what was written could not be made durable")

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

    def _refresh(self) -> None:
        size = _device_size(self.fd)
        if size != self._size:
            self._size = size
            self._resized()

    def _close(self) -> None:
        try:
            if not self.read_only:
                self._flush()
        finally:
            os.close(self.fd)

    def _submit_nowait(self, requests: Sequence[Request]) -> list[Request]:
        return submit_nowait(self, self.fd, requests)


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


def _device_size(fd: int) -> int:
    value = array.array("Q", [0])
    fcntl.ioctl(fd, BLKGETSIZE64, value)
    return value[0]
