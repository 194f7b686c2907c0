"""The rings that a block frontend published, and one of them at work: its frames, its channel, its queue's thread."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final, NamedTuple

from xenia.abi.blkif import XEN_IO_PROTO_ABI_X86_64
from xenia.backends.vbd.persist import QueueState
from xenia.backends.vbd.queue import Queue
from xenia.backends.vbd.workers import Workers
from xenia.foreign.fault import FrontendFault
from xenia.foreign.foreign import Channel, Mapping
from xenia.jail.kinds import Kind
from xenia.machine.thread import HostThread
from xenia.xenbus.frontend import Frontend

MAX_RING_PAGE_ORDER: Final = 4
MAX_QUEUES: Final = 4


class Published(NamedTuple):
    """What a frontend says of its rings."""

    prefixes: list[str]  # of the keys of each
    nr_pages: int  # of each

    @classmethod
    def by(cls, frontend: Frontend) -> Published:
        """Read its keys.  Raises FrontendFault."""
        protocol = frontend.text("protocol", XEN_IO_PROTO_ABI_X86_64)
        if protocol != XEN_IO_PROTO_ABI_X86_64:
            raise FrontendFault(f"the frontend's protocol is {protocol[:40]!r}, not {XEN_IO_PROTO_ABI_X86_64}")
        nr_queues = frontend.number("multi-queue-num-queues", 1, MAX_QUEUES)
        if frontend.has("num-ring-pages") and not frontend.has("ring-page-order"):
            nr_pages = frontend.number("num-ring-pages", 1, 1 << MAX_RING_PAGE_ORDER)
        else:
            nr_pages = 1 << frontend.number("ring-page-order", 0, MAX_RING_PAGE_ORDER)
        if nr_queues == 0 or nr_pages not in (1, 2, 4, 8, 16):
            raise FrontendFault(f"{nr_queues} queues with rings of {nr_pages} pages cannot be")
        prefixes = [f"queue-{index}/" for index in range(nr_queues)] if frontend.has("queue-0/event-channel") else [""]
        if len(prefixes) != nr_queues:
            raise FrontendFault(f"the frontend has {nr_queues} queues and published none")
        return cls(prefixes, nr_pages)


class Ring:
    """One queue, connected."""

    def __init__(
        self,
        workers: Workers,
        frontend: Frontend,
        prefix: str,
        nr_pages: int,
        persistent: bool,
        state: QueueState | None = None,
    ) -> None:
        """`state`: of the queue that goes on in this one; without, a ring is served from where its answers end."""
        names = [f"{prefix}ring-ref{index}" for index in range(nr_pages)] if nr_pages > 1 else [f"{prefix}ring-ref"]
        if nr_pages == 1 and not frontend.has(names[0]):
            names = [f"{prefix}ring-ref0"]
        refs = [frontend.number(name) for name in names]
        port = frontend.number(f"{prefix}event-channel")
        with ExitStack() as held:
            mapping: Mapping = frontend.foreign.map(refs)
            held.callback(mapping.close)
            self._channel: Channel = frontend.foreign.bind(port)
            held.callback(self._channel.close)
            frames, event_fd = frontend.foreign.frames, self._channel.event_fd
            self._queue = Queue(workers, frames, mapping.memory, port, event_fd, persistent)
            held.callback(self._queue.close)
            if state is not None:
                self._queue.go_on(state.answered, state.faulty)
            self._thread = HostThread(self._queue.serve, "vbd ring", Kind.WORKER)
            self._held = held.pop_all()
        self._goes_on = state is not None

    @property
    def is_faulty(self) -> bool:
        return self._queue.is_faulty

    def start(self) -> None:
        """Serve it."""
        if not self._queue.is_new and not self._goes_on:
            self._channel.notify()  # of what the backend before answered and could not say any more
        self._thread.start()
        self._queue.start()

    def rest(self) -> QueueState:
        """Answer all that was requested, and serve it no more; `close` is still to come."""
        if self._thread.ident is not None:
            self._queue.stop()
            self._thread.join()
        return QueueState(self._queue.answered, self._queue.is_faulty)

    def close(self) -> None:
        """Rest, and let go of it."""
        with self._held:
            self.rest()
