"""A folder of the host's as a file system on a disk: its files as they are now, in an ext4 that is gone in the end.

`mke2fs -d` makes it, which needs no root.  It copies each file's owner; but what is the user's is root's here, as in a
shared folder (`p9/session.pyx`): a guest knows no user of that number.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar

from xenia.errors import ConfigError
from xenia.jail.calls import PROCESSORS
from xenia.jail.jail import hold_to
from xenia.jail.landlock import READ, Right
from xenia.storage.door import door
from xenia.storage.file import RawFile
from xenia.storage.spec import Word

BLOCK = 4096
INODE = 256
# No journal, for nothing is left after a crash; no checksums, for inodes are changed here.
_FEATURES = "none,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize"
_PROGRAMS = f"/usr/sbin:/sbin:{os.defpath}"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache")
_FREE = 1 << 30  # bytes for the guest at the least: what it does not write takes no room on the host
_FREE_FILES = 1 << 14
_LOOKED = 0.25  # seconds between two looks at who makes it
_QUIET = 1.0  # and for which nobody is told how far it is

Progress = Callable[[str, int, int], object]
_progress: ContextVar[Progress | None] = ContextVar("progress", default=None)


@contextmanager
def telling(progress: Progress) -> Iterator[None]:
    """Who opens a large folder within tells how far it is: what is being done, bytes done, and all of them."""
    token = _progress.set(progress)
    try:
        yield
    finally:
        _progress.reset(token)


class Folder(RawFile):
    """A disk that was made of one."""

    name: ClassVar[str] = "folder"

    def __init__(self, path: Path, fd: int, read_only: bool) -> None:
        """Take over the file that the disk is in."""
        super().__init__(fd, read_only)
        self._path = path

    def details(self) -> dict[str, Any]:
        return {**super().details(), "path": str(self._path)}


def open_folder(path: Path, read_only: bool) -> Folder:
    """A disk with the folder's files as they are now; what is written there is gone when it is closed.  ConfigError."""
    try:
        return Folder(path, door().made(path, lambda fd: _fill(fd, path)), read_only)
    except OSError as error:
        where = "" if error.filename in (None, str(path)) else f"{error.filename}: "
        raise _refusal(path, f"{where}{error.strerror}") from None


def refuse_folder(word: Word, *_: object) -> None:
    """What making one beforehand comes to.  ConfigError."""
    raise word.error("such a disk is made anew whenever it is opened: there is nothing to make beforehand")


def _refusal(folder: Path, why: str) -> ConfigError:
    return ConfigError(f"no disk can be made of the folder {folder}: {why}")


class _Shown:
    """How far it is, told where it takes a while."""

    def __init__(self, folder: Path) -> None:
        self._what, self._tell = f"copying {folder} to a disk", _progress.get()
        self._since = time.monotonic()

    def at(self, done: int, total: int) -> None:
        """So many bytes of all; of 0, not known yet."""
        if self._tell is not None and time.monotonic() - self._since > _QUIET:
            self._tell(self._what, done, total)


def _fill(fd: int, folder: Path) -> None:
    shown = _Shown(folder)
    count, blocks = _measure(folder, shown)
    files = 2 * count + _FREE_FILES
    size = (2 * blocks + files * INODE // BLOCK) * BLOCK + _FREE
    size += size // 64  # bitmaps and descriptors
    image = f"/proc/self/fd/{fd}"

    def look() -> None:
        shown.at(os.fstat(fd).st_blocks * 512, blocks * BLOCK)

    _run(
        folder, fd, look, "mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK), "-I", str(INODE), "-N", str(files),
        "-m", "0", "-O", _FEATURES, "-d", str(folder), image, str(size // BLOCK),
    )  # fmt: skip
    _run(folder, fd, lambda: None, "debugfs", "-w", "-R", "rmdir lost+found", image)
    if (user := os.geteuid()) != 0:
        give_to_root(fd, user, os.getegid())


def _measure(folder: Path, shown: _Shown) -> tuple[int, int]:
    """How many files there are, and blocks in them.  OSError or ConfigError for what cannot be read."""
    count, blocks, waiting = 1, 1, [str(folder)]
    while waiting:
        path = waiting.pop()
        # Below the folder itself a link has come in the place of what it was.
        follow = 0 if count == 1 else os.O_NOFOLLOW
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | follow)
        try:
            with os.scandir(opened) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    count += 1
                    blocks += 2 + found.st_size // BLOCK
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(os.path.join(path, entry.name))
                    elif stat.S_ISREG(found.st_mode) and not os.access(entry.name, os.R_OK, dir_fd=opened):
                        raise _refusal(folder, f"{os.path.join(path, entry.name)} may not be read")
        finally:
            os.close(opened)
        shown.at(0, 0)
    return count, blocks


def _run(folder: Path, fd: int, look: Callable[[], object], program: str, *words: str) -> None:
    """Run a program that reaches the folder and the disk alone; `look` is called while it runs.  ConfigError."""
    found = shutil.which(program, path=_PROGRAMS)
    if found is None:
        raise ConfigError(f"a disk is made of a folder by {program}, which this host has not (package e2fsprogs)")
    reach = {Path(path): READ | Right.EXECUTE for path in _SYSTEM}
    reach |= {folder: READ, Path(f"/proc/self/fd/{fd}"): Right.READ_FILE | Right.WRITE_FILE | Right.TRUNCATE}

    def confine() -> None:
        # It looks at a file and then opens it by name: somebody may have put a link there meanwhile.
        hold_to(reach)

    try:
        process = subprocess.Popen(
            [found, *words], pass_fds=[fd], preexec_fn=confine,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={"PATH": _PROGRAMS, "LC_ALL": "C", "MKE2FS_CONFIG": "/dev/null"},
        )  # fmt: skip
    except subprocess.SubprocessError:
        raise _refusal(folder, f"{program} cannot be held to it") from None
    with process:
        try:
            errors = _watched(process, folder, look)
        except BaseException:
            process.kill()
            raise
    if process.returncode < 0:
        raise _refusal(folder, f"{program} was ended by {_signal(-process.returncode)}")
    if process.returncode:
        said = errors.decode(errors="replace").strip().splitlines()
        raise _refusal(folder, said[-1] if said else f"{program} failed")


def _watched(process: subprocess.Popen[bytes], folder: Path, look: Callable[[], object]) -> bytes:
    """What a program says that is wrong, once it has ended.  ConfigError where it waits for somebody to open the other
    end of what was a file when it looked."""
    before = None
    while True:
        try:
            return process.communicate(timeout=_LOOKED)[1]
        except subprocess.TimeoutExpired:
            look()
        opening = _opening(process.pid)
        if opening is not None and opening == before and not _is_file(opening):
            name = os.fsdecode(os.path.basename(opening))
            raise _refusal(folder, f"the file {name} in it has become something else")
        before = opening


def _opening(pid: int) -> bytes | None:
    """What a process is about to open, as this one reaches it; None where it is about something else, or does not
    say."""
    processor = PROCESSORS.get(os.uname().machine)
    try:
        call, _, address, *_ = Path(f"/proc/{pid}/syscall").read_text().split()
        if processor is None or int(call) != processor.numbers["openat"]:
            return None
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            name = os.pread(memory.fileno(), os.pathconf("/", "PC_PATH_MAX"), int(address, 16)).partition(b"\0")[0]
    except (OSError, ValueError):
        return None
    return os.path.join(b"/proc/%d/cwd" % pid, name)


def _is_file(path: bytes) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def give_to_root(fd: int, user: int, group: int) -> None:
    """Of all files of an ext4 that was made here, those of the user and of the group become root's."""
    head = os.pread(fd, 1024, 1024)
    total, per_group = struct.unpack_from("<I", head)[0], struct.unpack_from("<I", head, 40)[0]
    groups = total // per_group
    descriptors = os.pread(fd, groups * 32, BLOCK)
    for number in range(groups):
        at = struct.unpack_from("<I", descriptors, number * 32 + 8)[0] * BLOCK
        table = bytearray(os.pread(fd, per_group * INODE, at))
        if any(table):
            for inode in range(0, len(table), INODE):
                _become_root(table, inode + 2, inode + 120, user)
                _become_root(table, inode + 24, inode + 122, group)
            os.pwrite(fd, table, at)


def _become_root(table: bytearray, low: int, high: int, number: int) -> None:
    found = struct.unpack_from("<H", table, low)[0] | struct.unpack_from("<H", table, high)[0] << 16
    if found == number:
        struct.pack_into("<H", table, low, 0)
        struct.pack_into("<H", table, high, 0)
