"""A folder of the host's in the guest: what the frontend is told, and the rings that lead to the file server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Protocol

from xenia.backends.p9.persist import P9State, RingState
from xenia.backends.p9.rings import MOST_ORDER, MOST_RINGS, VERSION, Published, Rings
from xenia.backends.p9.stats import P9Stats
from xenia.errors import ConfigError
from xenia.foreign.fault import FrontendFault
from xenia.xenbus.attachment import Backend
from xenia.xenbus.frontend import Frontend


class Sessions(Protocol):
    """Where files are served."""

    def session(self, streams: int, /) -> list[socket.socket]:
        """Begin anew for a client that asks by so many connections.  ConfigError."""


class P9(Backend):
    """Serves one folder to a guest."""

    def __init__(self, server: Sessions, sockets: Sequence[socket.socket] = ()) -> None:
        """The server stays its owner's to close, after `disconnect`.

        sockets   of the session that goes on (`left`)
        """
        self._server = server
        self._sockets = list(sockets)
        self._rings: Rings | None = None
        self._resting: tuple[RingState, ...] = ()
        self._shut: Callable[[str], None] | None = None

    @property
    def stats(self) -> P9Stats:
        """What passed on the rings that are there."""
        rings = self._rings
        return P9Stats() if rings is None else rings.stats

    @property
    def fault(self) -> str:
        """Why a ring of the frontend's is not served any more; "" where all are."""
        rings = self._rings
        return "" if rings is None else rings.fault

    def on_fault(self, shut: Callable[[str], None]) -> None:
        """From now on call `shut` with the reason when the frontend's rings cannot be served any more."""
        self._shut = shut

    def save(self) -> P9State:
        """See backends/p9/persist.py.  Precondition: it serves no ring, since `suspend` or from the start."""
        return P9State(self._resting)

    def left(self) -> list[socket.socket]:
        """The connections of the session that was suspended: the caller's from now on."""
        sockets, self._sockets = self._sockets, []
        return sockets

    @classmethod
    def restore(cls, server: Sessions, state: P9State, sockets: Sequence[socket.socket]) -> P9:
        """One that goes on as that one; to be attached where it was connected."""
        device = cls(server, sockets)
        device._resting = state.rings
        return device

    # --- The handshake, on the device's own thread

    def prepare(self) -> Mapping[str, str]:
        """What frontends need to know before they make their rings."""
        return {
            "versions": str(VERSION),
            "max-rings": str(MOST_RINGS),
            "max-ring-page-order": str(MOST_ORDER),
        }

    def connect(self, frontend: Frontend) -> Mapping[str, str]:
        """Serve the rings it made, to a client that begins anew."""
        published = Published.by(frontend)
        try:
            self._sockets = self._server.session(len(published))
        except ConfigError as refused:
            raise FrontendFault(str(refused)) from None
        for each in self._sockets:
            each.setblocking(False)
        self._serve(frontend, published, [None] * len(published))
        return {}

    def disconnect(self) -> None:
        """Let go of the rings, and end the session."""
        rings, self._rings, self._resting = self._rings, None, ()
        with ExitStack() as stack:
            for each in self.left():
                stack.callback(each.close)
            if rings is not None:
                stack.callback(rings.close)

    def suspend(self) -> None:
        """Let go of the rings; the session goes on."""
        rings, self._rings = self._rings, None
        if rings is not None:
            try:
                self._resting = rings.rest()
            finally:
                rings.close()

    def resume(self, frontend: Frontend) -> Mapping[str, str]:
        """Go on with the rings that were served."""
        published = Published.by(frontend)
        if not len(published) == len(self._resting) == len(self._sockets):
            raise FrontendFault(f"{len(self._resting)} rings were served, and {len(published)} are published")
        self._serve(frontend, published, self._resting)
        return {}

    def _serve(self, frontend: Frontend, published: list[Published], states: Sequence[RingState | None]) -> None:
        try:
            self._rings = Rings(frontend, published, self._sockets, self._is_shut, states)
        except BaseException:
            self.disconnect()
            raise

    def _is_shut(self, reason: str) -> None:
        if self._shut is not None:
            self._shut(reason)
