"""Debian packages, read without dpkg: an ar archive with two packed tar archives, what it installs and what it says."""

import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import zstandard

from xenia.errors import ConfigError
from xenia.toolstack.provision.cache import Progress, no_progress

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


@dataclass(frozen=True)
class ControlFile:
    """A file that a package gives dpkg: its description, a list, or a maintainer script."""

    data: bytes
    mode: int


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
    """What a package installs, in its order, each with its contents if it is a regular file.

    Contents can be read until the next member is asked for.  ConfigError if the file is damaged or no Debian package.
    """
    with _member(path, "data.tar", progress) as data:
        yield from _read_tar(data)


def read_control(path: Path) -> dict[str, ControlFile]:
    """What a package gives dpkg, by name: `control`, `conffiles`, `postinst` and so on.  ConfigError as above."""
    with _member(path, "control.tar") as data:
        return {
            name: ControlFile(contents.read(), member.mode)
            for member, contents in _read_tar(data)
            if contents is not None and "/" not in (name := member.name.removeprefix("./"))
        }


def unpacked_deb(path: Path) -> bytes:
    """The same package with nothing in it packed, for whoever is slow at that.  ConfigError as above."""
    archive = bytearray(_AR_MAGIC)
    for name in ("debian-binary", "control.tar", "data.tar"):
        with _member(path, name) as file:
            data = file.read()
        archive += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        archive += data + b"\n" * (len(data) % 2)
    return bytes(archive)


@contextmanager
def _member(path: Path, name: str, progress: Progress = no_progress) -> Iterator[IO[bytes]]:
    """The member of that name, unpacked, whatever it is packed with."""
    try:
        with path.open("rb") as file:
            suffix, window = _find(file, path, name, progress)
            yield _unpacked(window, suffix, path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or 'damaged Debian package'}") from None
    except (ValueError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error, zstandard.ZstdError):
        raise ConfigError(f"{path}: damaged Debian package") from None


def _find(file: IO[bytes], path: Path, wanted: str, progress: Progress) -> tuple[str, IO[bytes]]:
    """What the member's name ends with, and the member as it is packed."""
    if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise ConfigError(f"{path}: not a Debian package")
    while True:
        header = file.read(_AR_HEADER)
        if len(header) < _AR_HEADER:
            raise ConfigError(f"{path}: truncated Debian package")
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        digits = header[48:58].strip()
        if not digits.isdigit():
            raise ConfigError(f"{path}: damaged Debian package")
        size = int(digits)
        if name.startswith(wanted):
            window = _Window(file, size, f"unpacking {path.name.split('_')[0]}", progress)
            return name.removeprefix(wanted), cast(IO[bytes], window)
        file.seek(size + size % 2, io.SEEK_CUR)


def _unpacked(window: IO[bytes], suffix: str, path: Path) -> IO[bytes]:
    match suffix:
        case "":
            return window
        case ".xz":
            return lzma.open(window)
        case ".gz":
            return cast(IO[bytes], gzip.open(window))
        case ".zst":
            return zstandard.ZstdDecompressor(max_window_size=128 << 20).stream_reader(window)
        case _:
            raise ConfigError(f"{path}: packed in an unknown way ({suffix})")


def _read_tar(file: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    with tarfile.open(fileobj=file, mode="r|") as tar:
        for member in tar:
            yield member, tar.extractfile(member) if member.isreg() else None
