"""A core that is to be dumped: of what kind, and into which file.

xen     sections with the pages as they are, and the numbers, pseudo-physical and machine, of each.  Page tables name
        machine frames, as the guest sees them
elf     PT_LOAD segments by pseudo-physical address, NT_PRSTATUS of each vcpu, the kernel's VMCOREINFO.  Page tables
        name pseudo-physical frames, so what knows nothing of Xen follows them
"""

from __future__ import annotations

import os
import stat
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

    What is in it is lost; where the core does not come to be, so is the file.  ConfigError where it cannot be had.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise ConfigError(f"{os.fspath(path)}: {error.strerror}") from None
    is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    if is_file:
        try:
            os.fchmod(descriptor, 0o600)  # it may have been there before
        except OSError as error:
            os.close(descriptor)
            raise ConfigError(f"{os.fspath(path)}: others may read it: {error.strerror}") from None
    try:
        yield descriptor
    except BaseException:
        if is_file:
            with suppress(OSError):
                os.unlink(path)
        raise
    finally:
        os.close(descriptor)


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
