"""A frontend of Xen's 9pfs in memory, as small as can be: rings, and messages put in and taken out."""

from __future__ import annotations

import struct
import time

from tests.unit.p9.peer import message
from xenia.testing.foreign import PAGE_SIZE, MemoryForeign, MemoryGuest
from xenia.xenbus.frontend import Frontend

IN_CONS, IN_PROD, OUT_CONS, OUT_PROD, ORDER, REFS = 0, 4, 64, 68, 128, 132


class Ring:
    """One ring of the guest's, and its end of the channel."""

    def __init__(self, guest: MemoryGuest, order: int) -> None:
        head = guest.share()
        self.page, (self.ref,) = head.memory, head.refs
        self._shared = guest.share(1 << order)
        self.size = (PAGE_SIZE << order) // 2
        self.answers = self._shared.memory[: self.size]
        self.requests = self._shared.memory[self.size :]
        self.port = guest.open_port()
        struct.pack_into("<I", self.page, ORDER, order)
        struct.pack_into(f"<{1 << order}I", self.page, REFS, *self._shared.refs)

    def index(self, place: int) -> int:
        return int(struct.unpack_from("<I", self.page, place)[0])

    def set(self, place: int, value: int) -> None:
        struct.pack_into("<I", self.page, place, value & 0xFFFFFFFF)

    def put(self, data: bytes) -> None:
        """Write a request, and notify."""
        at = self.index(OUT_PROD)
        for offset, byte in enumerate(data):
            self.requests[(at + offset) % self.size] = byte
        self.set(OUT_PROD, at + len(data))
        self.port.notify()

    def ask(self, kind: int, body: bytes, tag: int = 1) -> tuple[int, int, bytes]:
        """The answer to a message: kind, tag, body."""
        self.put(message(kind, tag, body))
        return self.take()

    def take(self, limit: float = 20) -> tuple[int, int, bytes]:
        """The next answer.  Only whole ones may be there."""
        until = time.monotonic() + limit
        while self.index(IN_PROD) == self.index(IN_CONS):
            assert self.port.wait(max(0, until - time.monotonic())), "no answer"
        at, ready = self.index(IN_CONS), (self.index(IN_PROD) - self.index(IN_CONS)) & 0xFFFFFFFF
        data = bytes(self.answers[(at + offset) % self.size] for offset in range(ready))
        size, kind, tag = struct.unpack_from("<IBH", data)
        assert size <= ready
        self.set(IN_CONS, at + size)
        return kind, tag, data[7:size]


class Guest(MemoryGuest):
    """A guest with a frontend that has published its rings."""

    def __init__(self, *, nr_rings: int = 2, order: int = 3, listens: bool = False) -> None:
        super().__init__(1, nr_pages=1 + nr_rings * (2 + (1 << order)), listens=listens)
        self.rings = [Ring(self, order) for _ in range(nr_rings)]

    def frontend(self, **changes: str) -> Frontend:
        keys = {"version": "1", "num-rings": str(len(self.rings))}
        for number, ring in enumerate(self.rings):
            keys |= {f"ring-ref{number}": str(ring.ref), f"event-channel-{number}": str(ring.port.number)}
        return Frontend(MemoryForeign(self), keys | {key.replace("_", "-"): value for key, value in changes.items()})
