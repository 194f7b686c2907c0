"""A guest under a debugger."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from xenia.errors import ConfigError
from xenia.toolstack.debug.memory_server import MemoryServer
from xenia.toolstack.debug.server import DebugServer
from xenia.toolstack.guest.state import State
from xenia.toolstack.guest.verbs import RemoteVerb, Request

if TYPE_CHECKING:
    from xenia.toolstack.guest.guest import Guest


@dataclass(frozen=True)
class ServeDebuggers(RemoteVerb[None]):
    """Let debuggers in at a socket that listens, until whoever asked has gone.  Legal while it has a domain.

    files   that socket; one whose other end is whoever asked; and of a port what tells whose a connection is
    """

    files: Sequence[int]

    legal = frozenset({State.BUILT, State.RUNNING})
    alone = False
    name = "debug"
    word = "gdb"

    def begin(self, guest: Guest) -> Callable[[], None]:
        listener, alive = (socket.socket(fileno=descriptor) for descriptor in self.files[:2])
        table = self.files[2] if len(self.files) > 2 else None
        return DebugServer(listener, table, lambda: guest.domain, alive).start

    @property
    def descriptors(self) -> Sequence[int]:
        return self.files

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"gdb": cls._read}

    @classmethod
    def _read(cls, request: Request) -> Self:
        files = request.get("descriptors", [])
        if len(files) not in (2, 3):
            raise ConfigError("the request comes with no socket to listen at")
        kept = list(files)
        files.clear()  # they are the server's
        return cls(kept)


@dataclass(frozen=True)
class ServeMemory(RemoteVerb[None]):
    """Let whoever asked read the guest's memory, until it has gone.  Legal while it has a domain.

    files   the stream by which it does: `toolstack/debug/remote_memory.py`
    """

    files: Sequence[int]

    legal = frozenset({State.BUILT, State.RUNNING, State.SHUTDOWN})
    alone = False
    name = "look into the memory of"
    word = "memory-read"

    def begin(self, guest: Guest) -> Callable[[], None]:
        return MemoryServer(socket.socket(fileno=self.files[0]), lambda: guest.domain).start

    @property
    def descriptors(self) -> Sequence[int]:
        return self.files

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"memory-read": cls._read}

    @classmethod
    def _read(cls, request: Request) -> Self:
        files = request.get("descriptors", [])
        if len(files) != 1:
            raise ConfigError("the request comes with no stream to answer at")
        kept = list(files)
        files.clear()  # it is the server's
        return cls(kept)
