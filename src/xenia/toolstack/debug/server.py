"""Who listens for debuggers, and lets one at a time in."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from xenia.errors import ConfigError
from xenia.toolstack.debug.listener import is_ours
from xenia.toolstack.debug.packet import packet, readable
from xenia.toolstack.debug.session import Session
from xenia.toolstack.debug.target import Target

if TYPE_CHECKING:
    from xenia.toolstack.machine.domain import Domain

_log = logging.getLogger(__name__)
_WAKE: Final = 0.5  # seconds between two looks whether it is to end


class DebugServer:
    """Serves GDB's protocol at a socket that listens, one client after the other, each about the domain that there is
    then."""

    def __init__(
        self,
        listener: socket.socket,
        table: int | None,
        find_domain: Callable[[], Domain | None],
        alive: socket.socket | None = None,
    ) -> None:
        """listener, table   see `Listener`
        alive             the server ends when the other end of this has gone; None: when it is closed

        What it is given is its own.
        """
        self._listener = listener
        self._table = table
        self._find = find_domain
        self._alive = alive
        self._closed = threading.Event()
        self._held: Domain | None = None
        self._thread = threading.Thread(target=self._serve, name="gdb", daemon=True)

    def start(self, *, holding: Domain | None = None) -> None:
        """Let clients in, on a thread of its own.

        holding   stands until the first of them lets it go
        """
        if holding is not None:
            self._held = holding
            holding.pauses.hold()
        self._thread.start()

    def close(self) -> None:
        """Let nobody in any more, and go of the domain; wait until that is so."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()
        else:
            self._give_back()

    def _ends(self) -> bool:
        if self._alive is not None and not self._closed.is_set():
            with suppress(BlockingIOError):
                if not self._alive.recv(1, socket.MSG_DONTWAIT):
                    self._closed.set()
        return self._closed.is_set()

    def _serve(self) -> None:
        self._listener.setblocking(False)
        try:
            while not self._ends():
                if readable(self._listener, seconds=_WAKE):
                    try:
                        self._take()
                    except Exception:
                        _log.exception("a debugger could not be let in")
        finally:
            self._let_go()
            self._give_back()

    def _give_back(self) -> None:
        self._listener.close()
        if self._alive is not None:
            self._alive.close()
        if self._table is not None:
            os.close(self._table)

    def _take(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        with client:
            if not is_ours(client, self._table):
                return
            domain = self._find()
            try:
                if domain is None or not domain.runs:
                    raise ConfigError("the guest has ended")
                target = Target(domain)
            except ConfigError as error:
                with suppress(OSError):
                    client.sendall(packet(b"E." + str(error).encode()))
                return
            self._let_go()
            try:
                Session(client, target, self._ends).serve()
            except Exception:
                _log.exception("a debugger's session has failed")

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.pauses.release()
            self._held = None
