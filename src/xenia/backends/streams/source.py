"""A file that standard input comes from: others may read of it, too, and have taken what was there a moment ago."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress


class Source:
    """One; the descriptor stays the caller's."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._may_block = os.get_blocking(descriptor) and not is_seekable(descriptor)
        self._socket = _as_socket(descriptor) if self._may_block else None

    def fileno(self) -> int:
        """What becomes readable when there is something."""
        return self._descriptor

    def take(self, room: Sequence[memoryview]) -> int:
        """Read what there is into these; how many bytes.  BlockingIOError where there is nothing.  OSError(EOPNOTSUPP)
        where the host cannot read it but by waiting: terminals, and before Linux 6.4 pipes."""
        if self._socket is not None:
            return self._socket.recvmsg_into(room, 0, socket.MSG_DONTWAIT)[0]
        if self._may_block:
            return os.preadv(self._descriptor, room, -1, os.RWF_NOWAIT)
        return os.readv(self._descriptor, room)

    def wait_from_now_on(self) -> None:
        """Read it all the same: it is nobody else's."""
        self._may_block = False

    def close(self) -> None:
        """Let go of it."""
        if self._socket is not None:
            self._socket.close()


def is_seekable(descriptor: int) -> bool:
    """Whether it is a file, which no other process makes us wait for."""
    with suppress(OSError):
        return os.lseek(descriptor, 0, os.SEEK_CUR) >= 0
    return False


def _as_socket(descriptor: int) -> socket.socket | None:
    """A socket of our own, where it is one."""
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return None
