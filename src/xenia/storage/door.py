"""The one way by which storage opens what has a name on the host.

A process that is walled in opens nothing.  Whoever asks it to take up a disk opens the disk itself within `recording`,
which keeps a descriptor of everything that was opened, and hands those over.  There, within `handed`, opening a name
takes the descriptor that came for it.  A lock goes with a descriptor, for it belongs to what was opened and not to who
did, so nobody else gets in between.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from xenia.errors import ConfigError

CONNECTING = 10  # seconds until a server has to take a connection
NAMELESS = ""  # what files without a name are noted under
AGAIN = "again:"  # and before the name of a server, the channel to who connects to it again


class Door:
    """Opens names on the host."""

    def open(self, path: Path | str, flags: int) -> int:
        """A descriptor of the file.  OSError."""
        return os.open(path, flags | os.O_CLOEXEC, 0o644)

    def connect(self, path: Path | str) -> socket.socket:
        """A connection to the server that listens there.  OSError: EAGAIN where it takes none for so long."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@qq", CONNECTING, 0))
            connection.connect(str(path))
        except OSError:
            connection.close()
            raise
        return connection

    def nameless(self) -> int:
        """A descriptor of a new file without a name, among the temporary ones.  OSError."""
        with tempfile.TemporaryFile(prefix="xenia-") as file:
            return os.dup(file.fileno())

    def made(self, path: Path | str, fill: Callable[[int], None]) -> int:
        """The same, filled from what is at `path`."""
        descriptor = Door.nameless(self)
        try:
            fill(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def reconnect(self, path: Path | str) -> Callable[[], socket.socket] | None:
        """What gives another connection to that server later, on any thread; None where nothing does."""
        return lambda: self.connect(path)

    def taken(self, name: str) -> list[int] | None:
        """All that came from elsewhere under that name; None where nothing comes, and what is needed is opened."""
        return None

    is_recording = False  # what is connected is for somebody else: it is not to be talked to


class Usher:
    """A process outside that connects to one server whenever it is asked to, and hands the connection over."""

    # It is no child of who started it: nobody has to wait for its end, which comes when the channel's other end goes.
    _PROGRAM = (
        "import os, socket, struct, sys\n"
        "if os.fork():\n"
        "    os._exit(0)\n"
        "channel = socket.socket(fileno=0)\n"
        "while channel.recv(1):\n"
        "    with socket.socket(socket.AF_UNIX) as connection:\n"
        "        try:\n"
        "            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack('@qq', %d, 0))\n"
        "            connection.connect(sys.argv[1])\n"
        "            socket.send_fds(channel, [bytes(4)], [connection.fileno()])\n"
        "        except OSError as error:\n"
        "            channel.send(struct.pack('=i', error.errno or 5))\n"
    )

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._asking = threading.Lock()

    @classmethod
    def start(cls, path: Path | str) -> Usher:
        """One for the server that listens there."""
        ours, theirs = socket.socketpair()
        with theirs:
            subprocess.run(
                [sys.executable, "-I", "-S", "-c", cls._PROGRAM % CONNECTING, str(Path(path).absolute())],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                check=True,
            )  # fmt: skip
        return cls(ours)

    def leave(self) -> int:
        """The channel's descriptor, which is the taker's from now on."""
        return self._channel.detach()

    def connect(self) -> socket.socket:
        """Another connection.  OSError as the server's refusal."""
        with self._asking:
            self._channel.send(b"?")
            answer, descriptors, _, _ = socket.recv_fds(self._channel, 4, 1)
        if not descriptors:
            number = struct.unpack("=i", answer)[0] if len(answer) == 4 else errno.EPIPE
            raise OSError(number, os.strerror(number))
        return socket.socket(fileno=descriptors[0])


class Leaving(Door):
    """Of a process that is about to be walled in: whoever will be needed outside is left there."""

    def reconnect(self, path: Path | str) -> Callable[[], socket.socket] | None:
        return Usher.start(path).connect


class Recording(Door):
    """Notes a descriptor of everything that it opens: `opened`, by name and in that order; the taker's to close."""

    is_recording = True

    def __init__(self) -> None:
        self.opened: list[tuple[str, int]] = []

    def open(self, path: Path | str, flags: int) -> int:
        descriptor = super().open(path, flags)
        return descriptor if flags & os.O_CREAT else self._noted(path, descriptor)  # what is made is opened again

    def connect(self, path: Path | str) -> socket.socket:
        connection = super().connect(path)
        self._noted(path, connection.fileno())
        self.opened.append((f"{AGAIN}{path}", Usher.start(path).leave()))
        return connection

    def nameless(self) -> int:
        return self._noted(NAMELESS, super().nameless())

    def made(self, path: Path | str, fill: Callable[[int], None]) -> int:
        return self._noted(path, super().made(path, fill))

    def close(self) -> None:
        """Give up what was noted."""
        for _, descriptor in self.opened:
            os.close(descriptor)
        self.opened.clear()

    def _noted(self, path: Path | str, descriptor: int) -> int:
        self.opened.append((str(path), os.dup(descriptor)))
        return descriptor


class Handed(Door):
    """Gives out descriptors that somebody else opened, each once; opens nothing."""

    def __init__(self, opened: Iterable[tuple[str, int]]) -> None:
        self._left = list(opened)

    def open(self, path: Path | str, flags: int) -> int:
        descriptor = self._take(path)
        with suppress(OSError):  # a pipe has no place to go back to
            os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def connect(self, path: Path | str) -> socket.socket:
        return socket.socket(fileno=self._take(path))

    def reconnect(self, path: Path | str) -> Callable[[], socket.socket] | None:
        return Usher(socket.socket(fileno=self._take(f"{AGAIN}{path}"))).connect

    def nameless(self) -> int:
        descriptor = self._take(NAMELESS)
        os.ftruncate(descriptor, 0)
        return descriptor

    def made(self, path: Path | str, fill: Callable[[int], None]) -> int:
        return self._take(path)

    def taken(self, name: str) -> list[int]:
        found = [descriptor for other, descriptor in self._left if other == name]
        self._left = [(other, descriptor) for other, descriptor in self._left if other != name]
        return found

    def close(self) -> None:
        """Close what nobody wanted."""
        while self._left:
            os.close(self._left.pop()[1])

    def _take(self, path: Path | str) -> int:
        for index, (name, descriptor) in enumerate(self._left):
            if name == str(path):
                del self._left[index]
                return descriptor
        raise ConfigError(f"{path or 'a temporary file'} was not handed over")


_door: ContextVar[Door] = ContextVar("door")
_ORDINARY = Door()


def door() -> Door:
    """The door of this moment: the ordinary one, but within the two below."""
    return _door.get(_ORDINARY)


@contextmanager
def recording() -> Iterator[Recording]:
    """What is opened within is noted.  The descriptors are open until the end."""
    with _through(found := Recording()):
        try:
            yield found
        finally:
            found.close()


@contextmanager
def leaving() -> Iterator[None]:
    """What is opened within can do later what it has to, when this process cannot open anything any more."""
    with _through(Leaving()):
        yield


@contextmanager
def handed(opened: Iterable[tuple[str, int]]) -> Iterator[None]:
    """What is opened within is taken from these names and descriptors, which belong to this from now on."""
    with _through(found := Handed(opened)):
        try:
            yield
        finally:
            found.close()


@contextmanager
def _through(one: Door) -> Iterator[None]:
    token = _door.set(one)
    try:
        yield
    finally:
        _door.reset(token)
