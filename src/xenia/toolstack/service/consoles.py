"""The consoles of the daemon's domains, each with any number of readers.

One thread carries the bytes of all.  What a domain writes goes to everybody who is attached, and is kept where nobody
is: the next one sees it, as xenconsoled does it.  A reader that is slow loses the oldest of what it has not taken, so
that it holds up neither the domain nor the others; keys go to the domain from all, and are read while it takes them.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

PATIENCE: Final = 5.0  # seconds that a reader has for the last words of a domain that is gone
KEPT: Final = 256 << 10  # bytes that wait for a reader: for the first, or for one that is slow
_PIECE: Final = 65536
_KEYS: Final = 4096


class Reader:
    """Somebody who is attached."""

    def __init__(self, connection: socket.socket, unseen: bytes) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.unsent = bytearray(unseen)

    def show(self, data: bytes) -> None:
        """Put it behind what waits."""
        self.unsent += data
        del self.unsent[:-KEPT]


class SharedConsole:
    """One domain's: `guest` is the socket that leads to its machine."""

    def __init__(self, guest: socket.socket) -> None:
        guest.setblocking(False)
        self.guest = guest
        self.readers: list[Reader] = []
        self.unseen = bytearray()
        self.log = bytearray()  # the newest of all that it said
        self.keys = b""
        self.over = False
        self.until: float | None = None  # the domain is gone: when nobody is waited for any more


class Consoles:
    """All of them.  Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._consoles: list[SharedConsole] = []
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._closed = False
        self._thread = threading.Thread(target=self._carry, name="consoles", daemon=True)
        self._thread.start()

    def add(self, guest: socket.socket) -> SharedConsole:
        """One more; the socket is ours from now on."""
        console = SharedConsole(guest)
        with self._lock:
            self._consoles.append(console)
        self._wake()
        return console

    def attach(self, console: SharedConsole, connection: socket.socket, *, whole: bool = False) -> None:
        """Let somebody read and type; the connection is ours from now on, and ends with the console.  With `whole` he
        gets all that is kept first, seen or not."""
        with self._lock:
            if console.over:
                connection.close()
                return
            console.readers.append(Reader(connection, bytes(console.log if whole else console.unseen)))
            console.unseen.clear()
        self._wake()

    def end(self, console: SharedConsole) -> None:
        """The domain is gone: its readers get what is left, and then the end."""
        with suppress(OSError):
            console.guest.shutdown(socket.SHUT_WR)
        with self._lock:
            console.over = True
        self._wake()

    def close(self) -> None:
        """End them all."""
        with self._lock:
            self._closed = True
        self._wake()
        self._thread.join()
        for console in self._consoles:
            for reader in console.readers:
                reader.connection.close()
            console.guest.close()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"w")

    def _carry(self) -> None:
        while True:
            with self._lock:
                if self._closed:
                    return
                self._watch()
                untils = [console.until for console in self._consoles if console.until is not None]
            wait = max(0.0, min(untils) - time.monotonic()) if untils else None
            ready = {key.fileobj: events for key, events in self._selector.select(wait)}
            with suppress(BlockingIOError):
                os.read(self._wake_read, _PIECE)
            with self._lock:
                for console in list(self._consoles):
                    self._serve(console, ready)

    def _watch(self) -> None:
        """Wait for what concerns each socket now."""
        wanted: dict[socket.socket, int] = {}
        for console in self._consoles:
            if console.until is None:
                wanted[console.guest] = selectors.EVENT_READ | (selectors.EVENT_WRITE if console.keys else 0)
            for reader in console.readers:
                events = 0 if console.keys else selectors.EVENT_READ
                events |= selectors.EVENT_WRITE if reader.unsent else 0
                if events:
                    wanted[reader.connection] = events
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket) and wanted.get(key.fileobj) != key.events:
                self._selector.unregister(key.fileobj)
            elif isinstance(key.fileobj, socket.socket):
                wanted.pop(key.fileobj)
        for one, events in wanted.items():
            self._selector.register(one, events)

    def _serve(self, console: SharedConsole, ready: Mapping[Any, int]) -> None:
        # Who has left is no reader of what came after.
        for reader in list(console.readers):
            if ready.get(reader.connection, 0) & selectors.EVENT_READ and not self._take_keys(console, reader):
                self._leave(console, reader)
        if ready.get(console.guest, 0) & selectors.EVENT_READ and not self._bring(console):
            console.over, console.until = True, time.monotonic() + PATIENCE
            console.keys = b""
        for reader in list(console.readers):
            if reader.unsent and not _send(reader):
                self._leave(console, reader)
        if console.keys:
            try:
                console.keys = console.keys[console.guest.send(console.keys) :]
            except BlockingIOError:
                pass
            except OSError:
                console.keys = b""
        if console.until is not None:
            self._see_off(console, time.monotonic() >= console.until)

    def _bring(self, console: SharedConsole) -> bool:
        """What the domain wrote, to everybody; False where nothing will come any more."""
        try:
            data = console.guest.recv(_PIECE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        console.log += data
        del console.log[:-KEPT]
        if not console.readers:
            console.unseen += data
            del console.unseen[:-KEPT]
        for reader in console.readers:
            reader.show(data)
        return bool(data)

    def _take_keys(self, console: SharedConsole, reader: Reader) -> bool:
        try:
            data = reader.connection.recv(_KEYS)
        except BlockingIOError:
            return True
        except OSError:
            return False
        console.keys += data
        return bool(data)

    def _leave(self, console: SharedConsole, reader: Reader) -> None:
        console.readers.remove(reader)
        if not console.readers:
            console.unseen[:0] = reader.unsent
            del console.unseen[:-KEPT]
        self._forget(reader.connection)

    def _see_off(self, console: SharedConsole, late: bool) -> None:
        """The domain is gone: a reader goes once it has all, or it is late, and the console with the last of them."""
        for reader in list(console.readers):
            if late or not reader.unsent:
                console.readers.remove(reader)
                self._forget(reader.connection)
        if not console.readers:
            self._consoles.remove(console)
            self._forget(console.guest)

    def _forget(self, one: socket.socket) -> None:
        with suppress(KeyError):
            self._selector.unregister(one)
        one.close()


def _send(reader: Reader) -> bool:
    """What it takes now; False where nobody is there any more."""
    try:
        del reader.unsent[: reader.connection.send(reader.unsent)]
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True
