"""A folder of the host's as a file system on a disk: its files as they are now, in an ext4 that is gone in the end.

`mke2fs -d` makes it, which needs no root.  It copies each file's owner; but what is the user's is root's here, as in a
shared folder (`p9/session.pyx`): a guest knows no user of that number.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
from pathlib import Path

from xenia.errors import ConfigError
from xenia.jail.jail import hold_to
from xenia.jail.landlock import READ, Right
from xenia.storage.door import door
from xenia.storage.file import RawFile

BLOCK = 4096
INODE = 256
# No journal, for nothing is left after a crash; no checksums, for inodes are changed here.
_FEATURES = "none,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize"
_PROGRAMS = f"/usr/sbin:/sbin:{os.defpath}"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache")
_FREE = 1 << 30  # bytes for the guest at the least: what it does not write takes no room on the host
_FREE_FILES = 1 << 14


def open_folder(path: Path, read_only: bool) -> RawFile:
    """A disk with the folder's files as they are now; what is written there is gone when it is closed.  ConfigError."""
    try:
        return RawFile(door().made(path, lambda fd: _fill(fd, path)), read_only)
    except OSError as error:
        where = "" if error.filename in (None, str(path)) else f"{error.filename}: "
        raise ConfigError(f"no disk can be made of the folder {path}: {where}{error.strerror}") from None


def _fill(fd: int, folder: Path) -> None:
    count, blocks = _measure(folder)
    files = 2 * count + _FREE_FILES
    size = (2 * blocks + files * INODE // BLOCK) * BLOCK + _FREE
    size += size // 64  # bitmaps and descriptors
    image = f"/proc/self/fd/{fd}"
    _run(
        folder, fd, "mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK), "-I", str(INODE), "-N", str(files), "-m", "0",
        "-O", _FEATURES, "-d", str(folder), image, str(size // BLOCK),
    )  # fmt: skip
    _run(folder, fd, "debugfs", "-w", "-R", "rmdir lost+found", image)
    if (user := os.geteuid()) != 0:
        give_to_root(fd, user, os.getegid())


def _measure(folder: Path) -> tuple[int, int]:
    """How many files there are, and blocks in them.  OSError or ConfigError for what cannot be read."""
    count, blocks, waiting = 1, 1, [str(folder)]
    while waiting:
        for entry in os.scandir(waiting.pop()):
            found = entry.stat(follow_symlinks=False)
            count += 1
            blocks += 2 + found.st_size // BLOCK
            if stat.S_ISDIR(found.st_mode):
                waiting.append(entry.path)
            elif stat.S_ISREG(found.st_mode) and not os.access(entry.path, os.R_OK):
                raise ConfigError(f"no disk can be made of the folder {folder}: {entry.path} may not be read")
    return count, blocks


def _run(folder: Path, fd: int, program: str, *words: str) -> None:
    found = shutil.which(program, path=_PROGRAMS)
    if found is None:
        raise ConfigError(f"a disk is made of a folder by {program}, which this host has not (package e2fsprogs)")
    reach = {Path(path): READ | Right.EXECUTE for path in _SYSTEM}
    reach |= {folder: READ, Path(f"/proc/self/fd/{fd}"): Right.READ_FILE | Right.WRITE_FILE | Right.TRUNCATE}

    def confine() -> None:
        # It looks at a file and then opens it by name: somebody may have put a link there meanwhile.
        hold_to(reach)

    try:
        done = subprocess.run(
            [found, *words], pass_fds=[fd], preexec_fn=confine,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={"PATH": _PROGRAMS, "LC_ALL": "C", "MKE2FS_CONFIG": "/dev/null"}, check=False,
        )  # fmt: skip
    except subprocess.SubprocessError:
        raise ConfigError(f"no disk can be made of the folder {folder}: {program} cannot be held to it") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ConfigError(f"no disk can be made of the folder {folder}: {said[-1] if said else f'{program} failed'}")


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
