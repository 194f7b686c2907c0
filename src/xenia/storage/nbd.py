"""A disk that another program serves: a client of the network block device protocol over a unix socket.

The protocol is NBD's, doc/proto.md: fixed newstyle negotiation, simple and structured replies. A batch goes out as one
stream of requests, and replies are taken as they come.

No wait for the server is without end: it has PATIENCE seconds for each reply. Where it does not answer or goes away,
the next request connects again, and what was not answered is sent again, as each request may be. What the old one had
been told and had not flushed may be lost, though; where there was such data, the disk can only be read from then on.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from xenia.errors import ConfigError
from xenia.storage.buffers import Buffers, Cursor, after, zero
from xenia.storage.door import door
from xenia.storage.layer import BlockSize, Capability, Extent, Layer, Operation, Request
from xenia.storage.nbd_link import GREETING, Link, Lost

_REQUEST_MAGIC, _SIMPLE_MAGIC, _STRUCTURED_MAGIC = 0x25609513, 0x67446698, 0x668E33EF
_REQUEST = struct.Struct(">IHHQQI")

_READ, _WRITE, _DISCONNECT, _FLUSH, _TRIM, _ZEROES, _STATUS = 0, 1, 2, 3, 4, 6, 7
_NO_HOLE = 1 << 1  # flag of a command
_DONE = 1  # flag of a structured reply's chunk
_NONE, _OFFSET_DATA, _OFFSET_HOLE, _BLOCK_STATUS = 0, 1, 2, 5  # chunks

_READ_ONLY, _SEND_FLUSH, _SEND_TRIM, _SEND_ZEROES = 1 << 1, 1 << 2, 1 << 5, 1 << 6

IN_FLIGHT = 16
MOST_STATUS = 1 << 30
PATIENCE = 30.0  # seconds for a reply
PAUSE = 5.0  # seconds between attempts to connect again

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Command:
    """A request on its way."""

    kind: int
    offset: int = 0
    length: int = 0
    flags: int = 0
    buffers: Buffers = ()  # data to send, or where to put it
    error: int = 0
    statuses: list[tuple[int, int]] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Whether it changes what is stored."""
        return self.kind in (_WRITE, _TRIM, _ZEROES)


class NbdClient(Layer):
    """One connection to an export."""

    name: ClassVar[str] = "nbd"

    def __init__(
        self,
        connection: socket.socket,
        export: str = "",
        read_only: bool = False,
        reconnect: Callable[[], socket.socket] | None = None,
    ) -> None:
        """Negotiate with the server at the other end.  ConfigError where it does not offer the export.

        `reconnect` gives another connection to it.
        """
        self._reconnect = reconnect
        self._export = export
        self._lock = threading.Lock()
        self._unflushed = False  # whether the server has data that may be lost with it
        self._damaged = False  # whether such data may have been lost
        self._tried = -PAUSE  # when a connection was last asked for
        self._next_handle = 0
        self._lost = False
        try:
            self._link = Link(connection)
            self._offer = self._link.negotiate(export)
        except (OSError, struct.error) as error:
            raise ConfigError(f"the NBD server ended the conversation: {error.args[-1]}") from None
        size, flags, unit, preferred, self._longest = self._offer
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

    def submit(self, requests: Sequence[Request]) -> None:
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
        if self._link.context is None:
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
        self._reconnect = None
        if self._lock.acquire(timeout=1):
            self._lock.release()
        else:
            self._link.abandon()  # whoever waits for an answer fails
        try:
            if self._unflushed and not self._lost:
                self._exchange([Command(_FLUSH)], GREETING)
            if not self._lost:
                self._link.hurry(1)
                with suppress(OSError):  # a goodbye, to nobody perhaps
                    self._link.send_all([memoryview(_REQUEST.pack(_REQUEST_MAGIC, 0, _DISCONNECT, 0, 0, 0))])
            if self._unflushed or self._damaged:
                raise OSError(errno.EIO, "the NBD server has gone with what was not flushed")
        finally:
            self._link.close()

    # Commands

    def _do(self, commands: list[Command]) -> None:
        self._exchange(commands)
        for command in commands:
            if command.error:
                raise OSError(command.error, os.strerror(command.error))

    def _exchange(self, commands: list[Command], patience: float | None = None) -> None:
        """Send commands and take their replies, several in flight; each command's `error` tells how it went."""
        with self._lock:
            waiting = commands
            for _ in range(2):
                if self._lost and not self._connect_again():
                    break
                if self._damaged:
                    self._fail(command for command in waiting if command.changes or command.kind == _FLUSH)
                    waiting = [command for command in waiting if not command.error]
                waiting = self._converse(waiting, PATIENCE if patience is None else patience)
                if not waiting:
                    break
            self._fail(waiting)
            for command in commands:
                if not command.error and (command.changes or command.kind == _FLUSH):
                    self._unflushed = command.changes and self.can_flush

    def _converse(self, commands: list[Command], patience: float) -> list[Command]:
        """One attempt; the commands that were not answered, where the connection was lost."""
        self._link.hurry(patience)
        flying: dict[int, Command] = {}
        queue = deque(commands)
        try:
            if len(commands) == 1:
                self._link.send_all(self._frame(queue.popleft(), flying))
                while flying:
                    self._receive_reply(flying)
            else:
                self._pipeline(queue, flying)
        except OSError as error:
            # Replies and requests can no longer be told apart.
            self._lost = True
            _log.warning("the NBD server of '%s' is lost: %s", self._export, error.strerror or error)
            left = [*flying.values(), *queue]
            for command in left:
                command.error = 0
                command.statuses.clear()
            done = (command for command in commands if command not in left and not command.error)
            self._unflushed |= self.can_flush and any(command.changes for command in done)
            return left
        return []

    def _connect_again(self) -> bool:
        if self._reconnect is None or time.monotonic() - self._tried < PAUSE:
            return False
        self._tried = time.monotonic()
        try:
            link = Link(self._reconnect())
        except (OSError, ConfigError) as error:
            _log.warning("the NBD server of '%s' cannot be had again: %s", self._export, error)
            return False
        try:
            if link.negotiate(self._export) != self._offer:
                raise ConfigError("it serves something else than before")
        except (OSError, ConfigError, struct.error) as error:
            link.close()
            _log.warning("the NBD server of '%s' cannot be had again: %s", self._export, error)
            return False
        self._link.close()
        self._link = link
        self._lost = False
        self._damaged = self._damaged or self._unflushed
        self._unflushed = False
        state = "; what was not flushed may be lost, so it is only read from now on" if self._damaged else ""
        _log.warning("the NBD server of '%s' is there again%s", self._export, state)
        return True

    def _pipeline(self, queue: deque[Command], flying: dict[int, Command]) -> None:
        outgoing: list[memoryview] = []
        while queue or outgoing or flying:
            if not outgoing and queue and len(flying) < IN_FLIGHT:
                outgoing = self._frame(queue.popleft(), flying)
            if self._link.wait(select.POLLIN | (select.POLLOUT if outgoing else 0)) & ~select.POLLOUT:
                self._receive_reply(flying)
            elif outgoing:
                outgoing = self._link.send_some(outgoing)

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
        (magic,) = struct.unpack(">I", self._link.receive(4))
        if magic == _SIMPLE_MAGIC:
            error, handle = struct.unpack(">IQ", self._link.receive(12))
            command = self._flying(flying, handle)
            command.error = _errno(error)
            if command.kind == _READ and not error:
                self._link.receive_into(command.buffers)
            self._answered(flying, handle)
        elif magic == _STRUCTURED_MAGIC and self._link.structured:
            flags, kind, handle, length = struct.unpack(">HHQI", self._link.receive(16))
            self._receive_chunk(self._flying(flying, handle), kind, length)
            if flags & _DONE:
                self._answered(flying, handle)
        else:
            raise Lost(errno.EPROTO, "the NBD server sends what cannot be understood")

    def _answered(self, flying: dict[int, Command], handle: int) -> None:
        del flying[handle]
        self._link.hurry()

    def _receive_chunk(self, command: Command, kind: int, length: int) -> None:
        if kind == _OFFSET_DATA and command.kind == _READ and length > 8:
            (offset,) = struct.unpack(">Q", self._link.receive(8))
            self._link.receive_into(self._part(command, offset, length - 8))
        elif kind == _OFFSET_HOLE and command.kind == _READ and length == 12:
            offset, hole = struct.unpack(">QI", self._link.receive(12))
            zero(self._part(command, offset, hole))
        elif (
            kind == _BLOCK_STATUS
            and command.kind == _STATUS
            and not command.statuses
            and 12 <= length <= 1 << 22
            and length % 8 == 4
        ):
            data = self._link.receive(length)
            if struct.unpack_from(">I", data)[0] == self._link.context:
                command.statuses += list(struct.iter_unpack(">II", data[4:]))
        elif kind & 1 << 15 and 6 <= length <= 1 << 16:
            command.error = _errno(struct.unpack_from(">I", self._link.receive(length))[0])
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


def connect(path: Path) -> socket.socket:
    """A connection to the server that listens on a unix socket.  ConfigError."""
    try:
        return door().connect(path)
    except BlockingIOError:
        raise ConfigError(f"the NBD server at {path} takes no connection") from None
    except OSError as error:
        raise ConfigError(f"cannot reach an NBD server at {path}: {error.strerror or error}") from None


def open_nbd(path: Path, export: str = "", read_only: bool = False) -> NbdClient:
    """Connect to the server that listens on a unix socket."""
    connection = connect(path)
    try:
        return NbdClient(connection, export, read_only, door().reconnect(path))
    except BaseException:
        connection.close()
        raise


def _errno(number: int) -> int:
    """The protocol's error numbers are Linux's; others are EINVAL."""
    known = {0, errno.EPERM, errno.EIO, errno.ENOMEM, errno.EINVAL, errno.ENOSPC, errno.EOVERFLOW, errno.EOPNOTSUPP,
             errno.ESHUTDOWN}  # fmt: skip
    return number if number in known else errno.EINVAL
