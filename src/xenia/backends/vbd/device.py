"""A block device of a guest: what its frontend is told, and the queues and threads that serve it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from xenia.abi.blkif import BLKIF_SECTOR_SIZE, Info
from xenia.backends.vbd.config import VbdConfig
from xenia.backends.vbd.persist import QueueState, VbdState
from xenia.backends.vbd.ring import MAX_QUEUES, MAX_RING_PAGE_ORDER, Published, Ring
from xenia.backends.vbd.stats import VbdStats
from xenia.backends.vbd.workers import Workers
from xenia.errors import ConfigError
from xenia.foreign.fault import FrontendFault
from xenia.jail.kinds import Kind
from xenia.machine.thread import HostThread
from xenia.storage.aligned import fine
from xenia.storage.layer import Layer, Statistics
from xenia.xenbus.attachment import Backend
from xenia.xenbus.frontend import Frontend

MAX_INDIRECT_SEGMENTS = 256
# A frontend that keeps pages granted has one of its own for each segment of each request of the ring.
MAX_PERSISTENT_SEGMENTS = 32
NR_WORKERS = 2
_ORDINARY = VbdConfig()
# Of VbdStats, what a layer counts as well.
_OF_LAYERS = (
    "reads", "bytes_read", "writes", "bytes_written", "flushes", "discards", "batches", "requests", "merged", "errors",
)  # fmt: skip


class Vbd(Backend):
    """Serves one block device out of a storage layer."""

    def __init__(self, layer: Layer, config: VbdConfig = _ORDINARY, *, device: int) -> None:
        """The layer stays its owner's to close, after `close`.

        device        its number in the guest (virtual-device), see backends/vbd/name.py
        """
        self._read_only = config.read_only or config.cdrom or layer.read_only
        self._device = device
        self._cdrom = config.cdrom
        self._sector_size = max(config.sector_size, layer.native_sector)
        self._physical_sector_size = max(self._sector_size, layer.block_size.minimum)
        self._persistent = bool(config.persistent)
        self._layer = layer = fine(layer, self._sector_size)
        self._discard = config.discard and layer.can_discard and not self._read_only
        # Requests go past Python where the layer is nothing but bytes of the host's.
        self._workers = Workers(layer, layer.host_fd, self._read_only)
        self._counted: dict[str, int] = {}  # by the device that goes on in this one
        if layer.host_fd >= 0:
            layer.count_past(self._done)
        self._workers.resize(self._whole(layer.size))
        self._threads = [HostThread(self._workers.work, "vbd worker", Kind.WORKER) for _ in range(NR_WORKERS)]
        self._rings: list[Ring] = []
        self._resting: tuple[QueueState, ...] = ()
        self._told = self._workers.size  # to the guest
        self._on_resize: Callable[[Mapping[str, str]], None] | None = None
        layer.watch(self._resized)
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:
            self.close()
            raise

    @property
    def stats(self) -> VbdStats:
        return VbdStats(**self._workers.counts)

    def _done(self) -> Statistics:
        """What it did by the layer's descriptor, since it was made."""
        counts = self._workers.counts
        return Statistics(**{name: counts[name] - self._counted.get(name, 0) for name in _OF_LAYERS})

    @property
    def is_faulty(self) -> bool:
        """Whether a ring of the frontend's is not served any more, because it said what cannot be."""
        return any(ring.is_faulty for ring in self._rings)

    def save(self) -> VbdState:
        """See backends/vbd/persist.py.  Precondition: it serves no ring, since `suspend` or from the start."""
        return VbdState(
            device=self._device,
            read_only=self._read_only,
            cdrom=self._cdrom,
            sector_size=self._sector_size,
            persistent=self._persistent,
            discard=self._discard,
            size=self._told,
            failed=self._workers.failed,
            counts=self._workers.counts,
            queues=self._resting,
        )

    @classmethod
    def restore(cls, layer: Layer, state: VbdState) -> Vbd:
        """A device that goes on as that one; to be attached where it was connected.

        ConfigError where the layer is no disk for it.
        """
        vbd = cls(layer, state.config, device=state.device)
        if (vbd._sector_size, vbd._read_only) != (state.sector_size, state.read_only):
            vbd.close()
            what = "of another sector size" if vbd._sector_size != state.sector_size else "read only"
            raise ConfigError(f"the disk that the guest knows as {state.device} is {what} now")
        vbd._workers.go_on(state.counts, state.failed)
        vbd._counted = state.counts
        vbd._told, vbd._resting = state.size, state.queues
        return vbd

    def frontend_keys(self) -> dict[str, str]:
        """What is in the frontend's directory from the start."""
        return {"virtual-device": str(self._device), "device-type": "cdrom" if self._cdrom else "disk"}

    def backend_keys(self) -> dict[str, str]:
        """What is in the backend's directory from the start."""
        return {
            "mode": "r" if self._read_only else "w",
            "removable": str(int(self._cdrom)),
            "bootable": "1",
            "device-type": "cdrom" if self._cdrom else "disk",
        }

    def on_resize(self, publish: Callable[[Mapping[str, str]], None]) -> None:
        """Call `publish` with the keys to change whenever the disk gets another size."""
        self._on_resize = publish

    # --- The handshake, on the device's own thread

    def prepare(self) -> Mapping[str, str]:
        """What frontends need to know before they make their rings."""
        keys = {
            "feature-flush-cache": "1",
            "feature-barrier": "1",
            "feature-persistent": str(int(self._persistent)),
            "feature-max-indirect-segments": str(
                MAX_PERSISTENT_SEGMENTS if self._persistent else MAX_INDIRECT_SEGMENTS
            ),
            "feature-large-sector-size": "0",
            "max-ring-page-order": str(MAX_RING_PAGE_ORDER),
            "max-ring-pages": str(1 << MAX_RING_PAGE_ORDER),
            "multi-queue-max-queues": str(MAX_QUEUES),
        }
        if self._discard:
            granularity = max(self._sector_size, self._layer.block_size.preferred)
            keys |= {
                "feature-discard": "1",
                "discard-granularity": str(granularity),
                "discard-alignment": "0",
                "discard-secure": str(int(self._workers.can_secure_discard)),
            }
        return keys

    def connect(self, frontend: Frontend) -> Mapping[str, str]:
        """Serve the rings it made."""
        published = Published.by(frontend)
        self._serve(frontend, published, [None] * len(published.prefixes))
        return self._geometry()

    def disconnect(self) -> None:
        """Answer what was taken, and let go of the rings."""
        rings, self._rings, self._resting = self._rings, [], ()
        with ExitStack() as stack:
            for ring in rings:
                stack.callback(ring.close)

    def suspend(self) -> None:
        """As `disconnect`; where that was is known to `save`."""
        try:
            resting = tuple(ring.rest() for ring in self._rings)
        finally:
            self.disconnect()
        self._resting = resting

    def resume(self, frontend: Frontend) -> Mapping[str, str]:
        """Go on with the rings that the device of the state served; the answer is what has changed since."""
        published = Published.by(frontend)
        if len(published.prefixes) != len(self._resting):
            raise FrontendFault(f"{len(self._resting)} queues were served, and {len(published.prefixes)} are published")
        self._serve(frontend, published, self._resting)
        return {} if self._workers.size == self._told else self._sectors()

    def _serve(self, frontend: Frontend, published: Published, states: Sequence[QueueState | None]) -> None:
        persistent = self._persistent and frontend.flag("feature-persistent")
        try:
            for prefix, state in zip(published.prefixes, states, strict=True):
                self._rings.append(Ring(self._workers, frontend, prefix, published.nr_pages, persistent, state))
            for ring in self._rings:
                ring.start()
        except BaseException:
            self.disconnect()
            raise

    def close(self) -> None:
        """End the device's threads.  Precondition: disconnected."""
        self._layer.unwatch(self._resized)
        self._workers.close()
        for thread in self._threads:
            thread.end()
        if self._layer.host_fd >= 0:
            self._layer.end_past(self._done)

    # --- Geometry

    def _geometry(self) -> dict[str, str]:
        """Sizes as Linux's backend tells them and its frontend takes them: `sectors` are of 512 bytes, whatever
        `sector-size` says."""
        info = Info(0)
        if self._cdrom:
            info |= Info.CDROM | Info.REMOVABLE
        if self._read_only:
            info |= Info.READONLY
        return {
            **self._sectors(),
            "info": str(int(info)),
            "sector-size": str(self._sector_size),
            "physical-sector-size": str(self._physical_sector_size),
        }

    def _sectors(self) -> dict[str, str]:
        self._told = self._workers.size
        return {"sectors": str(self._told // BLKIF_SECTOR_SIZE)}

    def _whole(self, size: int) -> int:
        """The bytes of a size that make whole sectors."""
        return size - size % self._sector_size

    def _resized(self, size: int) -> None:
        self._workers.resize(self._whole(size))
        if self._rings and self._on_resize is not None:
            self._on_resize(self._sectors())
