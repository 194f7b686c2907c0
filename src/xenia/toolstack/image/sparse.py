"""A file with holes, packed as GNU's tar does (GNU.sparse 1.0): a map of where it has data, and the data alone."""

from __future__ import annotations

import errno
import os
import tarfile
from collections.abc import Iterable, Iterator
from typing import IO, Final, NamedTuple, cast

from xenia.errors import ConfigError
from xenia.toolstack.image.oci_tree import Inode

_LEAST: Final = 1 << 20  # bytes of a file without a map whose holes are looked for
_BLOCK: Final = tarfile.BLOCKSIZE


class Extent(NamedTuple):
    """Data of a file: where in the file, where in its layer's archive, and how much."""

    offset: int
    position: int
    size: int


def extents(inode: Inode) -> list[Extent] | None:
    """Where a regular file has data: by its archive's map, or as the host keeps the archive.  None where that is all of
    it, or the map is in no order that everybody reads in the same way.  ConfigError where it leads out of the file."""
    member, archive = inode.member, inode.archive
    if archive is None or not member.isreg():
        return None
    if member.sparse is not None:
        return _mapped(cast(list[tuple[int, int]], member.sparse), member.offset_data, member.size)
    if member.size < _LEAST:
        return None
    found = list(_kept(cast(IO[bytes], archive.fileobj), member.offset_data, member.size))
    return found if sum(extent.size for extent in found) < member.size else None


def _mapped(entries: Iterable[tuple[int, int]], position: int, size: int) -> list[Extent] | None:
    found: list[Extent] = []
    end = 0
    for offset, length in entries:
        if not length:
            continue
        if offset < 0 or length < 0 or offset + length > size:
            raise ConfigError("damaged: a file's map leads out of it")
        # What is behind a part of a block is its padding to some, and the next part to others.
        if offset < end or (found and found[-1].size % _BLOCK):
            return None
        found.append(Extent(offset, position, length))
        end, position = offset + length, position + length
    return found


def _kept(file: IO[bytes], begin: int, size: int) -> Iterator[Extent]:
    try:
        descriptor = file.fileno()
    except OSError:  # one in memory
        yield Extent(0, begin, size)
        return
    before = os.lseek(descriptor, 0, os.SEEK_CUR)  # the file's own, which knows where it is
    try:
        at, end = begin, begin + size
        while at < end and (data := _next(descriptor, at, os.SEEK_DATA, end)) < end:
            at = min(_next(descriptor, data, os.SEEK_HOLE, end), end)
            yield Extent(data - begin, data, at - data)
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)


def _next(descriptor: int, at: int, what: int, end: int) -> int:
    try:
        return os.lseek(descriptor, at, what)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return end  # there is none behind it


def pack(member: tarfile.TarInfo, inode: Inode, data: list[Extent]) -> IO[bytes]:
    """Make of a file's member one that has this data and holes; the contents that an archive gets with it."""
    entries = [(extent.offset, extent.size) for extent in data]
    if not data or data[-1].offset + data[-1].size < member.size:
        entries.append((member.size, 0))
    head = f"{len(entries)}\n".encode() + b"".join(b"%d\n%d\n" % entry for entry in entries)
    head += b"\0" * (-len(head) % _BLOCK)
    member.pax_headers = {
        **member.pax_headers, "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": member.name,
        "GNU.sparse.realsize": str(member.size),
    }  # fmt: skip
    member.name = "GNUSparseFile.0/file"
    member.size = len(head) + sum(extent.size for extent in data)
    assert inode.archive is not None
    return cast(IO[bytes], _Contents(head, cast(IO[bytes], inode.archive.fileobj), data))


class _Contents:
    """A map, and behind it data that is read of a layer's archive."""

    def __init__(self, head: bytes, file: IO[bytes], data: list[Extent]) -> None:
        self._head, self._file = head, file
        self._left = [[extent.position, extent.size] for extent in reversed(data)]

    def read(self, size: int) -> bytes:
        """As of a file.  ReadError where the archive ends before."""
        piece, self._head = self._head[:size], self._head[size:]
        while self._left and len(piece) < size:
            position, length = self._left[-1]
            self._file.seek(position)
            more = self._file.read(min(length, size - len(piece)))
            if not more:
                raise tarfile.ReadError("unexpected end of data")
            piece += more
            self._left[-1] = [position + len(more), length - len(more)]
            if len(more) == length:
                self._left.pop()
        return piece
