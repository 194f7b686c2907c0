"""Where debuggers come in: a unix socket of the user's, or a port of the host's loopback."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from xenia.errors import ConfigError
from xenia.toolstack.runtime import runtime_directory

_LAST_PORT: Final = 65535
_BACKLOG: Final = 4
_TABLE: Final = "/proc/net/tcp"  # who has which connection: proc(5)
_ESTABLISHED: Final = "01"  # else its owner may have let go of it: Linux says root then


@dataclass(frozen=True)
class Listener:
    """A socket that listens, and how it is reached.

    place   what stands behind GDB's `target remote`
    path    of a unix socket, which is to be taken away
    table   of a port: an open file that tells whose a connection is
    """

    socket: socket.socket
    place: str
    path: Path | None = None
    table: int | None = None

    @property
    def descriptors(self) -> list[int]:
        """What another process needs to serve it."""
        return [self.socket.fileno(), *([] if self.table is None else [self.table])]

    def close(self) -> None:
        """Nobody comes in any more by this process."""
        self.socket.close()
        if self.table is not None:
            os.close(self.table)
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def listen(words: str | None, name: str) -> Listener:
    """At a port of the loopback (`1234`; 0: any that is free), at `unix:PATH`, or (None) at a socket of its own for a
    guest of that name.  ConfigError where that cannot be."""
    if words is not None and words.isascii() and words.isdigit():
        if len(words) > len(str(_LAST_PORT)) or int(words) > _LAST_PORT:
            raise ConfigError(f"cannot listen for gdb at port {words[:80]}: the last one is {_LAST_PORT}")
        return _at_port(int(words))
    if words is not None and not words.startswith("unix:"):
        raise ConfigError(f"gdb {words}: say a port of this host's, or unix:PATH")
    if words == "unix:":
        raise ConfigError("gdb unix: say where the socket is to be, unix:PATH")
    path = Path(words[5:]) if words is not None else runtime_directory() / f"{name}.{os.getpid()}.gdb"
    return _at_path(path.absolute())


def _at_port(port: int) -> Listener:
    listener = socket.socket(socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(_BACKLOG)
        table = os.open(_TABLE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen for gdb at port {port}: {error.strerror}") from None
    return Listener(listener, f"localhost:{listener.getsockname()[1]}", table=table)


def _at_path(path: Path) -> Listener:
    listener = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket() and not _is_answered(path):
            path.unlink()  # of a process that was killed
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen for gdb at {path}: {error.strerror or error}") from None
    return Listener(listener, str(path), path)


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            pass
    return True


def is_ours(client: socket.socket, table: int | None) -> bool:
    """Whether a client is a process of this user's."""
    if client.family == socket.AF_UNIX:
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(credentials[4:8], "little") == os.getuid()
    if table is None:
        return False
    with suppress(OSError, IndexError, ValueError):
        ends = [_as_in_table(client.getpeername()), _as_in_table(client.getsockname())]
        for line in _lines(table):
            fields = line.split()
            if fields[1:3] == ends:
                return fields[3] == _ESTABLISHED and int(fields[7]) == os.getuid()
    return False


def _as_in_table(address: tuple[str, int]) -> str:
    return f"{int.from_bytes(socket.inet_aton(address[0]), 'little'):08X}:{address[1]:04X}"


def _lines(table: int) -> list[str]:
    os.lseek(table, 0, os.SEEK_SET)
    data = bytearray()
    while part := os.read(table, 65536):
        data += part
    return data.decode("ascii", "replace").splitlines()[1:]
