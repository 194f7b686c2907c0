"""Frontends that change their state, their keys and their rings at random, while they are connected too.

Nothing hangs, and every frame and channel is given back.
"""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Iterator

import pytest

from xenia.abi.blkif import BLKIF_REQUEST, XEN_IO_PROTO_ABI_X86_64
from xenia.abi.xenbus import XenbusState
from xenia.backends.vbd.config import VbdConfig
from xenia.backends.vbd.device import Vbd
from xenia.rings.request import Front
from xenia.storage.memory import Memory
from xenia.storage.stack import open_stack
from xenia.testing.foreign import GuestPort, MemoryForeign, MemoryGuest, SharedPages
from xenia.xenbus.attachment import Attachment
from xenia.xenbus.directories import Address
from xenia.xenstore.client import Client, Keys
from xenia.xenstore.error import StoreError
from xenia.xenstore.server import Server
from xenia.xenstore.store import Store

LIMIT = 20.0  # seconds for what must end
ADDRESS = Address("vbd", 7, 51712)
SIZE = 1 << 20
PORTS = 60
STATES = [str(state) for state in range(1, 9)]
NO_STATES = ["0", "", "x", "44", "-1"]  # each ends the device
VALUES = ["", "0", "1", "2", "3", "4", "5", "16", "4294967295", "4294967296", "-1", "x", "y" * 50]
KEYS = [
    "ring-ref", "ring-ref0", "ring-ref1", "ring-ref3", "event-channel", "ring-page-order", "num-ring-pages", "protocol",
    "feature-persistent", "multi-queue-num-queues", "queue-0/ring-ref", "queue-0/event-channel", "queue-1/ring-ref",
    "queue-1/event-channel", "queue-1/ring-ref0",
]  # fmt: skip


@pytest.fixture
def client() -> Iterator[Client]:
    with Server(Store()) as server:
        yield server.client()


class Frontend:
    """A guest's driver without any manners."""

    def __init__(self, client: Client, guest: MemoryGuest, chance: random.Random) -> None:
        self.client = client
        self.guest = guest
        self.chance = chance
        self.rings: list[tuple[Front, SharedPages, GuestPort]] = []
        self.data = guest.share(4)
        self.number = 0

    def write(self, key: str, value: str) -> None:
        self.client.atomically(lambda keys: self._write(keys, key, value))

    def _write(self, keys: Keys, key: str, value: str) -> None:
        if keys.exists(ADDRESS.frontend_path):  # the toolstack's to make and to take away
            keys.write(f"{ADDRESS.frontend_path}/{key}", value)

    def take_back(self, key: str) -> None:
        try:
            self.client.remove(f"{ADDRESS.frontend_path}/{key}")
        except StoreError:
            return  # it is not there

    def publish(self) -> None:
        """Rings as they should be, of any order and number."""
        for key in KEYS:
            self.take_back(key)
        queues, order = self.chance.choice([1, 1, 2, 4]), self.chance.choice([0, 0, 1, 2])
        self.write("protocol", XEN_IO_PROTO_ABI_X86_64)
        self.write("ring-page-order", str(order))
        self.write("multi-queue-num-queues", str(queues))
        self.write("feature-persistent", self.chance.choice("01"))
        if len(self.rings) + queues >= PORTS:
            return self.become(XenbusState.CONNECTED)  # with what it published before
        for queue in range(queues):
            prefix = f"queue-{queue}/" if queues > 1 else ""
            pages, port = self.guest.share(1 << order), self.guest.open_port()
            self.rings.append((Front(pages.memory, BLKIF_REQUEST.size), pages, port))
            names = [f"ring-ref{index}" for index in range(1 << order)] if order else ["ring-ref"]
            for name, ref in zip(names, pages.refs, strict=True):
                self.write(prefix + name, str(ref))
            self.write(f"{prefix}event-channel", str(port.number))
        self.become(self.chance.choice([XenbusState.INITIALISED, XenbusState.CONNECTED]))

    def become(self, state: XenbusState) -> None:
        self.write("state", str(int(state)))

    def ask(self) -> None:
        """Requests of every kind into any ring that there ever was, often a full one that ends with a barrier."""
        if not self.rings:
            return
        ring, _, port = self.chance.choice(self.rings[-4:])
        kinds = self.chance.choice([(0, 1, 2, 3), (2,), (3, 2), (0, 1, 2, 3, 4, 5, 6, 255)])
        for _ in range(min(ring.free, self.chance.choice([1, 5, 32, 200]))):
            self.number += 1
            kind, segments = self.chance.choice(kinds), self.chance.choice([0, 1, 1, 2, 12])
            body = b"".join(
                struct.pack("<IBBxx", self.chance.choice([*self.data.refs, 3]), 0, self.chance.choice([7, 7, 0, 9]))
                for _ in range(min(segments, 11))
            )
            head = struct.pack("<BBHxxxxQQ", kind, segments, 0, self.number, self.chance.choice([0, 8, 2040, 1 << 40]))
            ring.put(head + body)
        ring.push()
        if self.chance.random() < 0.7:
            port.notify()
        if self.chance.random() < 0.5:
            ring.take()

    def act(self, attachment: Attachment) -> None:
        match self.chance.randrange(12):
            case 0 | 1:
                self.write("state", self.chance.choice(NO_STATES if self.chance.random() < 0.02 else STATES))
            case 2 | 3:
                self.write(self.chance.choice(KEYS), self.chance.choice(VALUES))
            case 4:
                self.write(
                    self.chance.choice(KEYS),
                    str(self.chance.choice([ref for _, p, _ in self.rings for ref in p.refs] or [9])),
                )
            case 5:
                self.become(XenbusState.CLOSED)
                attachment.wait(XenbusState.CLOSED, 0.3)
                self.become(XenbusState.INITIALISING)
                attachment.wait(XenbusState.INIT_WAIT, 0.3)
                self.publish()
                attachment.wait(XenbusState.CONNECTED, 0.3)
            case _:
                self.ask()


@pytest.mark.parametrize("seed", range(24))
def test_a_frontend_without_manners_ends_where_it_is_ended(client: Client, seed: int) -> None:
    chance = random.Random(seed)
    layer = Memory(SIZE) if seed % 2 else open_stack("memory:1M,cache")
    guest = MemoryGuest(7, 4096, listens=bool(seed & 2))
    vbd = Vbd(layer, VbdConfig(persistent=bool(seed & 4)), device=ADDRESS.device)
    attachment = Attachment(client, ADDRESS, MemoryForeign(guest), vbd, vbd.frontend_keys(), vbd.backend_keys())
    frontend = Frontend(client, guest, chance)
    frontend.publish()
    assert attachment.wait(XenbusState.CONNECTED, LIMIT)
    frontend.ask()
    for _ in range(150):
        frontend.act(attachment)
    if seed % 3:
        attachment.unplug()
        frontend.become(XenbusState.CLOSED)
    else:
        attachment.remove()
    if not attachment.wait_removed(LIMIT / 4):
        attachment.remove()
    assert attachment.wait_removed(LIMIT), "the device waits for ever"
    guest.assert_let_go()
    assert vbd.stats.requests > 0
    ending = threading.Thread(target=vbd.close, daemon=True)
    ending.start()
    ending.join(LIMIT)
    assert not ending.is_alive(), "a worker waits for ever"
    layer.close()
    assert not client.exists(ADDRESS.frontend_path) and not client.exists(ADDRESS.backend_path)
    for ring, _, _ in frontend.rings:
        ring.close()
    guest.close()
