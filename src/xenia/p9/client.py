"""A file server's process, as those see it who use it: start one, and have it serve."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from contextlib import suppress

from xenia import interpreter
from xenia.errors import ConfigError

PATIENCE = 10.0
"""Seconds for an answer."""
MOST_STREAMS = 4
"""Connections of one client."""
SERIAL_SIZE = 8
"""Bytes that each question begins with, and its answer: one that came too late is nobody's."""


class FileServer:
    """A connection to a file server's process, which ends with it.  One thread asks at a time."""

    def __init__(self, connection: socket.socket, process: subprocess.Popen[bytes] | None = None) -> None:
        """process   where it is a child of ours"""
        self._connection = connection
        self._process = process

    def fileno(self) -> int:
        """The connection's descriptor."""
        return self._connection.fileno()

    def session(self, streams: int) -> list[socket.socket]:
        """Begin anew for a client that asks by so many connections; whoever was it before is served no more.
        ConfigError where the server cannot."""
        serial = os.urandom(SERIAL_SIZE)
        answer = "the file server's process has ended, or was killed"
        found: list[socket.socket] = []
        try:
            self._connection.settimeout(PATIENCE)
            self._connection.send(serial + bytes([streams]))
            answer, found = self._answer(serial)
        except TimeoutError:
            answer = f"the file server has not answered for {PATIENCE:g} seconds"
        except OSError:
            pass
        if len(found) != streams:
            _close(found)
            raise ConfigError(answer)
        return found

    def _answer(self, serial: bytes) -> tuple[str, list[socket.socket]]:
        """What the server says, and the connections.  Raises OSError."""
        until = time.monotonic() + PATIENCE
        while (left := until - time.monotonic()) > 0:
            self._connection.settimeout(left)
            said, descriptors, _, _ = socket.recv_fds(self._connection, 4096, MOST_STREAMS, socket.MSG_CMSG_CLOEXEC)
            found = [socket.socket(fileno=descriptor) for descriptor in descriptors]
            if said.startswith(serial):
                return said[SERIAL_SIZE:].decode(errors="replace"), found
            _close(found)
            if not said:
                raise ConnectionResetError
        raise TimeoutError

    def leave(self) -> None:
        """Let go of the connection, whose copy somebody else has: the process is his."""
        self._connection.close()
        if self._process is not None:
            self._process.returncode = 0  # it is not ours to wait for
            self._process = None

    def close(self) -> None:
        """End it.  Again does nothing."""
        self._connection.close()
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def start_server(folder: int, read_only: bool, *, silent: bool = False) -> FileServer:
    """Start the process that serves the folder with this descriptor, which stays the caller's.  It returns at once.

    silent   it outlives whoever started it, and keeps nobody's standard error
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    files = [theirs.fileno(), folder]
    arguments = json.dumps({"control": files[0], "folder": files[1], "read_only": read_only})
    with theirs:
        process = subprocess.Popen(
            interpreter.command("xenia.p9", arguments, site=False),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL if silent else None,
            pass_fds=files, cwd="/", start_new_session=True,
            env=interpreter.environment(),
        )  # fmt: skip
    return FileServer(ours, process)


def open_folder(path: str | os.PathLike[str]) -> int:
    """A descriptor of the folder.  ConfigError where it is none, or cannot be read."""
    descriptor = -1
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if descriptor >= 0:
        return descriptor
    try:
        os.listdir(path)
    except OSError as error:
        raise ConfigError(f"the folder '{os.fspath(path)}' cannot be shared: {error.strerror}") from None
    raise ConfigError(f"the folder '{os.fspath(path)}' cannot be shared")
