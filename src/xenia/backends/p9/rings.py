"""The rings that a frontend published, and all of them at work: their pages, channels, sockets, and a thread."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from xenia.abi.p9 import XEN_9PFS_DATA_INTF
from xenia.backends.p9.persist import RingState
from xenia.backends.p9.ring import DataRing
from xenia.backends.p9.stats import P9Stats
from xenia.foreign.fault import FrontendFault
from xenia.jail.kinds import Kind
from xenia.machine.loop import Loop
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


class Rings:
    """Those of one frontend at work, until they are closed: on a thread of theirs, and on idle vcpus."""

    def __init__(
        self,
        frontend: Frontend,
        published: Sequence[Published],
        servers: Sequence[socket.socket],
        on_fault: Callable[[str], None],
        states: Sequence[RingState | None],
    ) -> None:
        """Serve them.  OSError: the host gives no thread; FrontendFault.

        servers   of each: a socket that stays the caller's, and does not block
        on_fault  called when one is not served any more, with the reason
        states    of each: of the ring that goes on in it
        """
        self._frames = frontend.foreign.frames
        self._loop = Loop()
        self._thread = HostThread(self._loop.run, "9pfs rings", Kind.WORKER)
        self._rings: list[DataRing] = []
        with ExitStack() as held:
            held.callback(self._loop.close)
            for keys, server, state in zip(published, servers, states, strict=True):
                self._rings.append(_ring(frontend, keys, server, on_fault, state, held))
            for ring in self._rings:
                ring.join(self._rings)
            held.callback(self.rest)
            self._thread.start()
            for ring in self._rings:
                self._loop.add(ring)
                ring.start()
            self._frames.lend(self._loop)
            self._held = held.pop_all()

    @property
    def stats(self) -> P9Stats:
        """What passed on all of them."""
        return P9Stats(*map(sum, zip(*(ring.stats for ring in self._rings), strict=True)))

    @property
    def fault(self) -> str:
        """Why one of them is not served any more; "" where all are."""
        return next((ring.fault for ring in self._rings if ring.fault), "")

    def rest(self) -> tuple[RingState, ...]:
        """Serve them no more; `close` is still to come."""
        self._frames.take_back(self._loop)
        for ring in self._rings:
            ring.stop()
        self._loop.stop()
        self._thread.end()
        return tuple(RingState(*ring.rest) for ring in self._rings)

    def close(self) -> None:
        """Rest, and let go of them."""
        self._held.close()


def _ring(
    frontend: Frontend,
    published: Published,
    server: socket.socket,
    on_fault: Callable[[str], None],
    state: RingState | None,
    held: ExitStack,
) -> DataRing:
    foreign = frontend.foreign
    page = foreign.map([published.ref])
    held.callback(page.close)
    data = foreign.map(_references(page.memory))
    held.callback(data.close)
    channel = foreign.bind(published.port)
    held.callback(channel.close)
    ring = DataRing(
        foreign.frames, page.memory, data.memory, port=published.port, event_fd=channel.event_fd,
        socket=server.fileno(), on_fault=on_fault,
    )  # fmt: skip
    held.callback(ring.close)
    if state is not None:
        ring.go_on(state.out_cons, state.in_prod, state.begun, state.left, state.asked, state.flushes)
    return ring


def _references(page: memoryview) -> list[int]:
    """Of the pages of the ring that this page begins, each read once.  Raises FrontendFault."""
    head = XEN_9PFS_DATA_INTF.size
    order = XEN_9PFS_DATA_INTF.unpack(bytes(page[:head]))[-1]
    if not 1 <= order <= MOST_ORDER:
        raise FrontendFault(f"the frontend's ring has 2^{order} pages: 2^1 to 2^{MOST_ORDER} can be")
    refs = bytes(page[head : head + (4 << order)])
    return list(memoryview(refs).cast("I"))
