"""Archives that nobody vouches for, read within bounds."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

_MOST_SAID_OF_ALL = 64  # words of headers that go for all files behind them, which each of those keeps
_MOST_BEFORE_ONE = 4  # headers that say more of one file: they are kept until it comes
_LARGEST_MAP = 1 << 16  # bytes that say where a sparse file has data
DAMAGED_TAR = (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, IndexError)
"""What comes of reading archives that are none."""


class Header(tarfile.TarInfo):
    """A member of an archive that nobody vouches for: what is said of it is kept in memory, and bounded.

    MOST_SAID   bytes of a name, or of what else one header says of one file
    """

    MOST_SAID: ClassVar[int] = 1 << 16
    _SAID = (
        tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
    )  # fmt: skip

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """As in TarInfo.  ReadError where more is said than one could want."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in cls._SAID and member.size > cls.MOST_SAID:
            raise tarfile.ReadError("a header that is too large")
        if member.size < 0:
            raise tarfile.ReadError("a size below nothing")
        return member

    @classmethod
    def fromtarfile(cls, archive: Any) -> Self:
        """As in TarInfo.  ReadError where it does not lead on, or what is said of it or of all files is too much."""
        depth = getattr(archive, "nr_headers", 0)  # it calls itself for what is behind each of _SAID
        if depth > _MOST_BEFORE_ONE:
            raise tarfile.ReadError("too many headers of one file")
        archive.nr_headers = depth + 1
        try:
            member = super().fromtarfile(archive)
        finally:
            archive.nr_headers = depth
        if member.size < 0 or archive.offset <= member.offset or len(archive.pax_headers) > _MOST_SAID_OF_ALL:
            raise tarfile.ReadError("a header that leads nowhere, or says too much")
        return member

    def _proc_sparse(self, archive: Any) -> Self:
        with _map_bounded(archive):
            return super()._proc_sparse(archive)  # type: ignore[misc,no-any-return]

    def _proc_gnusparse_10(self, member: Self, words: dict[str, str], archive: Any) -> None:
        with _map_bounded(archive):
            super()._proc_gnusparse_10(member, words, archive)  # type: ignore[misc]


@contextmanager
def _map_bounded(archive: Any) -> Iterator[None]:
    """While the map of a sparse file is read of an archive, which is all that is read."""
    whole = archive.fileobj
    archive.fileobj = _Map(whole)
    try:
        yield
    finally:
        archive.fileobj = whole


class _Map:
    """An archive, of which little is read."""

    def __init__(self, file: Any) -> None:
        self._file, self._left = file, _LARGEST_MAP
        self.tell = file.tell

    def read(self, size: int) -> Any:
        """As of a file.  ReadError where that is too much."""
        self._left -= size
        if self._left < 0:
            raise tarfile.ReadError("a map that is too large")
        return self._file.read(size)
