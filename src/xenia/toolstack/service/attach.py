"""A terminal on the console of a domain of the daemon's."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, closing, suppress

from xenia.errors import ConfigError
from xenia.toolstack.attach.session import Ended, PlainLine, Session, Waker
from xenia.toolstack.attach.terminal import Output, Terminal
from xenia.toolstack.control.client import Place

_PIECE = 65536


class _Line(PlainLine):
    """Whoever is attached without a keyboard only reads."""

    def end_of_input(self) -> bytes:
        return b""


class _Input:
    """The domain's console, as far as a session is concerned."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def offer(self, data: bytes) -> int:
        """Give it input without waiting; how many of the bytes there was room for."""
        try:
            return self.connection.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)  # it is gone, which is said elsewhere


class AttachedConsole:
    """Attached from now on, before anybody reads: so that nothing is missed of a domain that is yet to run."""

    def __init__(self, place: Place) -> None:
        """ConfigError where it has none to attach to."""
        if place.domid is None:
            raise ConfigError(f"{place} runs in a terminal of its own, which has its console")
        self._place = place
        self._ours, theirs = socket.socketpair()
        with theirs:
            try:
                place.ask("console", descriptors=[theirs.fileno()])
            except BaseException:
                self._ours.close()
                raise

    def run(self) -> Ended:
        """Carry bytes between it and the standard streams until it ends, or the operator leaves.  Main thread only."""
        with ExitStack() as stack:
            stack.enter_context(self._ours)
            waker = stack.enter_context(closing(Waker()))
            output = stack.enter_context(closing(Output(1, waker.wake)))
            terminal = Terminal()
            stack.callback(terminal.restore)
            line = _Line(output, self._resized, is_screen=terminal.is_tty)
            session = Session(terminal, _Input(self._ours), line, output, waker)
            try:
                return session.run(lambda: self._bring(line))
            finally:
                output.cancel()
                with suppress(OSError):
                    self._ours.shutdown(socket.SHUT_RDWR)
                session.close()

    def close(self) -> None:
        """Leave without having read.  Again, or after `run`, does nothing."""
        self._ours.close()

    def _bring(self, line: PlainLine) -> None:
        with suppress(ConnectionError):  # it ended with keys that it had not taken
            while data := self._ours.recv(_PIECE):
                line.receive(data)

    def _resized(self, rows: int, columns: int) -> None:
        def tell() -> None:
            with suppress(ConfigError):
                self._place.ask("window", rows=rows, columns=columns)

        threading.Thread(target=tell, name="window", daemon=True).start()
