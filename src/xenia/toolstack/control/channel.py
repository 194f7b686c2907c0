"""Requests between two processes of one program, over a socket that keeps them apart (SOCK_SEQPACKET).

Each is an object of JSON with the open files that belong to it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from xenia.errors import ConfigError
from xenia.toolstack.config.device import MOST_DESCRIPTORS

LONGEST = 1 << 20


def opened(file: str | os.PathLike[str] | bytes, stack: ExitStack) -> int:
    """A descriptor to hand over: to read a file, or a nameless one that has these bytes in it, from the beginning.

    The stack closes it.  ConfigError where the file cannot be opened.
    """
    if isinstance(file, bytes):
        descriptor = os.memfd_create("xenia-image")
        stack.callback(os.close, descriptor)
        with open(os.dup(descriptor), "wb") as target:
            target.write(file)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{os.fspath(file)}: {error.strerror}") from None
    stack.callback(os.close, descriptor)
    return descriptor


class Channel:
    """One end.  Any thread may send, one receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONGEST)
        self._sending = threading.Lock()

    def send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send it, with copies of these open files.  OSError where nobody is there, or it is too long (EMSGSIZE: longer
        than LONGEST, or than the host lets a socket hold)."""
        data = json.dumps(message).encode()
        if len(data) > LONGEST:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        with self._sending:
            socket.send_fds(self._socket, [data], descriptors)

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next, and the files that came with it, which are the caller's.  None where the other end has gone.

        ValueError where it is no object of JSON.
        """
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, LONGEST, MOST_DESCRIPTORS)
        except OSError:
            return None
        if not data:
            return None
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        try:
            message = json.loads(data)
            if not isinstance(message, dict):
                raise ValueError("what came is no object")
        except (ValueError, RecursionError) as error:
            for descriptor in descriptors:
                os.close(descriptor)
            raise ValueError(str(error)) from None
        return message, list(descriptors)

    def close(self) -> None:
        """Let the other end know that there is nothing more."""
        with self._sending:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return
            finally:
                self._socket.close()
