"""Debian packages, read without dpkg: an ar archive whose data member is a packed tar archive."""

import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import zstandard

from xenia.errors import ConfigError
from xenia.toolstack.cache import Progress, no_progress

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


class _Window(io.BufferedIOBase):
    """The next `size` bytes of a file as a file of its own."""

    def __init__(self, file: IO[bytes], size: int, what: str, progress: Progress) -> None:
        self._file = file
        self._size = size
        self._done = 0
        self._what = what
        self._progress = progress

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        left = self._size - self._done
        data = self._file.read(left if size is None or size < 0 else min(size, left))
        self._done += len(data)
        self._progress(self._what, self._done, self._size)
        return data


def read_deb(path: Path, progress: Progress = no_progress) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """The members of a package in their order, each with its contents if it is a regular file.

    Contents can be read until the next member is asked for.  ConfigError if the file is damaged or no Debian package.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
                raise ConfigError(f"{path}: not a Debian package")
            while True:
                header = file.read(_AR_HEADER)
                if len(header) < _AR_HEADER:
                    raise ConfigError(f"{path}: truncated Debian package")
                name = header[:16].decode("ascii", "replace").strip().rstrip("/")
                size = int(header[48:58])
                if name.startswith("data.tar"):
                    window = _Window(file, size, f"unpacking {path.name.split('_')[0]}", progress)
                    yield from _read_tar(_unpacked(cast(IO[bytes], window), name, path))
                    return
                file.seek(size + size % 2, io.SEEK_CUR)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or 'damaged Debian package'}") from None
    except (ValueError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error, zstandard.ZstdError):
        raise ConfigError(f"{path}: damaged Debian package") from None


def _unpacked(window: IO[bytes], name: str, path: Path) -> IO[bytes]:
    match name.removeprefix("data.tar"):
        case "":
            return window
        case ".xz":
            return lzma.open(window)
        case ".zst":
            return zstandard.ZstdDecompressor().stream_reader(window)
        case suffix:
            raise ConfigError(f"{path}: packed in an unknown way ({suffix})")


def _read_tar(file: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    with tarfile.open(fileobj=file, mode="r|") as tar:
        for member in tar:
            yield member, tar.extractfile(member) if member.isreg() else None
