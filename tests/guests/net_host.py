"""Services on the host's loopback for guests to find, and programs for guests to find them with."""

from __future__ import annotations

import functools
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.image.package import read_package
from xenia.toolstack.image.tools import LOADER, tool_files
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.packages import PackageClient

_LIMIT = 120  # seconds


class _Echo(socketserver.BaseRequestHandler):
    """Says what it hears, when it has heard all; an x at once."""

    def handle(self) -> None:
        self.request.settimeout(_LIMIT)
        heard = b""
        with suppress(OSError):  # reset by the guest, or killed with it
            while data := self.request.recv(65536):
                heard += data
                if heard == b"x":
                    self.request.sendall(b"x")
            self.request.sendall(heard)


class _Word(socketserver.BaseRequestHandler):
    """Says one word and closes."""

    def handle(self) -> None:
        self.request.sendall(b"word")


class _Sink(socketserver.BaseRequestHandler):
    """Hears everything and says nothing."""

    def handle(self) -> None:
        with suppress(OSError):
            while self.request.recv(1 << 20):
                pass


class _Datagram(socketserver.BaseRequestHandler):
    """Says what it hears."""

    def handle(self) -> None:
        data, sender = self.request
        sender.sendto(data, self.client_address)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 512
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None: ...


class _Server6(_Server):
    address_family = socket.AF_INET6


@contextmanager
def services() -> Iterator[dict[str, int]]:
    """Ports by name: `echo` by TCP, IPv4 and IPv6, and by UDP; `word`; `sink`; `secret`, which is no guest's
    business; and `deaf`, where nobody answers a connection."""
    kinds = {"echo": _Echo, "word": _Word, "sink": _Sink, "secret": _Word}
    listening = {name: _Server(("127.0.0.1", 0), kind) for name, kind in kinds.items()}
    ports = {name: _port(server.socket) for name, server in listening.items()}
    servers: list[socketserver.BaseServer] = [*listening.values(), _Server6(("::1", ports["echo"]), _Echo)]
    servers.append(socketserver.UDPServer(("127.0.0.1", ports["echo"]), _Datagram))
    deaf = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = []
    for _ in range(3):  # the queue is full then
        waiting.append(socket.socket())
        waiting[-1].setblocking(False)
        waiting[-1].connect_ex(deaf.getsockname())
    ports["deaf"] = _port(deaf)
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield ports
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
        for one in (deaf, *waiting):
            one.close()


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


@functools.cache
def tools(package: str, *names: str) -> dict[str, bytes]:
    """Programs of a package, with their loader and libraries, as files of a guest: `/tools/NAME` runs one.  The test is
    skipped where they cannot be had."""
    cache = Cache()
    directory = cache.path("packages", "partial").parent
    try:
        with cache.locked("packages"):
            fetched = PackageClient(cache).fetch_system([package], directory)
        found = tool_files([read_package(path) for path in fetched], package, names)
    except ConfigError as missing:
        pytest.skip(str(missing))
    wanted = {*names, LOADER}
    while True:  # what is needed has its name in what needs it
        more = {name for name in found if any(name.encode() + b"\0" in found[one] for one in wanted)}
        if more <= wanted:
            break
        wanted |= more
    files = {f"/tools/lib/{name}": found[name] for name in wanted}
    for name in names:
        script = f'#!/bin/sh\nexec /tools/lib/{LOADER} --library-path /tools/lib /tools/lib/{name} "$@"\n'
        files[f"/tools/{name}"] = script.encode()
    return files
