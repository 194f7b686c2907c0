"""The rings that a frontend published, and each of them at work: its pages, channel, socket and thread."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from xenia.abi.p9 import XEN_9PFS_DATA_INTF
from xenia.backends.p9.persist import RingState
from xenia.backends.p9.ring import DataRing
from xenia.foreign.fault import FrontendFault
from xenia.jail.kinds import Kind
from xenia.machine.thread import HostThread
from xenia.xenbus.frontend import Frontend

VERSION = 1
MOST_RINGS = 4
MOST_ORDER = 9
"""Of a ring's pages: 2 MB, as many as Linux's frontend insists on."""


class Published(NamedTuple):
    """Where a ring is: a grant reference, and a port."""

    ref: int
    port: int

    @classmethod
    def by(cls, frontend: Frontend) -> list[Published]:
        """Read its keys.  Raises FrontendFault."""
        if (version := frontend.number("version")) != VERSION:
            raise FrontendFault(f"the frontend speaks version {version} of 9pfs, and not {VERSION}")
        count = frontend.number("num-rings", most=MOST_RINGS)
        if count == 0:
            raise FrontendFault("the frontend has no rings (num-rings)")
        found = [cls(frontend.number(f"ring-ref{n}"), frontend.number(f"event-channel-{n}")) for n in range(count)]
        if len({ring.ref for ring in found}) < count or len({ring.port for ring in found}) < count:
            raise FrontendFault("the frontend has the same page or port for two of its rings")
        return found


class ServedRing:
    """One ring, connected."""

    def __init__(
        self,
        frontend: Frontend,
        published: Published,
        server: socket.socket,
        on_fault: Callable[[str], None],
        state: RingState | None = None,
    ) -> None:
        """server    stays the caller's, and does not block
        on_fault  called on the ring's thread when it is not served any more, with the reason
        state     of the ring that goes on in this one
        """
        foreign = frontend.foreign
        with ExitStack() as held:
            page = foreign.map([published.ref])
            held.callback(page.close)
            data = foreign.map(_references(page.memory))
            held.callback(data.close)
            channel = foreign.bind(published.port)
            held.callback(channel.close)
            self.ring = DataRing(
                foreign.frames, page.memory, data.memory, port=published.port, event_fd=channel.event_fd,
                socket=server.fileno(),
            )  # fmt: skip
            held.callback(self.ring.close)
            if state is not None:
                self.ring.go_on(
                    state.out_cons, state.in_prod, state.begun, state.left, state.asked, state.flushes
                )  # fmt: skip
            self._thread = HostThread(self._serve, "9pfs ring", Kind.WORKER)
            self._held = held.pop_all()
        self._on_fault = on_fault

    def start(self) -> None:
        """Serve it.  OSError: the host gives no thread."""
        self._thread.start()
        self.ring.start()

    def _serve(self) -> None:
        self.ring.serve()
        if self.ring.fault:
            self._on_fault(self.ring.fault)

    def rest(self) -> RingState:
        """Serve it no more; `close` is still to come."""
        self.ring.stop()
        self._thread.end()
        return RingState(*self.ring.rest)

    def close(self) -> None:
        """Rest, and let go of it."""
        with self._held:
            self.rest()


def _references(page: memoryview) -> list[int]:
    """Of the pages of the ring that this page begins, each read once.  Raises FrontendFault."""
    head = XEN_9PFS_DATA_INTF.size
    order = XEN_9PFS_DATA_INTF.unpack(bytes(page[:head]))[-1]
    if not 1 <= order <= MOST_ORDER:
        raise FrontendFault(f"the frontend's ring has 2^{order} pages: 2^1 to 2^{MOST_ORDER} can be")
    refs = bytes(page[head : head + (4 << order)])
    return list(memoryview(refs).cast("I"))
