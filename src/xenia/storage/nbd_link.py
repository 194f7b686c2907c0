"""One connection to an NBD server: its negotiation, and bytes that are waited for only so long."""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from contextlib import suppress

from xenia.errors import ConfigError
from xenia.storage.buffers import Buffers, after

_MAGIC, _OPTION_MAGIC, _OPTION_REPLY_MAGIC = b"NBDMAGIC", 0x49484156454F5054, 0x3E889045565A9

_GO, _STRUCTURED_REPLY, _SET_META_CONTEXT = 7, 8, 10
_ACK, _INFO, _META_CONTEXT, _ERROR = 1, 3, 4, 1 << 31
_TLS_REQUIRED = _ERROR | 5
_INFO_EXPORT, _INFO_BLOCK_SIZE = 0, 3

LONGEST = 32 << 20  # bytes of one request
MOST_REPLIES = 256  # to one option
GREETING = 10.0  # seconds for the whole negotiation


class Lost(OSError):
    """The server has gone, or makes no sense."""


class Link:
    """A connection, on which one thread talks at a time."""

    def __init__(self, connection: socket.socket) -> None:
        """Take the connection over."""
        self._socket = connection
        self._poll = select.poll()
        self._allowance = GREETING
        self._deadline = time.monotonic() + GREETING
        self.structured = False  # whether replies may come in chunks
        self.context: int | None = None  # of base:allocation

    def hurry(self, seconds: float | None = None) -> None:
        """What is waited for next is to come within so many seconds (None: as many as last time)."""
        self._allowance = self._allowance if seconds is None else seconds
        self._deadline = time.monotonic() + self._allowance

    def abandon(self) -> None:
        """Whoever waits on this connection, on any thread, fails."""
        with suppress(OSError):  # it may be closed at the other end
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()

    def wait(self, events: int) -> int:
        """Wait until the socket is ready for one of these events, and say for which.  TimeoutError."""
        self._poll.register(self._socket, events)
        ready = self._poll.poll(max(0, self._deadline - time.monotonic()) * 1000)
        if not ready:
            raise TimeoutError(errno.ETIMEDOUT, f"it has not answered for {self._allowance:.0f} seconds")
        return ready[0][1]

    def negotiate(self, export: str) -> tuple[int, int, int, int, int]:
        """What the export is: size, flags, block size, preferred block size, longest request.  ConfigError."""
        magic, option_magic, flags = struct.unpack(">8sQH", self.receive(18))
        if magic != _MAGIC or option_magic != _OPTION_MAGIC or not flags & 1:
            raise ConfigError("what listens there is not an NBD server of the new style")
        self._send(struct.pack(">I", flags & 3))  # fixed newstyle, no zeroes
        self.structured = self._option(_STRUCTURED_REPLY, b"") is not None
        name = export.encode()
        if self.structured:
            query = b"base:allocation"
            replies = self._option(
                _SET_META_CONTEXT, struct.pack(">I", len(name)) + name + struct.pack(">II", 1, len(query)) + query
            )
            for kind, data in replies or ():
                if kind == _META_CONTEXT and data[4:] == query:
                    (self.context,) = struct.unpack_from(">I", data)
        replies = self._option(
            _GO, struct.pack(">I", len(name)) + name + struct.pack(">HH", 1, _INFO_BLOCK_SIZE), what=export
        )
        size, flags, unit, preferred, longest = -1, 0, 1, 4096, LONGEST
        for kind, data in replies or ():
            if kind == _INFO and data[:2] == struct.pack(">H", _INFO_EXPORT):
                size, flags = struct.unpack_from(">QH", data, 2)
            elif kind == _INFO and data[:2] == struct.pack(">H", _INFO_BLOCK_SIZE):
                unit, preferred, maximum = struct.unpack_from(">III", data, 2)
                longest = min(longest, maximum)
        if size < 0 or unit & (unit - 1) or not 0 < unit <= 65536 or longest < unit:
            raise ConfigError("the NBD server does not say what it serves")
        return size, flags, unit, preferred, longest // unit * unit

    def _option(self, option: int, data: bytes, what: str | None = None) -> list[tuple[int, bytes]] | None:
        """Ask for an option: the replies, or None where it is refused (ConfigError where `what` depends on it)."""
        self._send(struct.pack(">QII", _OPTION_MAGIC, option, len(data)) + data)
        replies: list[tuple[int, bytes]] = []
        while True:
            magic, _, kind, length = struct.unpack(">QIII", self.receive(20))
            if magic != _OPTION_REPLY_MAGIC or length > 1 << 16:
                raise Lost(errno.EPROTO, "it sends what cannot be understood")
            body = self.receive(length)
            if kind == _ACK:
                return replies
            if kind == _TLS_REQUIRED:
                raise ConfigError("the NBD server talks TLS only, which is not supported: start it without (--tls=off)")
            if kind & _ERROR:
                if what is None:
                    return None
                reason = body.decode("utf-8", "replace") or f"error {kind & ~_ERROR}"
                raise ConfigError(f"the NBD server does not serve '{what}': {reason}")
            replies.append((kind, bytes(body)))
            if len(replies) > MOST_REPLIES:
                raise Lost(errno.EPROTO, "it sends replies without end")

    def receive(self, length: int) -> bytearray:
        """So many bytes."""
        data = bytearray(length)
        self.receive_into([memoryview(data)] if length else [])
        return data

    def receive_into(self, buffers: Buffers) -> None:
        """Fill the buffers."""
        while buffers:
            try:
                done = self._socket.recvmsg_into(buffers[:1024], 0, socket.MSG_DONTWAIT)[0]
            except BlockingIOError:
                self.wait(select.POLLIN)
                continue
            if not done:
                raise Lost(errno.EIO, "it has closed the connection")
            buffers = after(buffers, done)

    def _send(self, data: bytes) -> None:
        self.send_all([memoryview(data)])

    def send_all(self, buffers: Buffers) -> None:
        """Send it all."""
        while buffers:
            if buffers := self.send_some(buffers):
                self.wait(select.POLLOUT)

    def send_some(self, buffers: Buffers) -> list[memoryview]:
        """Send what the socket takes at once; what is left."""
        try:
            return after(buffers, self._socket.sendmsg(buffers[:1024], [], socket.MSG_DONTWAIT))
        except BlockingIOError:
            return list(buffers)
