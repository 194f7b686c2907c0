"""A card in a network's process, as a test has it: sends and gets frames over the stream socket."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scapy.layers.l2 import Ether
from scapy.packet import Packet as Layers

from xenia.net.service.client import Attached, NetworkClient
from xenia.net.stream import StreamLink
from xenia.net.thread import LinkThread
from xenia.testing.net import Card

GATEWAY_MAC = "52:55:0a:00:02:02"
_numbers = itertools.count(1)


class Guest:
    """A card, and what a guest would know of its network."""

    def __init__(self, client: NetworkClient, attached: Attached, name: str, mac: str) -> None:
        self.attached, self.name, self.mac = attached, name, mac
        self.ip, self.port = str(attached.answer["ip"]), attached.port
        self.link = StreamLink(attached.descriptor, vnet=True)
        self._thread = LinkThread()
        self._thread.add(self.link)
        self.card = Card(self.link)
        self._kept: list[Layers] = []

    def send(self, *layers: Layers) -> None:
        """Send packets, each in an Ethernet frame from this card to the gateway, if it is not one."""
        for packet in layers:
            frame = packet if isinstance(packet, Ether) else Ether(src=self.mac, dst=GATEWAY_MAC) / packet
            assert self.card.send(bytes(frame)) == 1

    def expect(self, wanted: Callable[[Layers], object], timeout: float = 10) -> Layers:
        """The first packet that is wanted; others are kept for later."""
        until = time.monotonic() + timeout
        while True:
            for packet in self._kept:
                if wanted(packet):
                    self._kept.remove(packet)
                    return packet
            left = until - time.monotonic()
            assert left > 0, f"not among {[packet.summary() for packet in self._kept]}"
            self._kept += [Ether(packet.data) for packet in self.card.wait(1, left)]

    def ask(self, packet: Layers, wanted: Callable[[Layers], object]) -> Layers:
        """What is answered."""
        self.send(packet)
        return self.expect(wanted)

    def close(self) -> None:
        """Leave the network."""
        self.card.close()
        self.link.close()
        self._thread.close()


@contextmanager
def guest(client: NetworkClient, name: str | None = None, **options: object) -> Iterator[Guest]:
    """A guest in the network."""
    number = next(_numbers)
    name = name or f"guest{number}"
    mac = f"00:16:3e:00:{number >> 8:02x}:{number & 255:02x}"
    made = Guest(client, client.attach(name, mac, **options), name, mac)
    try:
        yield made
    finally:
        made.close()
