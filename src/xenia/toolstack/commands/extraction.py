"""What a guest's tar archive becomes here.  Whoever writes the archive may be hostile.

It is unpacked in a folder of ours that nobody else has seen, beside where it is to be, and only into folders that were
made of this very archive: no link is ever followed.  That folder is held open, so that it is the same one whoever may
rename it.  It brings files, folders, and such links as lead to something in
it, from wherever it is put; no devices, no owners, no setuid, and nothing that others may write.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from xenia.errors import ConfigError

_PIECE = 1 << 18
_MOST_ENTRIES = 10_000_000
_MOST_FOLDERS = 1_000_000
_MOST_NAMED = 1 << 28  # characters of all folders' paths
_DEEPEST = 200  # folders in one another
_MOST_TOLD = 20  # that were left out
_KINDS = {tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a fifo"}
_LATEST = 1 << 34  # seconds: what file systems take as a time


@dataclass
class Copied:
    """What has been copied: files and folders, the bytes in them; and what was not.

    left_out        lines, of many the first; nr_left_out are all
    passed_over     file systems that nobody means who copies a folder that they are mounted in: paths and types
    """

    progress: Callable[[int], object] = field(repr=False)
    files: int = 0
    bytes: int = 0
    left_out: list[str] = field(default_factory=list)
    nr_left_out: int = 0
    passed_over: dict[str, str] = field(default_factory=dict)

    def leave_out(self, what: str) -> None:
        """Tell of something that was not copied."""
        self.nr_left_out += 1
        if len(self.left_out) < _MOST_TOLD:
            self.left_out.append(what)

    def come_from(self, source: Copied) -> None:
        """What was not copied on the way here was not, either."""
        self.left_out[:0] = source.left_out
        self.nr_left_out += source.nr_left_out
        self.passed_over |= source.passed_over

    def moved(self, count: int) -> None:
        """So many bytes more."""
        self.bytes += count
        self.progress(self.bytes)


class Extraction:
    """Of one file, or with `recursive` one folder, that will be `final`.  Use as a context manager: what is not put in
    place by its end goes."""

    def __init__(self, final: Path, recursive: bool, copied: Copied) -> None:
        """ConfigError where nothing can be written there."""
        self._final, self._recursive, self._copied = final, recursive, copied
        self._folders: dict[str, tuple[int, float]] = {}  # modes and times, by path
        self._nr_named = 0
        self._is_file = False
        try:
            beside = (final if final.is_dir() else final.parent).resolve()
            self._stage = Path(tempfile.mkdtemp(prefix=".xenia-cp-", dir=beside))
            self._held = os.open(self._stage, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as refusal:
            raise ConfigError(f"{final}: {refusal.strerror}") from None
        if os.fstat(self._held).st_uid != os.geteuid():
            os.close(self._held)
            raise ConfigError(f"{beside}: what is made there is another user's")
        self._root = Path(f"/proc/self/fd/{self._held}/root")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            if self._root.is_dir() and not self._root.is_symlink():
                shutil.rmtree(self._root, ignore_errors=True)
            else:
                self._root.unlink(missing_ok=True)
            os.rmdir(self._stage)
        os.close(self._held)

    @property
    def is_complete(self) -> bool:
        """Whether there is something to put in place."""
        return self._is_file or bool(self._folders)

    def take(self, tar: tarfile.TarFile) -> None:
        """Unpack an archive.  ConfigError where it holds what was not asked for, or it cannot be written; DAMAGED_TAR
        where it is none."""
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it keeps them all, as many as it is sent
            try:
                self._take(tar, member)
            except OSError as refusal:
                raise ConfigError(f"{self._final}: {refusal.strerror or refusal}") from None
            self._copied.files += 1
            if self._copied.files > _MOST_ENTRIES:
                raise ConfigError(f"the guest sends more than {_MOST_ENTRIES} files")

    def put_in_place(self) -> None:
        """Let it have its name.  A folder goes into one that is there, file by file."""
        try:
            for name, (mode, time) in reversed(self._folders.items()):
                path = self._root / name
                os.chmod(path, mode & 0o755 | 0o700)
                _set_time(path, time)
            _place(self._root, self._final, into=True)
        except OSError as refusal:
            raise ConfigError(f"{refusal.filename2 or self._final}: {refusal.strerror}") from None

    def _take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = tuple(part for part in member.name.split("/") if part not in ("", "."))
        if not self._folders:
            if member.isreg() and not self._is_file:
                self._is_file = True
                parts = ()
            elif not (self._recursive and member.isdir() and not parts and not self._is_file):
                raise ConfigError("the guest sends something else than what it was asked for")
        elif not parts or "/".join(parts[:-1]) not in self._folders or ".." in parts or len(parts) > _DEEPEST:
            raise ConfigError("the guest sends a file that belongs nowhere")
        path = self._root.joinpath(*parts)
        if member.isdir():
            os.mkdir(path, 0o700)
            self._keep("/".join(parts), member)
        elif member.isreg() and member.sparse is None:
            contents = tar.extractfile(member)
            assert contents is not None
            self._write(path, member, contents)
        elif member.issym() and _stays_inside(parts, member.linkname):
            os.symlink(member.linkname, path)
            _set_time(path, member.mtime)
        elif member.islnk() and (target := self._file_of(member.linkname)) is not None:
            os.link(target, path, follow_symlinks=False)
        else:
            what = "a link that leads elsewhere" if member.issym() or member.islnk() else _KINDS.get(member.type, "")
            what = what or "neither a file nor a folder"
            self._copied.leave_out(f"{'/'.join(parts)}: {what}")

    def _keep(self, name: str, member: tarfile.TarInfo) -> None:
        """Know of a folder what it gets in the end."""
        self._folders[name] = (member.mode, member.mtime)
        self._nr_named += len(name)
        if len(self._folders) > _MOST_FOLDERS or self._nr_named > _MOST_NAMED:
            raise ConfigError(f"the guest sends more than {_MOST_FOLDERS} folders, or such as have longer names")

    def _file_of(self, name: str) -> Path | None:
        """The file of this archive that is called so, if it was not left out."""
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        path = self._root.joinpath(*parts)
        if parts and ".." not in parts and "/".join(parts[:-1]) in self._folders:
            with suppress(OSError):
                return path if stat.S_ISREG(os.lstat(path).st_mode) else None
        return None

    def _write(self, path: Path, member: tarfile.TarInfo, contents: IO[bytes]) -> None:
        """Write a file; what is zero in it is a hole."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "wb", buffering=0) as new:
            left = member.size
            while left:
                data = contents.read(min(_PIECE, left))
                if not data:
                    raise tarfile.ReadError("unexpected end of data")
                left -= len(data)
                if data.lstrip(b"\0"):
                    rest = memoryview(data)
                    while rest:
                        rest = rest[new.write(rest) :]
                else:
                    new.seek(len(data), os.SEEK_CUR)
                self._copied.moved(len(data))
            new.truncate(member.size)
            executable = 0o111 if member.mode & 0o100 else 0
            os.fchmod(new.fileno(), member.mode & (0o644 | executable) | 0o400)
        _set_time(path, member.mtime)


def _stays_inside(parts: tuple[str, ...], target: str) -> bool:
    """Whether a link leads to something in the archive, whichever links it goes over: it goes up from its own folder,
    which is none, and then only down."""
    if target.startswith("/") or not target or "\0" in target:
        return False
    steps = [step for step in target.split("/") if step not in ("", ".")]
    ups = next((number for number, step in enumerate(steps) if step != ".."), len(steps))
    return ups <= len(parts) - 1 and ".." not in steps[ups:]


def _set_time(path: Path, time: float) -> None:
    time = time if 0 <= time <= _LATEST else 0
    os.utime(path, (time, time), follow_symlinks=False)


def _place(source: Path, target: Path, *, into: bool = False) -> None:
    """Give something its name; where both are folders, all that is in it.

    into    a link to a folder will do, for the user named it
    """
    is_folder = source.is_dir() and not source.is_symlink()
    if is_folder and target.is_dir() and (into or not target.is_symlink()):
        for entry in sorted(os.listdir(source)):
            _place(source / entry, target / entry)
    elif target.is_dir() and (into or not target.is_symlink()):
        raise ConfigError(f"{target}: a folder is there")
    elif target.exists() and not (target.is_file() or target.is_dir()):
        raise ConfigError(f"{target}: neither a file nor a folder is there")
    else:
        os.replace(source, target)
