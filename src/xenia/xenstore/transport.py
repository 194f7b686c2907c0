"""What carries a connection of the store: a stream socket, a domain's ring, or nothing at all within one process.

A transport is driven by the server, which holds the store's lock meanwhile: `service` does what can be done without
waiting, and `interest` says what to wait for.
"""

from __future__ import annotations

import logging
import os
import socket
from abc import ABC, abstractmethod
from collections import deque
from contextlib import ExitStack
from selectors import EVENT_READ, EVENT_WRITE
from typing import Final

from xenia.foreign.foreign import Foreign, Interface
from xenia.xenstore.connection import Connection
from xenia.xenstore.conversation import Conversation
from xenia.xenstore.error import ProtocolError
from xenia.xenstore.guest_client import Complain, GuestClient
from xenia.xenstore.persist import GuestClientState
from xenia.xenstore.share import Share
from xenia.xenstore.store import Store

_RECEIVE_SIZE: Final = 16384


class Transport(ABC):
    """One client of the server."""

    connection: Connection
    share: Share | None = None  # of the server's time; None: all it likes

    @abstractmethod
    def service(self) -> bool:
        """Move what can be moved; answers whether there may be more to move at once."""

    @property
    @abstractmethod
    def interest(self) -> int:
        """EVENT_READ, EVENT_WRITE: what of `fileno` to wait for; 0 for nothing."""

    @abstractmethod
    def charge(self, ns: int) -> None:
        """The server's thread has run for it so long."""

    @abstractmethod
    def fileno(self) -> int: ...

    @abstractmethod
    def close(self) -> None:
        """Let go of everything.  `service` is not called afterwards."""

    @property
    def ended(self) -> bool:
        """Whether the client is gone for good."""
        return False


class SocketTransport(Transport):
    """A client of the unix socket; all of them act for domain 0."""

    def __init__(self, store: Store, stream: socket.socket, complain: Complain) -> None:
        stream.setblocking(False)
        self._stream = stream
        self._complain = complain
        self.connection = Connection(0)
        self._conversation = Conversation(store, self.connection)
        self._end_of_input = False
        self._broken = False
        self._unsent = False

    def service(self) -> bool:
        conversation = self._conversation
        try:
            data = self._receive() if conversation.hungry and not self._end_of_input else b""
            conversation.receive(data)
            conversation.pump()
            output = conversation.output()
            count = self._send(output) if output else 0
            conversation.sent(count)
            self._unsent = count < len(output)
        except ProtocolError as fault:
            self._complain(logging.WARNING, f"xenstore client dropped: {fault}")
            self._broken = True
            return False
        except OSError:  # the client went away
            self._broken = True
            return False
        return bool(data or count)

    def _receive(self) -> bytes:
        try:
            data = self._stream.recv(_RECEIVE_SIZE)
        except BlockingIOError:
            return b""
        self._end_of_input = not data
        return data

    def _send(self, data: bytes) -> int:
        try:
            return self._stream.send(data)
        except BlockingIOError:
            return 0

    @property
    def interest(self) -> int:
        reads = EVENT_READ if self._conversation.hungry and not self._end_of_input else 0
        return reads | (EVENT_WRITE if self._unsent else 0)

    @property
    def ended(self) -> bool:
        return self._broken or (self._end_of_input and not self._unsent)

    def charge(self, ns: int) -> None:
        """It is nobody's time but the operator's."""

    def fileno(self) -> int:
        return self._stream.fileno()

    def close(self) -> None:
        self._stream.close()


class GuestTransport(Transport):
    """A domain."""

    def __init__(
        self,
        store: Store,
        connection: Connection,
        foreign: Foreign,
        interface: Interface,
        complain: Complain,
        state: GuestClientState | None = None,
    ) -> None:
        self._foreign = foreign
        self._interface = interface
        self.connection = connection
        self.share = Share()
        self._guest = GuestClient(store, connection, interface.page, interface.notify, complain, state)

    def service(self) -> bool:
        # The eventfd is emptied after the work, and the ring looked at once more: what came in between rang for
        # nothing.
        return self._guest.service() or (self._empty() and self._guest.service())

    def charge(self, ns: int) -> None:
        self._foreign.charge(ns)

    def save(self) -> GuestClientState:
        """See GuestClient.save."""
        return self._guest.save()

    def restart(self) -> None:
        """The domain's connection begins anew, with empty rings."""
        self._guest.restart()

    def _empty(self) -> bool:
        try:
            os.eventfd_read(self._interface.event_fd)
        except BlockingIOError:
            return False
        return True

    @property
    def interest(self) -> int:
        return EVENT_READ

    def fileno(self) -> int:
        return self._interface.event_fd

    def close(self) -> None:
        with ExitStack() as stack:
            stack.callback(self._interface.close)
            self._guest.close()


class LocalTransport(Transport):
    """A client in this process; only its events take this way."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.connection = Connection(0)
        self._waiting: deque[tuple[bytes, bytes]] = deque()

    def service(self) -> bool:
        self._waiting.extend(self.connection.take_events(self._store.quota.events))
        return self.connection.has_events

    def take(self) -> list[tuple[bytes, bytes]]:
        """The events that `service` collected."""
        events = list(self._waiting)
        self._waiting.clear()
        return events

    @property
    def interest(self) -> int:
        return 0

    def charge(self, ns: int) -> None:
        """As of SocketTransport."""

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self._waiting.clear()
