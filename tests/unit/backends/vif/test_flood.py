"""Two guests back to back, as fast as their cards go.

For figures: python -m tests.unit.backends.vif.test_flood
"""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.unit.backends.vif.conftest import Wired
from tests.unit.backends.vif.packets import FROM, TO, frame
from xenia.backends.vif.config import VifConfig
from xenia.backends.vif.device import Vif
from xenia.net.bridge import Bridge
from xenia.net.port import Port
from xenia.testing.netfront import Netfront
from xenia.testing.netfront_flood import Crossed, Flood, Flooded
from xenia.xenbus.frontend import Frontend

SIZES = [(60, 0), (1514, 0), (9014, 0), (65226, 1448)]  # bytes of a frame, and of its segments


@contextmanager
def pair() -> Iterator[tuple[Wired, Wired]]:
    """Two cards, each of which is the other's network."""
    one, other = Crossed(), Crossed()
    one.join(other)
    cards = Wired(one, domid=7, serve=False), Wired(other, domid=8, serve=False)
    yield cards
    for card in cards:
        card.close()
    one.part()


def flood(sender: Wired, receiver: Wired, frames: int, length: int, segment: int = 0, batch: int = 32) -> Flooded:
    head = frame(bytes(length - 54))[:54]
    sends, takes = (Flood(card.queues[0], card.guest, head) for card in (sender, receiver))
    for card in (sender, receiver):
        card.queues[0].go_on(0, 0)
    try:
        return sends.run(takes, frames, length, segment, batch)
    finally:
        sends.close()
        takes.close()


def rate_of(flooded: Flooded) -> float:
    """Frames in a second."""
    return flooded.frames / flooded.seconds


@pytest.mark.parametrize(("length", "segment"), SIZES)
@pytest.mark.parametrize("batch", [1, 32])
def test_all_that_one_guest_sends_comes_to_the_other(length: int, segment: int, batch: int) -> None:
    with pair() as (sender, receiver):
        flooded = flood(sender, receiver, 1000, length, segment, batch)
        assert flooded.bytes == flooded.frames * length >= 1000 * length
        counts = receiver.card.counts
        assert counts["received"] == flooded.frames
        assert counts["received_dropped"] == counts["received_errors"] == 0
        assert counts["received_gso"] == (flooded.frames if segment else 0)


@pytest.mark.parametrize("lies", [False, True])
@pytest.mark.parametrize("length", [60, 65226])
def test_a_guest_that_takes_nothing_or_lies_holds_up_no_other(length: int, lies: bool) -> None:
    one, other = Crossed(), Crossed()
    one.join(other)
    sender, receiver = Wired(one, domid=7, listens=True), Wired(other, domid=8)
    data = (frame(bytes(1000)) * 70)[:length]
    if lies:
        struct.pack_into("<I", receiver.guest.rx_ring.memory, 0, 0x80000000)
    for _ in range(100):
        assert set(sender.guest.send(*[data] * 10)) == {0}
    assert sender.card.counts["sent"] == 1000
    assert receiver.card.counts["received_dropped"] == 1000 if lies else receiver.card.counts["received"] == 0
    assert (receiver.queues[0].fault != "") == lies
    for card in (sender, receiver):
        card.close()
    one.part()


class Hostile:
    """A card on a network whose frontend writes at random, is shut, and begins anew, on a thread of its own."""

    def __init__(self, port: Port) -> None:
        self.front = Netfront(domid=9, pages=16)
        self.vif = Vif(port, VifConfig(mac="00:16:3e:00:00:09"), device=0)
        self.nr_shut = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.front.close()

    def _run(self) -> None:
        chance, queue = random.Random(1), self.front.queue
        while not self._stop.is_set():
            for ring in (queue.tx_ring, queue.rx_ring):
                ring.memory[:] = bytes(64) + chance.randbytes(4032)
            self.vif.connect(Frontend(self.front.foreign, self.front.keys))
            ring = chance.choice((queue.tx_ring, queue.rx_ring))
            struct.pack_into("<I", ring.memory, 0, chance.choice((1, 20, 256, 257, 1 << 31)))
            queue.tx_port.notify()
            queue.rx_port.notify()
            self._stop.wait(0.001)
            self.nr_shut += self.vif.fault != ""
            self.vif.disconnect()


def test_neighbours_of_a_hostile_frontend_go_on_at_their_rate() -> None:
    bridge = Bridge()
    ports = [bridge.port(address.hex(":"), macs=[address.hex(":")]) for address in (FROM, TO)]
    sender, receiver = (Wired(port, domid=domid, serve=False) for domid, port in enumerate(ports, 7))

    def rate() -> float:
        """Bytes in a second that arrived."""
        flooded = flood(sender, receiver, 10_000, 1514)
        return flooded.bytes / flooded.seconds

    alone = max(rate() for _ in range(9))
    hostile = Hostile(bridge.port("hostile"))
    try:
        while hostile.nr_shut < 3:
            pass
        beset = [rate() for _ in range(9)]
        while hostile.nr_shut < 10:
            beset.append(rate())
    finally:
        hostile.close()
    assert max(beset) > alone / 2  # there may be no processor for all three
    for card in (sender, receiver):
        card.close()
    for port in bridge.ports:
        port.close()


if __name__ == "__main__":
    with pair() as (one, other):
        for batch in (1, 32):
            for length, segment in SIZES:
                rate = max(rate_of(flood(one, other, 50_000, length, segment, batch)) for _ in range(5))
                print(f"{length:6} bytes, {batch:2} at once: {rate / 1e6:6.2f} M/s, {rate * length / 1e9:5.2f} GB/s")
