"""Files of this process that somebody else is to read or write."""

from __future__ import annotations

import os
import stat


def open_again(descriptor: int, mode: int) -> int | None:
    """A descriptor of our own that does not block, to the same pipe.  None where it is no pipe, or not ours to open.

    mode    os.O_RDONLY or os.O_WRONLY

    The flags of the one that there is are left alone, for other processes share them.
    """
    path, flags = f"/proc/self/fd/{descriptor}", os.O_NONBLOCK | os.O_CLOEXEC
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return None
        own = os.open(path, mode | flags)
        try:
            if mode == os.O_RDONLY and not os.readlink(path).startswith("pipe:"):
                # Who opens a FIFO hears no end (POLLHUP) of writers who had gone before: let him have had one.
                os.close(os.open(path, os.O_WRONLY | flags))
        except OSError:
            os.close(own)
            raise
        return own
    except OSError:
        return None
