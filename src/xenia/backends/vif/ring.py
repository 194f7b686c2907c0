"""The rings that a network frontend published, and those of one queue at work: their pages, channels and thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Final, NamedTuple

from xenia.abi.netif import XEN_NETIF_MAX_XDP_HEADROOM
from xenia.backends.vif.card import Card
from xenia.backends.vif.control import Control
from xenia.backends.vif.features import Features
from xenia.backends.vif.persist import ControlState, QueueState
from xenia.backends.vif.queue import Queue
from xenia.foreign.fault import FrontendFault
from xenia.jail.kinds import Kind
from xenia.machine.thread import HostThread
from xenia.xenbus.frontend import Frontend

XDP_HEADROOM: Final = "xdp-headroom"
REQUEST_MULTICAST: Final = "request-multicast-control"


class QueueKeys(NamedTuple):
    """Where one queue is: references of its rings, and ports, which may be one for both."""

    tx_ref: int
    rx_ref: int
    tx_port: int
    rx_port: int


class ControlKeys(NamedTuple):
    """Where the control ring is."""

    ref: int
    port: int


class Published(NamedTuple):
    """What a frontend says of its rings and of what it can take."""

    queues: list[QueueKeys]
    control: ControlKeys | None
    features: Features
    filters: bool  # it wants no multicast frames but those it lists

    @classmethod
    def by(cls, frontend: Frontend, most_queues: int) -> Published:
        """Read its keys.  Raises FrontendFault."""
        if not frontend.flag("request-rx-copy"):
            raise FrontendFault("the frontend does not ask for frames to be copied (request-rx-copy), and pages that "
                                "are flipped are long gone")  # fmt: skip
        nr_queues = frontend.number("multi-queue-num-queues", 1, most_queues)
        if nr_queues == 0:
            raise FrontendFault("the frontend has no queues (multi-queue-num-queues)")
        prefixes = [f"queue-{index}/" for index in range(nr_queues)] if nr_queues > 1 else [""]
        queues = [_queue(frontend, prefix) for prefix in prefixes]
        control = None
        if frontend.has("ctrl-ring-ref"):
            control = ControlKeys(frontend.number("ctrl-ring-ref"), frontend.number("event-channel-ctrl"))
        refs = [ref for queue in queues for ref in queue[:2]] + ([control.ref] if control else [])
        if len(set(refs)) < len(refs):
            raise FrontendFault("the frontend has the same page for two of its rings")
        features = Features(
            sg=frontend.flag("feature-sg"),
            gso_tcpv4=frontend.flag("feature-gso-tcpv4"),
            gso_tcpv6=frontend.flag("feature-gso-tcpv6"),
            checksum_ipv4=not frontend.flag("feature-no-csum-offload"),
            checksum_ipv6=frontend.flag("feature-ipv6-csum-offload"),
            headroom=frontend.number(XDP_HEADROOM, 0, XEN_NETIF_MAX_XDP_HEADROOM),
        )
        return cls(queues, control, features, frontend.flag(REQUEST_MULTICAST))


def _queue(frontend: Frontend, prefix: str) -> QueueKeys:
    if frontend.has(f"{prefix}event-channel-tx"):
        ports = frontend.number(f"{prefix}event-channel-tx"), frontend.number(f"{prefix}event-channel-rx")
    else:
        ports = (frontend.number(f"{prefix}event-channel"),) * 2
    return QueueKeys(frontend.number(f"{prefix}tx-ring-ref"), frontend.number(f"{prefix}rx-ring-ref"), *ports)


class Rings:
    """The two rings of one queue, connected."""

    def __init__(
        self,
        card: Card,
        frontend: Frontend,
        keys: QueueKeys,
        features: Features,
        on_fault: Callable[[str], None],
        state: QueueState | None = None,
    ) -> None:
        """on_fault    called on the queue's thread when its rings are not served any more, with the reason
        state       of the queue that goes on in this one; without, rings are served from where their answers end
        """
        foreign = frontend.foreign
        with ExitStack() as held:
            tx, rx = foreign.map([keys.tx_ref]), None
            held.callback(tx.close)
            rx = foreign.map([keys.rx_ref])
            held.callback(rx.close)
            tx_channel = rx_channel = foreign.bind(keys.tx_port)
            held.callback(tx_channel.close)
            if keys.rx_port != keys.tx_port:
                rx_channel = foreign.bind(keys.rx_port)
                held.callback(rx_channel.close)
            self.queue = Queue(
                card.port,
                card.steering,
                card.rate,
                foreign.frames,
                tx.memory,
                rx.memory,
                tx_port=keys.tx_port,
                rx_port=keys.rx_port,
                tx_event_fd=tx_channel.event_fd,
                rx_event_fd=rx_channel.event_fd,
                features=features,
            )
            held.callback(self.queue.close)
            if state is not None:
                self.queue.go_on(state.tx_answered, state.rx_answered)
            self._thread = HostThread(self._serve, "vif queue", Kind.WORKER)
            self._held = held.pop_all()
        self._on_fault = on_fault
        self._fault = "" if state is None else state.fault

    @property
    def fault(self) -> str:
        """Why it is not served any more; "" while it is."""
        return self._fault or self.queue.fault

    def start(self) -> None:
        """Serve it."""
        if not self._fault:
            self._thread.start()
            self.queue.start()

    def _serve(self) -> None:
        self.queue.serve()
        if self.queue.fault:
            self._on_fault(self.queue.fault)

    def rest(self) -> QueueState:
        """Answer all that was taken, and serve it no more; `close` is still to come.  Precondition: the card is not at
        its port any more."""
        if self._thread.ident is not None:
            self.queue.stop()
            self._thread.join()
        self.queue.rest()
        return QueueState(self.queue.tx_answered, self.queue.rx_answered, self.fault)

    def close(self) -> None:
        """Rest, and let go of it."""
        with self._held:
            self.rest()


class ControlRing:
    """The control ring, connected."""

    def __init__(
        self, card: Card, frontend: Frontend, keys: ControlKeys, nr_queues: int, state: ControlState | None = None
    ) -> None:
        """`state`: of the one that goes on in this one."""
        foreign = frontend.foreign
        with ExitStack() as held:
            mapping = foreign.map([keys.ref])
            held.callback(mapping.close)
            channel = foreign.bind(keys.port)
            held.callback(channel.close)
            self._control = Control(
                card.steering, foreign.frames, mapping.memory, keys.port, channel.event_fd, nr_queues
            )
            held.callback(self._control.close)
            if state is not None:
                self._control.go_on(state.answered, state.faulty)
            self._thread = HostThread(self._control.serve, "vif control", Kind.WORKER)
            self._held = held.pop_all()

    def start(self) -> None:
        """Serve it."""
        self._thread.start()

    def rest(self) -> ControlState:
        """Answer what was asked, and serve it no more; `close` is still to come."""
        if self._thread.ident is not None:
            self._control.stop()
            self._thread.join()
        return ControlState(self._control.answered, self._control.is_faulty)

    def close(self) -> None:
        """Rest, and let go of it."""
        with self._held:
            self.rest()
