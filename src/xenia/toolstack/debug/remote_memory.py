"""A guest's memory, in another process that looks at it: what is asked for, and who asks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from types import TracebackType
from typing import Final, Self

from xenia.errors import ConfigError

REQUEST: Final = Struct("<BQQ")  # what, address, size
ANSWER: Final = Struct("<Q")  # how many bytes follow
MOST: Final = 1 << 20  # bytes of an answer


class What(IntEnum):
    """What is asked for.

    VIRTUAL       what the first vcpu has mapped there, up to where nothing is mapped
    PHYSICAL      the domain's own frames by pseudo-physical address, up to where there is none; page tables name
                  frames so, too, and map nothing of Xen's or of others
    VMCOREINFO    what Linux says there about itself
    """

    VIRTUAL = 0
    PHYSICAL = 1
    VMCOREINFO = 2


class RemoteMemory:
    """Whoever asks; any thread may."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        """connect   makes a stream at whose other end a memory server is: the first when something is asked for, and
        another after a question that was interrupted (Ctrl-C), whose answer nobody took"""
        self._connect = connect
        self._server: socket.socket | None = None
        self._lock = threading.Lock()

    def read(self, address: int, size: int) -> bytes:
        """What the first vcpu has mapped there, up to where nothing is mapped."""
        return self._ask(What.VIRTUAL, address, size)

    def read_physical(self, address: int, size: int) -> bytes:
        """The domain's own frames by pseudo-physical address, up to where there is none: see What.PHYSICAL."""
        return self._ask(What.PHYSICAL, address, size)

    def vmcoreinfo(self) -> bytes:
        """What Linux says there about itself, lines of NAME=VALUE; nothing before it does."""
        return self._ask(What.VMCOREINFO, 0, MOST)

    def close(self) -> None:
        """The server ends with it."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, what: What, address: int, size: int) -> bytes:
        found = bytearray()
        with self._lock:
            while len(found) < size:
                wanted = min(size - len(found), MOST)
                part = self._exchange(what, address + len(found), wanted)
                found += part
                if len(part) < wanted:
                    break
        return bytes(found)

    def _exchange(self, what: What, address: int, size: int) -> bytes:
        if self._server is None:
            self._server = self._connect()
        try:
            self._server.sendall(REQUEST.pack(what, address, size))
            (length,) = ANSWER.unpack(_receive(self._server, ANSWER.size))
            return _receive(self._server, min(length, MOST))
        except OSError:
            raise ConfigError("the guest's process has gone") from None
        except BaseException:
            self.close()
            raise


def _receive(server: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    done = 0
    while done < size:
        got = server.recv_into(view[done:])
        if not got:
            raise ConnectionError
        done += got
    return bytes(data)
