"""A core that is to be dumped: of what kind, and into which file.

xen     sections with the pages as they are, and the numbers, pseudo-physical and machine, of each.  Page tables name
        machine frames, as the guest sees them
elf     PT_LOAD segments by pseudo-physical address, NT_PRSTATUS of each vcpu, the kernel's VMCOREINFO.  Page tables
        name pseudo-physical frames, so what knows nothing of Xen follows them
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

from xenia.errors import ConfigError


class CoreFormat(Enum):
    """What kind of file."""

    XEN = "xen"
    ELF = "elf"


@contextmanager
def open_core(path: str | os.PathLike[str]) -> Iterator[int]:
    """A file for a core, open to be written, for nobody but its owner to read, for it holds all that the guest knows.

    It has its name, and takes the place of what was called so, when all that was to be written is: at the end.  Until
    then it has none, and goes with who writes it, however that one ends.  Where the file system has no files without a
    name, it is .xenia-core-* beside.  ConfigError where it cannot be had.
    """
    try:
        final = os.path.realpath(path)
        if os.path.exists(final) and not os.path.isfile(final):
            kind = "a folder" if os.path.isdir(final) else "no file"
            raise ConfigError(f"{os.fspath(path)}: {kind}, and a core is dumped into a file, which has room for holes")
        folder = os.path.dirname(final)
        temporary = os.path.join(folder, f".xenia-core-{os.urandom(8).hex()}")
        descriptor, has_name = _open_new(folder, temporary)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{os.fspath(path)}: {getattr(error, 'strerror', None) or error}") from None
    try:
        yield descriptor
        try:
            if not has_name:
                own = f"/proc/self/fd/{descriptor}"
                os.link(own, temporary, src_dir_fd=descriptor, follow_symlinks=True)  # linkat, for link follows none
            os.replace(temporary, final)
        except OSError as error:
            raise ConfigError(f"{os.fspath(path)}: {error.strerror}") from None
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)


def _open_new(folder: str, name: str) -> tuple[int, bool]:
    """A new file in a folder, and whether it is called `name` already."""
    flags = os.O_WRONLY | os.O_CLOEXEC
    try:
        return os.open(folder, flags | os.O_TMPFILE, 0o600), False
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    return os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600), True


def core_path(name: str) -> Path:
    """Where a domain of that name leaves its core when it crashes (on_crash="coredump-..."); the folder is made.

    ConfigError where it cannot be.
    """
    base = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(base if os.path.isabs(base) else os.path.expanduser("~/.local/state"), "xenia", "dump")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make {folder}: {error.strerror}") from None
    return folder / name
