"""Rings and frames at random, and frontends without manners.

A few seconds of it with the other tests; a million entries of transmit rings by

    python -m tests.unit.backends.vif.test_fuzz 1000000
"""

from __future__ import annotations

import random
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, pairwise
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from tests.unit.backends.vif.packets import TCP, UDP, frame
from xenia.abi.netif import NETIF_EXTRA_INFO, NETIF_RX_RESPONSE, NETIF_TX_REQUEST, NETIF_TX_RESPONSE, Status
from xenia.abi.xenbus import XenbusState
from xenia.backends.vif.config import VifConfig
from xenia.backends.vif.device import Vif
from xenia.rings.fault import RingFault
from xenia.rings.request import Front
from xenia.testing.net import Behind
from xenia.testing.netfront import Netfront
from xenia.testing.packet import Packet
from xenia.xenbus.attachment import Attachment
from xenia.xenbus.directories import Address
from xenia.xenbus.frontend import Frontend
from xenia.xenstore.client import Client
from xenia.xenstore.server import Server
from xenia.xenstore.store import Store

MAC = "00:16:3e:01:02:03"
LIMIT = 20.0  # seconds for what must end
ENTRY = NETIF_TX_REQUEST.size
MOST_ENTRIES = 96  # of an example

# What the bytes of an example say, by their remainders; mostly what may be, so that a card lives for some time.
OFFSETS = (0, 0, 0, 1, 14, 96, 100)
SIZES = (14, 60, 64, 64, 100, 255, 256, 257, 1000, 1514, 0, 1, 13)
FLAGS = (0, 0, 0, 1, 2, 3, 0x10)
ODD_OFFSETS = (0, 4000, 4082, 4095, 4096, 4097, 8192, 65535)
ODD_SIZES = (4096, 4097, 9014, 32768, 65535)
ODD_FLAGS = (4, 4, 5, 8, 9, 12, 13, 0xFFFF)
KINDS = (1, 2, 3, 4)
ODD_KINDS = (0, 5, 255)
SEGMENTS = (1448, 1448, 536, 8, 7, 1448, 536, 1, 100, 1000, 0, 65535)
GSO_TYPES = (0, 1, 1, 4, 4, 3, 5, 0x81, 0x84, 255)
PACKETS = [
    frame(b"x" * 20),
    frame(b"y" * 3000),
    frame(b"z" * 3000, version=6),
    frame(b"u" * 100, protocol=UDP),
    frame(b"u" * 100, protocol=UDP, version=6),
    frame(b"t" * 2000, protocol=TCP, tag=5),
    frame(b"f" * 100, protocol=UDP, fragment=0x2000),
    b"\xff" * 12 + b"\x08\x06" + bytes(28),
    b"\x01\x00\x5e\x00\x00\x01" + bytes(54),
]


class Guest:
    """A frontend that puts into its rings what the bytes of an example say, and checks what comes of it."""

    def __init__(self, listens: bool) -> None:
        self.network = Behind()
        self.front = Netfront(listens=listens, pages=16)
        self.vif = Vif(self.network, VifConfig(mac=MAC), device=0)
        self.queue = self.front.queue
        for number, packet in enumerate(PACKETS):
            self.queue.tx_pages.memory[number * 4096 : number * 4096 + len(packet)] = packet
        self.before = bytes(self.queue.tx_pages.memory)
        self.nr_shut = 0
        self.connect()
        self.asked: list[int | None] = []  # ids of tx entries without an answer; None: an extra info
        self.posted: list[int] = []
        self.nr_entries = 0

    def connect(self) -> None:
        self.vif.connect(Frontend(self.front.foreign, self.front.keys))

    def again(self) -> None:
        """The card was shut: close, and be connected with new rings."""
        self.vif.disconnect()
        self.nr_shut += 1
        self.queue.close()
        self.queue.tx = Front(self.queue.tx_ring.memory, ENTRY)
        self.queue.rx = Front(self.queue.rx_ring.memory, 8)
        self.asked.clear()
        self.posted.clear()
        self.connect()

    # --- What it does

    def act(self, data: bytes) -> None:
        """One entry, or something else."""
        what, a, b, c, d, e = data[:6]
        match what % 16:
            case 0 if a < 40:
                self.put(data)  # nonsense
            case 1 if e < 40:
                self.extra(ODD_KINDS[a % len(ODD_KINDS)], b, c, d, data[6:12])
            case 1 | 2 | 7 | 8:
                self.put(NETIF_TX_REQUEST.pack(self.reference(a), 0, 8 | (b & 3), e, 60 + a))
                self.extra(KINDS[a % len(KINDS)], b, c, d, data[6:12])
            case 3:
                self.come(a, b, c, d, data[6:12])
            case 4:
                self.post(a % 64, b)
            case 5:
                self.changed(a, b, c)
            case 6:
                self.whole(a, b, c)
            case _:
                odd = data[6] % 32
                offsets, sizes, flags = (
                    ODD_OFFSETS if odd == 0 else OFFSETS,
                    ODD_SIZES if odd == 1 else SIZES,
                    ODD_FLAGS if odd == 2 else FLAGS,
                )
                self.put(
                    NETIF_TX_REQUEST.pack(
                        self.reference(a), offsets[b % len(offsets)], flags[c % len(flags)], e, sizes[d % len(sizes)]
                    )
                )

    def reference(self, number: int) -> int:
        pages = self.queue.tx_pages.refs
        odd = (4000, 0xFFFFFFFF, self.queue.tx_ring.refs[0], self.queue.rx_pages.refs[0])
        return odd[number % 4] if number >= 240 else pages[number % len(PACKETS)]

    def put(self, entry: bytes) -> None:
        if self.queue.tx.free:
            self.queue.tx.put(entry[:ENTRY])
            self.asked.append(struct.unpack_from("<H", entry, 8)[0])
            self.nr_entries += 1

    def extra(self, kind: int, more: int, size: int, gso: int, rest: bytes) -> None:
        told = struct.pack("<HBBH", SEGMENTS[size % len(SEGMENTS)], GSO_TYPES[gso % len(GSO_TYPES)] % 4, 0, 0)
        body = told if kind == 1 else rest[:6].ljust(6, b"\0")
        self.put(NETIF_EXTRA_INFO.pack(kind, more % 16 == 0, body) + b"\0\0\0\0")

    def whole(self, number: int, flags: int, parts: int) -> None:
        """A frame as it should be, in pieces, its checksum blank or not, to be cut or not."""
        index = number % len(PACKETS)
        length, ref = len(PACKETS[index]), self.queue.tx_pages.refs[index]
        cuts = sorted({0, length, *(parts * at % length for at in range(1, parts % 5 + 1))})
        pieces = list(pairwise(cuts))
        for place, (start, end) in enumerate(pieces):
            told = (flags & 3 | 8 * (flags % 8 == 0) if place == 0 else 0) | (4 if place + 1 < len(pieces) else 0)
            size = length if place == 0 else end - start
            self.put(NETIF_TX_REQUEST.pack(ref, start, told, place, size))
            if told & 8:
                self.extra(1, 1, number, 4 if index == 2 else 1, b"")

    def come(self, number: int, flags: int, gso: int, size: int, rest: bytes) -> None:
        """Frames of the network, with any header that another guest may have had them given."""
        data = bytearray(PACKETS[number % len(PACKETS)])
        data[rest[0] % len(data)] ^= rest[1]
        gso_type = GSO_TYPES[gso % len(GSO_TYPES)]
        packet = Packet(
            bytes(data), flags % 4, gso_type, rest[2], SEGMENTS[size % len(SEGMENTS)], rest[3], rest[4] % 32
        )
        self.network.come(*[packet] * (1 + rest[5] % 3))

    def post(self, pages: int, odd: int) -> None:
        for _ in range(min(pages, self.queue.rx.free)):
            refs = self.queue.rx_pages.refs
            ref = refs[len(self.posted) % len(refs)] if odd % 8 else (4000, self.queue.rx_ring.refs[0])[odd % 2]
            self.queue.put_buffer(odd * 7 % 65536, ref)
            self.posted.append(odd * 7 % 65536)
        if self.queue.rx.push():
            self.queue.rx_port.notify()

    def changed(self, page: int, at: int, value: int) -> None:
        """What is in a page changes at any time; put back at the end."""
        self.queue.tx_pages.memory[page % len(PACKETS) * 4096 + at] = value

    def push(self) -> None:
        if self.queue.tx.push():
            self.queue.tx_port.notify()

    # --- What comes of it

    def settle(self) -> None:
        """All that was asked is answered, entry by entry, or the card is shut."""
        self.push()
        end = time.monotonic() + LIMIT
        while self.asked and not self.vif.fault:
            for response in self.queue.tx.take():
                self.answered(*NETIF_TX_RESPONSE.unpack_from(response))
            if self.asked and not self.queue.tx.rest():
                self.queue.tx_port.wait(0.02)
            assert time.monotonic() < end, f"{len(self.asked)} entries are not answered, and the card is not shut"
        self.received()
        for packet in self.network.sent:
            check_sent(packet)

    def answered(self, number: int, status: int) -> None:
        assert status in list(Status)
        asked = self.asked.pop(0)
        assert status == Status.NULL or number == asked, f"{asked} is answered as {number}"

    def received(self) -> None:
        in_extras = False
        for response in self.queue.rx.take():
            posted = self.posted.pop(0)
            if in_extras:
                in_extras = bool(NETIF_EXTRA_INFO.unpack_from(response)[1] & 1)
                continue
            number, offset, flags, status = NETIF_RX_RESPONSE.unpack_from(response)
            assert number == posted and flags < 32
            assert status in (Status.ERROR, Status.DROPPED) or (status > 0 and offset + status <= 4096)
            in_extras = bool(flags & 8)

    def close(self) -> None:
        """Nothing is kept, and nothing was written but what was posted."""
        self.vif.disconnect()
        for number, packet in enumerate(PACKETS):
            self.queue.tx_pages.memory[number * 4096 : number * 4096 + len(packet)] = packet
            rest = slice(number * 4096 + len(packet), number * 4096 + 4096)
            self.queue.tx_pages.memory[rest] = self.before[rest]
        assert bytes(self.queue.tx_pages.memory) == self.before
        stats = self.vif.stats
        assert stats.sent + stats.sent_dropped <= self.nr_entries
        self.front.close()


def check_sent(packet: Packet) -> None:
    """What a network is given may be hostile, but is a frame, and what is still to be done to it can be done."""
    assert 14 <= len(packet.data) <= 65535
    assert packet.flags in (0, 1, 2)
    if packet.flags == 1:
        assert packet.csum_start + packet.csum_offset + 2 <= len(packet.data)
    if packet.gso_type:
        assert packet.gso_type in (1, 4) and packet.flags == 1 and packet.gso_size >= 1
        assert packet.csum_start < packet.hdr_len <= len(packet.data)


class Played(NamedTuple):
    """What an example was."""

    entries: int
    sent: int  # frames
    received: int
    shut: int


def play(listens: bool, data: bytes, pushes: int) -> Played:
    """Do it all."""
    guest = Guest(listens)
    try:
        for number, at in enumerate(range(0, len(data) - ENTRY + 1, ENTRY)):
            guest.act(data[at : at + ENTRY])
            if number % (pushes + 1) == 0:
                with suppress(RingFault):  # its own ring was among the pages that it posted
                    guest.settle()
                if guest.vif.fault:
                    guest.again()
        with suppress(RingFault):
            guest.settle()
        stats = guest.vif.stats
        return Played(guest.nr_entries, stats.sent, stats.received, guest.nr_shut)
    finally:
        guest.close()


_plays = given(st.booleans(), st.binary(min_size=ENTRY * 64, max_size=ENTRY * MOST_ENTRIES), st.integers(0, 30))


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@_plays
def test_whatever_is_in_the_rings_is_answered_or_shuts_the_card(listens: bool, data: bytes, pushes: int) -> None:
    play(listens, data, pushes)


# --- Frontends without manners, on the bus

ADDRESS = Address("vif", 7, 0)
PORTS = 56
STATES = [str(state) for state in range(1, 9)]
NO_STATES = ["0", "", "x", "44", "-1"]  # each ends the device
VALUES = ["", "0", "1", "2", "3", "4", "5", "16", "4294967295", "4294967296", "-1", "x", "y" * 50]
KEYS = [
    "tx-ring-ref", "rx-ring-ref", "event-channel", "event-channel-tx", "event-channel-rx", "multi-queue-num-queues",
    "queue-0/tx-ring-ref", "queue-0/rx-ring-ref", "queue-0/event-channel", "queue-1/event-channel-tx", "ctrl-ring-ref",
    "event-channel-ctrl", "request-rx-copy", "request-multicast-control", "feature-sg", "feature-gso-tcpv4",
    "feature-no-csum-offload", "mac", "handle",
]  # fmt: skip


@pytest.fixture
def client() -> Iterator[Client]:
    with Server(Store()) as server:
        yield server.client()


class Rude:
    """A guest's driver without any manners."""

    def __init__(self, client: Client, chance: random.Random) -> None:
        self.client = client
        self.chance = chance
        self.front = Netfront(4, pages=16, split=chance.random() < 0.5)
        self.numbers = count()
        self.attachment: Attachment

    def write(self, key: str, value: str) -> None:
        self.client.atomically(
            lambda keys: (
                keys.write(f"{ADDRESS.frontend_path}/{key}", value) if keys.exists(ADDRESS.frontend_path) else None
            )
        )

    def become(self, state: XenbusState) -> None:
        self.write("state", str(int(state)))

    def publish(self, honest: bool = False) -> None:
        keys = dict(self.front.keys)
        if not honest and self.chance.random() < 0.3:
            keys |= self.front.queue.keys() | {"multi-queue-num-queues": "1"}
        if not honest and self.chance.random() < 0.3:
            spare = self.front.guest.share() if next(self.numbers) < 20 else self.front.queue.tx_pages
            keys |= {"ctrl-ring-ref": str(spare.refs[0]), "event-channel-ctrl": keys["multi-queue-num-queues"]}
        for key, value in keys.items():
            self.write(key, value)
        self.become(self.chance.choice([XenbusState.INITIALISED, XenbusState.CONNECTED]))

    def traffic(self) -> None:
        queue = self.chance.choice(self.front.queues)
        with suppress(RingFault):
            for _ in range(min(queue.tx.free, self.chance.choice([1, 5, 200]))):
                refs = [*queue.tx_pages.refs, 3]
                queue.put_request(
                    self.chance.choice(refs),
                    self.chance.choice([0, 0, 0, 90, 4095]),
                    self.chance.choice([0, 0, 0, 1, 4, 8]),
                    next(self.numbers) % 65536,
                    self.chance.choice([0, 14, 60, 4000, 65535]),
                )
            queue.push()
            queue.tx.take()
            queue.post(min(queue.rx.free, 16))
            queue.rx.take()

    def act(self) -> None:
        match self.chance.randrange(12):
            case 0 | 1:
                self.write("state", self.chance.choice(NO_STATES if self.chance.random() < 0.02 else STATES))
            case 2 | 3:
                self.write(self.chance.choice(KEYS), self.chance.choice(VALUES))
            case 4:
                self.become(XenbusState.CLOSED)
                self.attachment.wait(XenbusState.CLOSED, 0.05)
                self.become(XenbusState.INITIALISING)
                self.attachment.wait(XenbusState.INIT_WAIT, 0.05)
                self.publish()
                self.attachment.wait(XenbusState.CONNECTED, 0.05)
            case _:
                self.traffic()


@pytest.mark.parametrize("seed", range(8))
def test_a_frontend_without_manners_ends_where_it_is_ended(client: Client, seed: int) -> None:
    chance = random.Random(seed)
    rude, network = Rude(client, chance), Behind()
    vif = Vif(network, VifConfig(mac=MAC), device=0)
    rude.attachment = attachment = Attachment(
        client, ADDRESS, rude.front.foreign, vif, vif.frontend_keys(), vif.backend_keys()
    )
    vif.on_change(attachment.update, attachment.shut)
    stop = threading.Event()

    def come() -> None:
        while not stop.wait(0.0002):  # who never waits leaves the others no turn for minutes, at worst
            network.come(*[Packet(packet) for packet in PACKETS])

    busy = threading.Thread(target=come, daemon=True)
    busy.start()
    try:
        rude.publish(honest=True)
        assert attachment.wait(XenbusState.CONNECTED, LIMIT)
        for _ in range(120):
            rude.act()
            if chance.random() < 0.1:
                vif.set_carrier(chance.random() < 0.7)
        if seed % 3:
            attachment.unplug()
            rude.become(XenbusState.CLOSED)
        else:
            attachment.remove()
        if not attachment.wait_removed(1.0):
            attachment.remove()
        assert attachment.wait_removed(LIMIT), "the device waits for ever"
    finally:
        stop.set()
        busy.join(LIMIT)
    assert not client.exists(ADDRESS.frontend_path) and not client.exists(ADDRESS.backend_path)
    rude.front.close()


def main() -> None:
    """So many entries."""
    wanted, played = int(sys.argv[1]), [0, 0, 0, 0, 0]
    began = time.monotonic()

    def counted(listens: bool, data: bytes, pushes: int) -> None:
        for index, value in enumerate((1, *play(listens, data, pushes))):
            played[index] += value

    while played[1] < wanted:
        settings(
            deadline=None, max_examples=1000, database=None, phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )(_plays(counted))()  # fmt: skip
        print(
            "{} examples, {} entries, {} frames sent, {} received, {} times shut".format(*played),
            f"after {time.monotonic() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
