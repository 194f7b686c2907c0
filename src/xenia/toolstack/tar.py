"""Archives that nobody vouches for, read within bounds."""

from __future__ import annotations

import tarfile
from typing import Self

_MOST_HEADER = 1 << 20  # bytes of a name, or of what else is said of one file
_MOST_SAID_OF_ALL = 64  # words of headers that go for all files behind them, which each of those keeps
DAMAGED_TAR = (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, IndexError)
"""What comes of reading archives that are none."""


class Header(tarfile.TarInfo):
    """A member of an archive that nobody vouches for: what is said of it is kept in memory, and bounded."""

    _SAID = (
        tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
    )  # fmt: skip

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """As in TarInfo.  ReadError where more is said than one could want."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in cls._SAID and member.size > _MOST_HEADER:
            raise tarfile.ReadError("a header that is too large")
        if member.size < 0:
            raise tarfile.ReadError("a size below nothing")
        return member

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """As in TarInfo.  ReadError where it does not lead on, or what is said of all files is too much."""
        member = super().fromtarfile(archive)
        if member.size < 0 or archive.offset <= member.offset or len(archive.pax_headers) > _MOST_SAID_OF_ALL:
            raise tarfile.ReadError("a header that leads nowhere, or says too much")
        return member
