"""Archives in the "newc" form of cpio, which the Linux kernel unpacks as its initial root file system.

Nothing of the host gets in: no times, no owners, no inode numbers of its own.  The same entries give the same bytes.
Archives may follow one another; later entries then replace earlier ones of the same name.
"""

from __future__ import annotations

import stat

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"
_BLOCK = 512
_HEADER, _SIZE, _LENGTH = 110, 54, 94  # how long it is, and where a file's size and its name's are


def last_file(archives: bytes, path: str) -> bytes | None:
    """What the last file of that name has in it, of archives that are made here, behind others; None: there is none."""
    name = path.encode() + b"\0"
    head = archives.rfind(name) - _HEADER
    if head < 0 or archives[head : head + len(_MAGIC)] != _MAGIC:
        return None
    try:
        size, length = (int(archives[head + at : head + at + 8], 16) for at in (_SIZE, _LENGTH))
    except ValueError:
        return None
    start = head + -(-(_HEADER + len(name)) // 4) * 4
    return archives[start : start + size] if length == len(name) and start + size <= len(archives) else None


class CpioArchive:
    """An archive under construction.  Paths are absolute; directories must be added before what is in them."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._inode = 0

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Add a directory."""
        self._add(path, stat.S_IFDIR | mode, links=2)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._add(path, stat.S_IFREG | mode, data)

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a device node; unlike making one, writing one down needs no root."""
        self._add(path, stat.S_IFCHR | mode, device=(major, minor))

    def finish(self) -> bytes:
        """The whole archive, padded to whole blocks."""
        self._inode = -1
        self._add("/" + _TRAILER, 0)
        self._data += bytes(-len(self._data) % _BLOCK)
        return bytes(self._data)

    def _add(self, path: str, mode: int, data: bytes = b"", links: int = 1, device: tuple[int, int] = (0, 0)) -> None:
        name = path.removeprefix("/").encode() + b"\0"
        self._inode += 1
        # inode, mode, uid, gid, links, mtime, size, the file's device, the node's device, length of the name, checksum
        fields = (self._inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(name), 0)
        self._data += _MAGIC + b"".join(b"%08X" % field for field in fields) + name
        self._data += bytes(-len(self._data) % 4)
        self._data += data
        self._data += bytes(-len(self._data) % 4)
