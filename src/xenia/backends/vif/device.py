"""A network card of a guest: what its frontend is told, and the queues and threads that serve it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from threading import Lock

from xenia.abi.netif import XEN_NETIF_MAX_XDP_HEADROOM
from xenia.backends.vif.card import Card
from xenia.backends.vif.config import VifConfig
from xenia.backends.vif.persist import ControlState, QueueState, SteeringState, VifState
from xenia.backends.vif.rate import Rate
from xenia.backends.vif.ring import REQUEST_MULTICAST, XDP_HEADROOM, ControlRing, Published, Rings
from xenia.backends.vif.stats import VifStats
from xenia.backends.vif.steering import Steering
from xenia.errors import ConfigError
from xenia.foreign.fault import FrontendFault
from xenia.net.port import Port
from xenia.xenbus.attachment import Backend
from xenia.xenbus.frontend import Frontend


class Vif(Backend):
    """Serves one network card at a port."""

    follows = (REQUEST_MULTICAST, XDP_HEADROOM)

    def __init__(self, port: Port, config: VifConfig, *, device: int) -> None:
        """The port stays its owner's to close, after `disconnect`.

        device   its number in the guest (handle)
        """
        self._config = config
        self._device = device
        self._steering = Steering()
        self._card = Card(port, self._steering, Rate(config.credit, config.period))
        self._rings: list[Rings] = []
        self._control: ControlRing | None = None
        self._resting: tuple[QueueState, ...] = ()
        self._control_rests: ControlState | None = None
        self._publish: Callable[[Mapping[str, str]], None] | None = None
        self._shut: Callable[[str], None] | None = None
        self._telling = Lock()

    @property
    def config(self) -> VifConfig:
        """What it is like."""
        return self._config

    @property
    def stats(self) -> VifStats:
        return VifStats(**self._card.counts)

    @property
    def nr_queues(self) -> int:
        """How many its frontend uses now; 0 while there is none."""
        return len(self._rings)

    @property
    def fault(self) -> str:
        """Why a queue of the frontend's is not served any more; "" where all are."""
        return next((rings.fault for rings in list(self._rings) if rings.fault), "")

    def save(self) -> VifState:
        """See backends/vif/persist.py.  Precondition: it serves no ring, since `suspend` or from the start."""
        algorithm, types, key, mapping = self._steering.settings
        return VifState(
            device=self._device,
            mac=self._config.mac,
            mtu=self._config.mtu,
            max_queues=self._config.queues,
            credit=self._config.credit,
            period=self._config.period,
            carrier=self._steering.carrier,
            counts=self._card.counts,
            queues=self._resting,
            control=self._control_rests,
            steering=SteeringState(algorithm, types, key, tuple(mapping), tuple(self._steering.multicast.listed)),
        )

    @classmethod
    def restore(cls, port: Port, state: VifState) -> Vif:
        """A card that goes on as that one; to be attached where it was connected.  ConfigError where no card was ever
        like that."""
        vif = cls(port, state.config, device=state.device)
        vif._card.go_on(state.counts)
        steering = state.steering
        try:
            vif._steering.go_on(steering.algorithm, steering.types, steering.key, list(steering.mapping))
            vif._steering.multicast.fill(steering.multicast)
        except (ValueError, OverflowError):
            raise ConfigError(f"the saved state of the card {state.mac} is damaged") from None
        vif._steering.carrier = state.carrier
        vif._resting, vif._control_rests = state.queues, state.control
        return vif

    # --- Keys

    def frontend_keys(self) -> dict[str, str]:
        """What is in the frontend's directory from the start."""
        return {"handle": str(self._device), "mac": self._config.mac, "mtu": str(self._config.mtu)}

    def backend_keys(self) -> dict[str, str]:
        """What is in the backend's directory from the start.  Nobody runs scripts here: the card is plugged in."""
        keys = {**self.frontend_keys(), "type": "vif", "hotplug-status": "connected", **self._carrier_key()}
        if self._config.credit:
            keys["rate"] = f"{self._config.credit},{self._config.period}"
        return keys

    def prepare(self) -> Mapping[str, str]:
        """What frontends need to know before they make their rings."""
        return {
            "feature-sg": "1",
            "feature-gso-tcpv4": "1",
            "feature-gso-tcpv6": "1",
            "feature-ipv6-csum-offload": "1",
            "feature-rx-copy": "1",
            "feature-rx-flip": "0",
            "feature-xdp-headroom": "1",
            "feature-multicast-control": "1",
            "feature-dynamic-multicast-control": "1",
            "feature-split-event-channels": "1",
            "feature-ctrl-ring": "1",
            "multi-queue-max-queues": str(self._config.queues),
        }

    def _carrier_key(self) -> dict[str, str]:
        return {"carrier": str(int(self._steering.carrier))}

    def on_change(self, publish: Callable[[Mapping[str, str]], None], shut: Callable[[str], None]) -> None:
        """From now on call `publish` with keys to change, and `shut` with the reason when the frontend's rings cannot
        be served any more; on any thread."""
        self._publish, self._shut = publish, shut
        if self.fault:
            shut(self.fault)

    @property
    def carrier(self) -> bool:
        """Whether frames pass.  While none do they are dropped and counted, both ways."""
        return self._steering.carrier

    def set_carrier(self, up: bool) -> None:
        """Plug the cable in, or pull it out; on any thread.

        A frontend is told by the key `carrier`, and may look there (netif.h, "Link state").  Linux's does not: its
        interface stays up, and announces its addresses anew when the carrier comes back.
        """
        with self._telling:
            if up == self._steering.carrier:
                return
            self._steering.carrier = up
            if self._publish is not None:
                self._publish(self._carrier_key())

    # --- The handshake, on the device's own thread

    def connect(self, frontend: Frontend) -> Mapping[str, str]:
        """Serve the rings it made."""
        published = Published.by(frontend, self._config.queues)
        self._steering.clear()
        self._serve(frontend, published, [None] * len(published.queues), None)
        return {}

    def disconnect(self) -> None:
        """Answer what was taken, and let go of the rings."""
        rings, self._rings, self._resting = self._rings, [], ()
        control, self._control, self._control_rests = self._control, None, None
        with ExitStack() as stack:
            stack.callback(self._card.forget)
            for each in rings:
                stack.callback(each.close)
            if control is not None:
                stack.callback(control.close)
            stack.callback(self._card.disconnect)

    def suspend(self) -> None:
        """As `disconnect`; where that was is known to `save`."""
        resting: tuple[QueueState, ...] = ()
        control: ControlState | None = None
        try:
            self._card.disconnect()
            resting = tuple(rings.rest() for rings in self._rings)
            control = self._control.rest() if self._control is not None else None
        finally:
            self.disconnect()
        self._resting, self._control_rests = resting, control

    def resume(self, frontend: Frontend) -> Mapping[str, str]:
        """Go on with the rings that the card of the state served."""
        published = Published.by(frontend, self._config.queues)
        if len(published.queues) != len(self._resting):
            raise FrontendFault(f"{len(self._resting)} queues were served, and {len(published.queues)} are published")
        if (published.control is None) != (self._control_rests is None):
            raise FrontendFault("a control ring was served, and none is published, or the other way round")
        self._serve(frontend, published, self._resting, self._control_rests)
        return {}

    def follow(self, key: str, value: str | None) -> None:
        """The frontend wants its multicast frames filtered, or no more; or room before each frame, for a program of its
        own (XDP)."""
        number = int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 10 else 0
        if key == REQUEST_MULTICAST:
            return self._steering.multicast.filter(number != 0)
        for rings in self._rings:
            rings.queue.leave_headroom(min(number, XEN_NETIF_MAX_XDP_HEADROOM))

    def _serve(
        self,
        frontend: Frontend,
        published: Published,
        states: Sequence[QueueState | None],
        control: ControlState | None,
    ) -> None:
        try:
            for keys, state in zip(published.queues, states, strict=True):
                self._rings.append(Rings(self._card, frontend, keys, published.features, self._is_shut, state))
            if published.control is not None:
                self._control = ControlRing(self._card, frontend, published.control, len(self._rings), control)
                self._control.start()
            self._steering.multicast.filter(published.filters)
            self._card.connect([rings.queue for rings in self._rings])
            for rings in self._rings:
                rings.start()
        except BaseException:
            self.disconnect()
            raise

    def _is_shut(self, reason: str) -> None:
        if self._shut is not None:
            self._shut(reason)
