"""The bottom of most stacks: a file of the host, whose bytes are the disk's."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from xenia.errors import ConfigError
from xenia.storage import host
from xenia.storage.door import door
from xenia.storage.host_bytes import HostBytes
from xenia.storage.layer import BlockSize, Capability, Extent
from xenia.storage.lock import lock


class RawFile(HostBytes):
    """A regular file."""

    name: ClassVar[str] = "file"

    def __init__(self, fd: int, read_only: bool = False) -> None:
        """Take over an open file."""
        capabilities = Capability.WRITE | Capability.DISCARD | Capability.WRITE_ZEROES | Capability.RESIZE
        super().__init__(fd, Capability(0) if read_only else capabilities, BlockSize())

    def _measure(self) -> int:
        return os.fstat(self.fd).st_size

    def _discard(self, offset: int, length: int, secure: bool) -> None:
        try:
            host.fallocate(self.fd, host.PUNCH_HOLE | host.KEEP_SIZE, offset, length)
        except OSError as error:
            if error.errno not in host.NOT_POSSIBLE:
                raise

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        mode = host.PUNCH_HOLE if unmap else host.ZERO_RANGE
        try:
            host.fallocate(self.fd, mode | host.KEEP_SIZE, offset, length)
        except OSError as error:
            if error.errno not in host.NOT_POSSIBLE:
                raise
            self._store_zeroes(offset, length)

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        end = offset + length
        while offset < end:
            try:
                data = min(os.lseek(self.fd, offset, os.SEEK_DATA), end)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                data = end
            if data > offset:
                yield Extent(offset, data - offset, zero=True, hole=True)
            if data < end:
                hole = min(os.lseek(self.fd, data, os.SEEK_HOLE), end)
                yield Extent(data, hole - data)
                data = hole
            offset = data

    def _resize(self, size: int) -> None:
        os.ftruncate(self.fd, size)
        self._size = size
        self._resized()


def open_file(path: Path, read_only: bool = False) -> RawFile:
    """Open a file as a disk.  It is locked: one writer, or any number of readers."""
    fd = open_locked(path, os.O_RDONLY if read_only else os.O_RDWR)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ConfigError(f"{path} is not a regular file")
    return RawFile(fd, read_only)


def create_file(path: Path, size: int, replace: bool = False) -> RawFile:
    """Make a file of zeroes, without any space of its own yet.  One that exists is an error without `replace`."""
    fd = open_locked(path, os.O_RDWR | os.O_CREAT | (0 if replace else os.O_EXCL))
    try:
        os.ftruncate(fd, 0)
        os.ftruncate(fd, size)
    except OSError as error:
        os.close(fd)
        raise ConfigError(f"cannot make {path} {size} bytes long: {error.strerror}") from None
    return RawFile(fd)


def remove_file(path: Path) -> None:
    """Remove a file that nobody uses, if it is there."""
    if path.exists():
        fd = open_locked(path, os.O_RDWR)
        try:
            path.unlink()
        finally:
            os.close(fd)


def open_locked(path: Path, flags: int) -> int:
    """A descriptor of a file or block device that nobody else changes.  ConfigError: of anything else, above all."""
    _check_kind(path, None)  # to open some other things is to wait for a peer, or to set them off
    try:
        fd = door().open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    except FileExistsError:
        raise ConfigError(f"there is a file {path} already (--force takes its place)") from None
    except OSError as error:
        raise ConfigError(f"cannot open {path}: {error.strerror}") from None
    try:
        _check_kind(path, fd)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~(os.O_CREAT | os.O_EXCL))
        lock(fd, path, write=flags & os.O_ACCMODE != os.O_RDONLY)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_kind(path: Path, fd: int | None) -> None:
    try:
        mode = os.stat(path if fd is None else fd).st_mode
    except OSError:
        return  # to open it says why
    except ValueError as error:
        raise ConfigError(f"cannot open {str(path)!r}: {error}") from None
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        kind = _OTHERS.get(stat.S_IFMT(mode), "something else")
        raise ConfigError(f"{path} is {kind}: a disk is a regular file or a block device")


_OTHERS = {
    stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket (a server's disk is nbd:SOCKET)",
    stat.S_IFCHR: "a character device",
}  # fmt: skip
