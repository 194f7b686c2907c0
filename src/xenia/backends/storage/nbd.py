"""A disk that another program serves: a client of the network block device protocol over a unix socket.

The protocol is NBD's, doc/proto.md: fixed newstyle negotiation, simple and structured replies. A batch goes out as one
stream of requests, and replies are taken as they come.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from xenia.backends.storage.buffers import Buffers, Cursor, after, zero
from xenia.backends.storage.door import door
from xenia.backends.storage.layer import BlockSize, Capability, Extent, Layer, Operation, Request
from xenia.errors import ConfigError

_MAGIC, _OPTION_MAGIC, _OPTION_REPLY_MAGIC = b"NBDMAGIC", 0x49484156454F5054, 0x3E889045565A9
_REQUEST_MAGIC, _SIMPLE_MAGIC, _STRUCTURED_MAGIC = 0x25609513, 0x67446698, 0x668E33EF
_REQUEST = struct.Struct(">IHHQQI")

_GO, _STRUCTURED_REPLY, _SET_META_CONTEXT = 7, 8, 10
_ACK, _INFO, _META_CONTEXT, _ERROR = 1, 3, 4, 1 << 31
_INFO_EXPORT, _INFO_BLOCK_SIZE = 0, 3

_READ, _WRITE, _DISCONNECT, _FLUSH, _TRIM, _ZEROES, _STATUS = 0, 1, 2, 3, 4, 6, 7
_NO_HOLE = 1 << 1  # flag of a command
_DONE = 1  # flag of a structured reply's chunk
_NONE, _OFFSET_DATA, _OFFSET_HOLE, _BLOCK_STATUS = 0, 1, 2, 5  # chunks

_READ_ONLY, _SEND_FLUSH, _SEND_TRIM, _SEND_ZEROES = 1 << 1, 1 << 2, 1 << 5, 1 << 6

IN_FLIGHT = 16
LONGEST = 32 << 20  # bytes of one request
MOST_STATUS = 1 << 30


class Lost(OSError):
    """The server has gone, or makes no sense."""


@dataclass
class Command:
    """A request on its way."""

    kind: int
    offset: int = 0
    length: int = 0
    flags: int = 0
    buffers: Buffers = ()  # data to send, or where to put it
    error: int = 0
    statuses: list[tuple[int, int]] = field(default_factory=list)


class NbdClient(Layer):
    """One connection to an export."""

    name: ClassVar[str] = "nbd"

    def __init__(self, connection: socket.socket, export: str = "", read_only: bool = False) -> None:
        """Negotiate with the server at the other end.  ConfigError where it does not offer the export."""
        self._socket = connection
        self._lock = threading.Lock()
        self._next_handle = 0
        self._lost = False
        self._structured = False
        self._context: int | None = None
        try:
            size, flags, unit, preferred, self._longest = self._negotiate(export)
        except (OSError, struct.error) as error:
            raise ConfigError(f"the NBD server ended the conversation: {error.args[-1]}") from None
        capabilities = Capability(0)
        if flags & _SEND_FLUSH:
            capabilities |= Capability.FLUSH
        if not (read_only or flags & _READ_ONLY):
            capabilities |= Capability.WRITE
            if flags & _SEND_TRIM:
                capabilities |= Capability.DISCARD
            if flags & _SEND_ZEROES:
                capabilities |= Capability.WRITE_ZEROES
        super().__init__(None, capabilities, BlockSize(unit, preferred))
        self._size = size // unit * unit

    @property
    def size(self) -> int:
        return self._size

    def submit(self, requests: Sequence[Request], nowait: bool = False) -> list[Request]:
        if nowait:
            return super().submit(requests, nowait)
        statistics = self.statistics
        statistics.batches += 1
        statistics.requests += len(requests)
        waiting: list[tuple[Request, list[Command]]] = []
        touched: list[tuple[int, int]] = []
        for one in requests:
            try:
                commands = self._commands(one)
            except OSError as error:
                statistics.errors += 1
                one.error = error.errno or errno.EIO
                continue
            # The server may do what is in flight in any order.
            end = one.offset + one.length
            if one.operation is Operation.FLUSH or any(one.offset < stop and start < end for start, stop in touched):
                self._finish(waiting)
                touched.clear()
            touched.append((one.offset, end))
            waiting.append((one, commands))
            if one.operation is Operation.FLUSH:
                self._finish(waiting)
                touched.clear()
        self._finish(waiting)
        return []

    def _finish(self, waiting: list[tuple[Request, list[Command]]]) -> None:
        self._exchange([command for _, commands in waiting for command in commands])
        for request, commands in waiting:
            request.error = next((command.error for command in commands if command.error), 0)
            self.statistics.errors += request.error != 0
        waiting.clear()

    def _commands(self, request: Request) -> list[Command]:
        """A request as the protocol's commands, checked and counted."""
        statistics = self.statistics
        match request.operation:
            case Operation.READ:
                self._check(request.offset, request.length)
                statistics.reads += 1
                statistics.bytes_read += request.length
                return self._cut(_READ, request.offset, request.length, request.buffers)
            case Operation.WRITE:
                self._check(request.offset, request.length, Capability.WRITE)
                statistics.writes += 1
                statistics.bytes_written += request.length
                return self._cut(_WRITE, request.offset, request.length, request.buffers)
            case Operation.FLUSH:
                statistics.flushes += 1
                return [Command(_FLUSH)] if self.can_flush else []
            case Operation.WRITE_ZEROES if self.can_write_zeroes:
                self._check(request.offset, request.length, Capability.WRITE)
                statistics.zeroes += 1
                return self._cut(_ZEROES, request.offset, request.length)
            case Operation.DISCARD if self.can_discard:
                self._check(request.offset, request.length, Capability.WRITE)
                statistics.discards += 1
                return self._cut(_TRIM, request.offset, request.length)
        raise OSError(errno.EOPNOTSUPP, "the NBD server cannot do that")

    def _cut(self, kind: int, offset: int, length: int, buffers: Buffers = (), flags: int = 0) -> list[Command]:
        if 0 < length <= self._longest:
            return [Command(kind, offset, length, flags, buffers)]
        cursor = Cursor(buffers)
        commands = []
        while length:
            step = min(length, self._longest)
            commands.append(Command(kind, offset, step, flags, cursor.take(step) if buffers else ()))
            offset += step
            length -= step
        return commands

    def _read(self, buffers: Buffers, offset: int, length: int) -> None:
        self._do(self._cut(_READ, offset, length, buffers))

    def _write(self, buffers: Buffers, offset: int, length: int) -> None:
        self._do(self._cut(_WRITE, offset, length, buffers))

    def _flush(self) -> None:
        if self.can_flush:
            self._do([Command(_FLUSH)])

    def _discard(self, offset: int, length: int, secure: bool) -> None:
        self._do(self._cut(_TRIM, offset, length))

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        if self.can_write_zeroes:
            self._do(self._cut(_ZEROES, offset, length, flags=0 if unmap else _NO_HOLE))
        else:
            self._store_zeroes(offset, length)

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        if self._context is None:
            yield Extent(offset, length)
            return
        end = offset + length
        while offset < end:
            command = Command(_STATUS, offset, min(end - offset, MOST_STATUS))
            self._do([command])
            start = offset
            for size, status in command.statuses:
                size = min(size, end - offset)
                if size:
                    yield Extent(offset, size, zero=bool(status & 2), hole=bool(status & 1))
                offset += size
            if offset == start:
                raise OSError(errno.EIO, "the NBD server says nothing about what it stores")

    def _resize(self, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "the NBD server gives the size")

    def _refresh(self) -> None:
        pass  # the size of an export is told once

    def _close(self) -> None:
        try:
            if not self._lost:
                if not self.read_only:
                    self._flush()
                self._socket.sendall(_REQUEST.pack(_REQUEST_MAGIC, 0, _DISCONNECT, 0, 0, 0))
        finally:
            self._socket.close()

    # Negotiation

    def _negotiate(self, export: str) -> tuple[int, int, int, int, int]:
        magic, option_magic, flags = struct.unpack(">8sQH", self._receive(18))
        if magic != _MAGIC or option_magic != _OPTION_MAGIC or not flags & 1:
            raise ConfigError("what listens there is not an NBD server of the new style")
        self._socket.sendall(struct.pack(">I", flags & 3))  # fixed newstyle, no zeroes
        self._structured = self._option(_STRUCTURED_REPLY, b"") is not None
        name = export.encode()
        if self._structured:
            query = b"base:allocation"
            replies = self._option(
                _SET_META_CONTEXT, struct.pack(">I", len(name)) + name + struct.pack(">II", 1, len(query)) + query
            )
            for kind, data in replies or ():
                if kind == _META_CONTEXT and data[4:] == query:
                    (self._context,) = struct.unpack_from(">I", data)
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
        self._socket.sendall(struct.pack(">QII", _OPTION_MAGIC, option, len(data)) + data)
        replies: list[tuple[int, bytes]] = []
        while True:
            magic, _, kind, length = struct.unpack(">QIII", self._receive(20))
            if magic != _OPTION_REPLY_MAGIC or length > 1 << 16:
                raise Lost(errno.EPROTO, "it sends what cannot be understood")
            body = self._receive(length)
            if kind == _ACK:
                return replies
            if kind & _ERROR:
                if what is None:
                    return None
                reason = body.decode("utf-8", "replace") or f"error {kind & ~_ERROR}"
                raise ConfigError(f"the NBD server does not serve '{what}': {reason}")
            replies.append((kind, bytes(body)))

    # Commands

    def _do(self, commands: list[Command]) -> None:
        self._exchange(commands)
        for command in commands:
            if command.error:
                raise OSError(command.error, os.strerror(command.error))

    def _exchange(self, commands: list[Command]) -> None:
        """Send commands and take their replies, several in flight; each command's `error` tells how it went."""
        with self._lock:
            if self._lost:
                self._fail(commands)
                return
            flying: dict[int, Command] = {}
            try:
                if len(commands) == 1:
                    self._send_all(self._frame(commands[0], flying))
                    while flying:
                        self._receive_reply(flying)
                else:
                    self._pipeline(deque(commands), flying)
            except OSError:
                # Replies and requests can no longer be told apart.
                self._lost = True
                self._fail(flying.values())
                self._fail(command for command in commands if command.error < 0)

    def _pipeline(self, queue: deque[Command], flying: dict[int, Command]) -> None:
        for command in queue:
            command.error = -1  # not sent
        outgoing: list[memoryview] = []
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while queue or outgoing or flying:
                if not outgoing and queue and len(flying) < IN_FLIGHT:
                    command = queue.popleft()
                    command.error = 0
                    outgoing = self._frame(command, flying)
                selector.modify(self._socket, selectors.EVENT_READ | (selectors.EVENT_WRITE if outgoing else 0))
                for _, events in selector.select():
                    if events & selectors.EVENT_READ:
                        self._receive_reply(flying)
                    elif outgoing:
                        sent = self._socket.sendmsg(outgoing[:1024], [], socket.MSG_DONTWAIT)
                        outgoing = after(outgoing, sent)

    @staticmethod
    def _fail(commands: Iterable[Command]) -> None:
        for command in commands:
            command.error = errno.EIO

    def _frame(self, command: Command, flying: dict[int, Command]) -> list[memoryview]:
        """A command as it is sent."""
        handle = self._next_handle
        self._next_handle += 1
        flying[handle] = command
        header = _REQUEST.pack(_REQUEST_MAGIC, command.flags, command.kind, handle, command.offset, command.length)
        return [memoryview(header), *(command.buffers if command.kind == _WRITE else ())]

    def _receive_reply(self, flying: dict[int, Command]) -> None:
        """Take one reply, or one chunk of a structured one."""
        (magic,) = struct.unpack(">I", self._receive(4))
        if magic == _SIMPLE_MAGIC:
            error, handle = struct.unpack(">IQ", self._receive(12))
            command = self._flying(flying, handle)
            command.error = _errno(error)
            if command.kind == _READ and not error:
                self._receive_into(command.buffers)
            del flying[handle]
        elif magic == _STRUCTURED_MAGIC and self._structured:
            flags, kind, handle, length = struct.unpack(">HHQI", self._receive(16))
            self._receive_chunk(self._flying(flying, handle), kind, length)
            if flags & _DONE:
                del flying[handle]
        else:
            raise Lost(errno.EPROTO, "the NBD server sends what cannot be understood")

    def _receive_chunk(self, command: Command, kind: int, length: int) -> None:
        if kind == _OFFSET_DATA and command.kind == _READ and length > 8:
            (offset,) = struct.unpack(">Q", self._receive(8))
            self._receive_into(self._part(command, offset, length - 8))
        elif kind == _OFFSET_HOLE and command.kind == _READ and length == 12:
            offset, hole = struct.unpack(">QI", self._receive(12))
            zero(self._part(command, offset, hole))
        elif kind == _BLOCK_STATUS and command.kind == _STATUS and 12 <= length <= 1 << 24 and length % 8 == 4:
            data = self._receive(length)
            if struct.unpack_from(">I", data)[0] == self._context:
                command.statuses += list(struct.iter_unpack(">II", data[4:]))
        elif kind & 1 << 15 and 6 <= length <= 1 << 16:
            command.error = _errno(struct.unpack_from(">I", self._receive(length))[0])
        elif kind != _NONE or length:
            raise Lost(errno.EPROTO, "the NBD server sends what cannot be understood")

    def _part(self, command: Command, offset: int, length: int) -> list[memoryview]:
        start = offset - command.offset
        if start < 0 or start + length > command.length:
            raise Lost(errno.EPROTO, "the NBD server sends what was not asked for")
        if not start and length == command.length:
            return list(command.buffers)
        return Cursor(after(command.buffers, start)).take(length)

    @staticmethod
    def _flying(flying: dict[int, Command], handle: int) -> Command:
        if handle not in flying:
            raise Lost(errno.EPROTO, "the NBD server answers what was not asked")
        return flying[handle]

    def _receive(self, length: int) -> bytearray:
        data = bytearray(length)
        self._receive_into([memoryview(data)] if length else [])
        return data

    def _receive_into(self, buffers: Buffers) -> None:
        while buffers:
            done = self._socket.recvmsg_into(buffers[:1024])[0]
            if not done:
                raise Lost(errno.EIO, "it has closed the connection")
            buffers = after(buffers, done)

    def _send_all(self, buffers: Buffers) -> None:
        while buffers:
            buffers = after(buffers, self._socket.sendmsg(buffers[:1024]))


def connect(path: Path) -> socket.socket:
    """A connection to the server that listens on a unix socket.  ConfigError."""
    try:
        return door().connect(path)
    except OSError as error:
        raise ConfigError(f"cannot reach an NBD server at {path}: {error.strerror or error}") from None


def open_nbd(path: Path, export: str = "", read_only: bool = False) -> NbdClient:
    """Connect to the server that listens on a unix socket."""
    connection = connect(path)
    try:
        return NbdClient(connection, export, read_only)
    except BaseException:
        connection.close()
        raise


def _errno(number: int) -> int:
    """The protocol's error numbers are Linux's; others are EINVAL."""
    known = {0, errno.EPERM, errno.EIO, errno.ENOMEM, errno.EINVAL, errno.ENOSPC, errno.EOVERFLOW, errno.EOPNOTSUPP,
             errno.ESHUTDOWN}  # fmt: skip
    return number if number in known else errno.EINVAL
