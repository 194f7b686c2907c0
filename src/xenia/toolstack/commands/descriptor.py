"""Files of this process that somebody else is to read or write."""

from __future__ import annotations

import os
import stat
from contextlib import suppress


def open_again(descriptor: int, mode: int) -> int | None:
    """A descriptor of our own that does not block, to the same pipe.  None where it is no pipe, or not ours to open.

    mode    os.O_RDONLY or os.O_WRONLY

    A FIFO that has a name is not opened again to read: its writers may have gone, and who comes then hears no end.

    The flags of the one that there is are left alone, for other processes share them.
    """
    with suppress(OSError):
        path = f"/proc/self/fd/{descriptor}"
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        if is_pipe and (mode == os.O_WRONLY or os.readlink(path).startswith("pipe:")):
            return os.open(path, mode | os.O_NONBLOCK | os.O_CLOEXEC)
    return None
