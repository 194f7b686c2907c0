"""Stream sockets by name, for links: `PATH`, `HOST:PORT`, and with `listen:` before either, to be connected to."""

from __future__ import annotations

import errno
import os
import re
import socket
from contextlib import suppress

from xenia.errors import ConfigError

BUFFER = 4 << 20  # bytes; the kernel gives as much as net.core.wmem_max
_CONNECTING = 10  # seconds
_LISTEN = "listen:"
_TCP = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^:/]*):(\d{1,5})")


def listens(name: str) -> bool:
    """Whether others connect to it."""
    return name.startswith(_LISTEN)


def open_socket(name: str) -> int:
    """The descriptor of a socket that is connected there, or listens there.  ConfigError."""
    place = name.removeprefix(_LISTEN)
    if not place:
        raise ConfigError(f"'socket={name}' names no place: write socket={name}PATH or socket={name}HOST:PORT")
    if place.isdecimal():
        listen = _LISTEN * listens(name)
        raise ConfigError(f"socket={name}: for a port write socket={listen}:{place}; for a path ./{place}")
    if not listens(name):
        try:
            return connect(place)
        except OSError as error:
            what = {
                errno.ECONNREFUSED: "nobody listens there",
                errno.ENOENT: "nobody listens there",
                errno.EAGAIN: "nobody takes connections there",
            }.get(error.errno or 0, error.strerror or str(error))
            raise ConfigError(
                f"cannot connect a link to {place}: {what}. Start its other end first, or let this one wait for it: "
                f"socket={_LISTEN}{place}"
            ) from None
    try:
        return _listen(place)
    except OSError as error:
        raise ConfigError(f"cannot listen for a link at {place}: {error.strerror or error}") from None


def connect(place: str) -> int:
    """A socket that is connected there.  OSError."""
    family, address = _address(place, "127.0.0.1")
    with socket.socket(family) as connection:
        connection.settimeout(_CONNECTING)
        connection.connect(address)
        prepare(connection)
        return connection.detach()


def prepare(connection: socket.socket) -> None:
    """Give a connected socket room for a burst, and have it wait for nothing."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _listen(place: str) -> int:
    family, address = _address(place, "127.0.0.1")
    with socket.socket(family) as listener:
        prepare(listener)  # whom it accepts has the same
        if isinstance(address, str):
            _bind_path(listener, address)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        listener.listen(1)
        return listener.detach()


def _bind_path(listener: socket.socket, path: str) -> None:
    """A socket that somebody left behind is taken away; one at which somebody listens is not."""
    try:
        listener.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or _is_served(path):
            raise
        os.unlink(path)
        listener.bind(path)
    os.chmod(path, 0o600)  # nobody can connect before it listens


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            return error.errno != errno.ECONNREFUSED
    return True


def _address(place: str, host: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """The family, and the address there.  ConfigError, OSError."""
    found = _TCP.fullmatch(place)
    if found is None:
        return socket.AF_UNIX, place
    name, port = found[1].strip("[]") or host, int(found[2])
    if not 0 < port < 1 << 16:
        raise ConfigError(f"'{port}' is no port")
    with suppress(socket.gaierror):
        family, _, _, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
        return family, (str(address[0]), int(address[1]))
    raise ConfigError(f"no host is called '{name}'")
