"""A block device of a guest: what its frontend is told, and the queues and threads that serve it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from xenia.abi.blkif import PROTOCOL, SECTOR_SIZE, Info
from xenia.backends.vbd.config import VbdConfig
from xenia.backends.vbd.persist import VbdState
from xenia.backends.vbd.queue import Queue
from xenia.backends.vbd.stats import VbdStats
from xenia.backends.vbd.workers import Workers
from xenia.foreign import foreign
from xenia.foreign.fault import FrontendFault
from xenia.foreign.foreign import Channel
from xenia.jail.kinds import Kind
from xenia.machine.thread import HostThread
from xenia.storage.aligned import fine
from xenia.storage.device import HostDevice
from xenia.storage.file import RawFile
from xenia.storage.layer import Layer
from xenia.xenbus.attachment import Backend
from xenia.xenbus.frontend import Frontend

MAX_RING_PAGE_ORDER = 4
MAX_QUEUES = 4
MAX_INDIRECT_SEGMENTS = 256
# A frontend that keeps pages granted has one of its own for each segment of each request of the ring.
MAX_PERSISTENT_SEGMENTS = 32
NR_WORKERS = 2
_ORDINARY = VbdConfig()


class _Ring:
    """One queue, connected: its frames, its channel, its thread."""

    def __init__(self, workers: Workers, frontend: Frontend, prefix: str, nr_pages: int, persistent: bool) -> None:
        names = [f"{prefix}ring-ref{index}" for index in range(nr_pages)] if nr_pages > 1 else [f"{prefix}ring-ref"]
        if nr_pages == 1 and not frontend.has(names[0]):
            names = [f"{prefix}ring-ref0"]
        refs = [frontend.number(name) for name in names]
        port = frontend.number(f"{prefix}event-channel")
        with ExitStack() as held:
            mapping: foreign.Mapping = frontend.foreign.map(refs)
            held.callback(mapping.close)
            self._channel: Channel = frontend.foreign.bind(port)
            held.callback(self._channel.close)
            frames, event_fd = frontend.foreign.frames, self._channel.event_fd
            self._queue = Queue(workers, frames, mapping.memory, port, event_fd, persistent)
            held.callback(self._queue.close)
            self._thread = HostThread(self._queue.serve, "vbd ring", Kind.WORKER)
            self._held = held.pop_all()

    @property
    def is_faulty(self) -> bool:
        return self._queue.is_faulty

    def start(self) -> None:
        if not self._queue.is_new:
            self._channel.notify()  # of what the backend before answered and could not say any more
        self._thread.start()
        self._queue.start()

    def close(self) -> None:
        with self._held:
            if self._thread.ident is not None:
                self._queue.stop()
                self._thread.join()


class Vbd(Backend):
    """Serves one block device out of a storage layer."""

    def __init__(self, layer: Layer, config: VbdConfig = _ORDINARY, *, device: int) -> None:
        """The layer stays its owner's to close, after `close`.

        device        its number in the guest (virtual-device), see backends/vbd/name.py
        """
        self._read_only = config.read_only or config.cdrom or layer.read_only
        self._device = device
        self._cdrom = config.cdrom
        self._sector_size = max(config.sector_size, _native_sector_size(layer))
        self._physical_sector_size = max(self._sector_size, layer.block_size.minimum)
        self._persistent = bool(config.persistent)
        self._layer = layer = fine(layer, self._sector_size)
        self._discard = config.discard and layer.can_discard and not self._read_only
        # Requests go past Python where the layer is nothing but bytes of the host's.
        fd = layer.fd if isinstance(layer, RawFile | HostDevice) else -1
        self._workers = Workers(layer, fd, self._read_only)
        self._workers.resize(self._whole(layer.size))
        self._threads = [HostThread(self._workers.work, "vbd worker", Kind.WORKER) for _ in range(NR_WORKERS)]
        self._rings: list[_Ring] = []
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

    @property
    def is_faulty(self) -> bool:
        """Whether a ring of the frontend's is not served any more, because it said what cannot be."""
        return any(ring.is_faulty for ring in self._rings)

    def save(self) -> VbdState:
        """What a device made later needs in order to be the same."""
        return VbdState(self._device, self._read_only, self._cdrom, self._workers.size)

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
        protocol = frontend.text("protocol", PROTOCOL)
        if protocol != PROTOCOL:
            raise FrontendFault(f"the frontend's protocol is {protocol[:40]!r}, not {PROTOCOL}")
        nr_queues = frontend.number("multi-queue-num-queues", 1, MAX_QUEUES)
        if frontend.has("num-ring-pages") and not frontend.has("ring-page-order"):
            nr_pages = frontend.number("num-ring-pages", 1, 1 << MAX_RING_PAGE_ORDER)
        else:
            nr_pages = 1 << frontend.number("ring-page-order", 0, MAX_RING_PAGE_ORDER)
        if nr_queues == 0 or nr_pages not in (1, 2, 4, 8, 16):
            raise FrontendFault(f"{nr_queues} queues with rings of {nr_pages} pages cannot be")
        persistent = self._persistent and frontend.flag("feature-persistent")
        prefixes = [f"queue-{index}/" for index in range(nr_queues)] if frontend.has("queue-0/event-channel") else [""]
        if len(prefixes) != nr_queues:
            raise FrontendFault(f"the frontend has {nr_queues} queues and published none")
        try:
            for prefix in prefixes:
                self._rings.append(_Ring(self._workers, frontend, prefix, nr_pages, persistent))
            for ring in self._rings:
                ring.start()
        except BaseException:
            self.disconnect()
            raise
        return self._geometry()

    def disconnect(self) -> None:
        """Answer what was taken, and let go of the rings."""
        rings, self._rings = self._rings, []
        with ExitStack() as stack:
            for ring in rings:
                stack.callback(ring.close)

    def close(self) -> None:
        """End the device's threads.  Precondition: disconnected."""
        self._layer.unwatch(self._resized)
        self._workers.close()
        for thread in self._threads:
            thread.end()

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
            "sectors": str(self._workers.size // SECTOR_SIZE),
            "info": str(int(info)),
            "sector-size": str(self._sector_size),
            "physical-sector-size": str(self._physical_sector_size),
        }

    def _whole(self, size: int) -> int:
        """The bytes of a size that make whole sectors."""
        return size - size % self._sector_size

    def _resized(self, size: int) -> None:
        self._workers.resize(self._whole(size))
        if self._rings and self._on_resize is not None:
            self._on_resize({"sectors": str(self._workers.size // SECTOR_SIZE)})


def _native_sector_size(layer: Layer) -> int:
    """In which sectors what is on the disk was laid out: those of the host's device, if it is one; an image has small
    ones, whatever it is in."""
    *above, bottom = layer.stack()
    if isinstance(bottom, HostDevice) and all(one.name != "qcow2" for one in above):
        return bottom.block_size.minimum
    return SECTOR_SIZE
