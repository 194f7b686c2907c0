"""A block frontend by hand: a guest in memory with a ring, and the device that serves it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import count

import pytest

from xenia.abi.blkif import BLKIF_REQUEST, XEN_IO_PROTO_ABI_X86_64, Operation
from xenia.backends.vbd.config import VbdConfig
from xenia.backends.vbd.device import Vbd
from xenia.rings.request import Front
from xenia.storage.layer import Layer
from xenia.testing.foreign import MemoryForeign, MemoryGuest, SharedPages
from xenia.xenbus.frontend import Frontend

WAIT = 20.0
Segment = tuple[int, int, int]  # reference, first and last sector


class Blkfront:
    """The guest's side of one device."""

    def __init__(
        self, layer: Layer, *, ring_order: int = 0, flat: bool = True, listens: bool = False, **options: bool
    ) -> None:
        self.guest = MemoryGuest(7, 1024, listens)
        self.layer = layer
        self.vbd = Vbd(layer, VbdConfig(**options), device=51712)
        self.pages = self.guest.share(1 << ring_order)
        self.port = self.guest.open_port()
        self.ring = Front(self.pages.memory, BLKIF_REQUEST.size)
        self.keys = {"event-channel": str(self.port.number), "protocol": XEN_IO_PROTO_ABI_X86_64}
        if options.get("persistent"):
            self.keys["feature-persistent"] = "1"
        if ring_order:
            self.keys["ring-page-order"] = str(ring_order)
            self.keys |= {f"ring-ref{index}": str(ref) for index, ref in enumerate(self.pages.refs)}
        else:
            self.keys["ring-ref"] = str(self.pages.refs[0])
        self._ids = count(1000)
        self.connected = False

    def connect(self) -> dict[str, str]:
        """What the backend answers."""
        offered = dict(self.vbd.prepare())
        offered |= self.vbd.connect(Frontend(MemoryForeign(self.guest), self.keys))
        self.connected = True
        return offered

    def disconnect(self) -> None:
        self.vbd.disconnect()
        self.connected = False

    def put(self, request: bytes) -> None:
        self.ring.put(request)

    def request(self, operation: int, sector: int, segments: list[Segment], *, nr_segments: int | None = None) -> int:
        """Put a request; its id."""
        number = next(self._ids)
        nr = len(segments) if nr_segments is None else nr_segments
        head = struct.pack("<BBHxxxxQQ", operation, nr, 0, number, sector)
        self.put(head + b"".join(struct.pack("<IBBxx", *segment) for segment in segments[:11]))
        return number

    def indirect(self, operation: int, sector: int, segments: list[Segment], nr_segments: int | None = None) -> int:
        number = next(self._ids)
        page = self.guest.share(1)
        data = b"".join(struct.pack("<IBBxx", *segment) for segment in segments)
        page.memory[: len(data)] = data
        nr = len(segments) if nr_segments is None else nr_segments
        self.put(struct.pack("<BBHxxxxQQHxxI", Operation.INDIRECT, operation, nr, number, sector, 0, page.refs[0]))
        return number

    def discard(self, sector: int, sectors: int, flag: int = 0) -> int:
        number = next(self._ids)
        self.put(struct.pack("<BBHxxxxQQQ", Operation.DISCARD, flag, 0, number, sector, sectors))
        return number

    def push(self) -> None:
        if self.ring.push():
            self.port.notify()

    def answers(self, wanted: int) -> dict[int, tuple[int, int]]:
        """Wait for that many responses: operation and status by id."""
        answers: dict[int, tuple[int, int]] = {}
        while len(answers) < wanted:
            for response in self.ring.take():
                number, operation, status = struct.unpack_from("<QBxh", response)
                answers[number] = (operation, status)
            if len(answers) < wanted and not self.ring.rest():
                assert self.port.wait(WAIT), "no response came"
        return answers

    def do(self, number: int) -> int:
        """Push one request and wait for its status."""
        self.push()
        return self.answers(1)[number][1]

    def whole(self, pages: SharedPages) -> list[Segment]:
        return [(ref, 0, 7) for ref in pages.refs]

    def read(self, sector: int, sectors: int) -> bytes:
        """Read up to one page, and give it up again."""
        page = self.guest.share(1)
        assert self.do(self.request(Operation.READ, sector, [(page.refs[0], 0, sectors - 1)])) == 0
        return bytes(page.memory[: sectors * 512])

    def close(self) -> None:
        if self.connected:
            self.disconnect()
        self.vbd.close()
        self.ring.close()
        self.guest.assert_let_go()
        self.guest.close()
        self.layer.close()


@pytest.fixture
def fronts() -> Iterator[list[Blkfront]]:
    """Frontends that are closed at the end."""
    made: list[Blkfront] = []
    yield made
    for front in made:
        front.close()
