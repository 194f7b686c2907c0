"""A folder's server, as the device that stands on it has it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from xenia.p9.client import FileServer, open_folder, start_server
from xenia.toolstack.config.share import ShareConfig


class Share:
    """A server's process, and the connections of a session that waits to go on.  It outlives the device: a guest that
    reboots has the same one."""

    def __init__(self, server: FileServer) -> None:
        self.server = server
        self.waiting: list[socket.socket] = []
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """End the server.  Again does nothing."""
        if self._closed:
            return
        self._closed = True
        with ExitStack() as stack:
            stack.callback(self.server.close)
            for each in self.waiting:
                stack.callback(each.close)


def start(config: ShareConfig) -> Share:
    """A server of the folder that ends with this.  ConfigError where there is no such folder."""
    return Share(_start(config, silent=False))


@contextmanager
def started(config: ShareConfig) -> Iterator[int]:
    """The connection to a server for another process, which has it from then on."""
    server = _start(config, silent=True)
    try:
        yield server.fileno()
    finally:
        server.leave()


def assemble(files: Sequence[int]) -> Share:
    """The one that this connection leads to."""
    (descriptor,) = files
    return Share(FileServer(socket.socket(fileno=descriptor)))


def _start(config: ShareConfig, *, silent: bool) -> FileServer:
    folder = open_folder(config.path)
    try:
        return start_server(folder, config.changes_nothing, silent=silent)
    finally:
        os.close(folder)
