"""A card in a network's process, as a test has it: sends and gets frames over the stream socket."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet as Layers

from xenia.net.service.client import Attached, NetworkClient
from xenia.net.stream import StreamLink
from xenia.net.thread import LinkThread
from xenia.testing.net import Card
from xenia.testing.packet import Packet

GATEWAY_MAC, GATEWAY_MAC6 = "52:55:0a:00:02:02", "52:56:00:00:00:02"
_numbers = itertools.count(1)


class Wired:
    """A card at a stream socket."""

    def __init__(self, descriptor: int) -> None:
        self.link = StreamLink(descriptor, vnet=True)
        self._thread = LinkThread()
        self._thread.add(self.link)
        self.card = Card(self.link)

    def close(self) -> None:
        """Pull it out."""
        self.card.close()
        self.link.close()
        self._thread.close()


class Guest(Wired):
    """A card, and what a guest would know of its network."""

    def __init__(self, client: NetworkClient, attached: Attached, name: str, mac: str) -> None:
        self.attached, self.name, self.mac = attached, name, mac
        self.ip, self.port = str(attached.answer["ip"]), attached.port
        super().__init__(attached.descriptor)
        self.ip6 = address_of(mac)
        self._kept: list[Packet] = []

    def send(self, *layers: Layers) -> None:
        """Send packets, each in an Ethernet frame from this card to the gateway, if it is not one."""
        for packet in layers:
            frame = (
                packet
                if isinstance(packet, Ether)
                else Ether(src=self.mac, dst=GATEWAY_MAC6 if IPv6 in packet else GATEWAY_MAC) / packet
            )
            assert self.card.send(bytes(frame)) == 1

    def next_frame(self, wanted: Callable[[Layers], object], timeout: float = 10) -> Packet:
        """The first frame that is wanted; others are kept, and whoever asks for its MAC is told it."""
        until = time.monotonic() + timeout
        while True:
            for frame in self._kept:
                if wanted(Ether(frame.data)):
                    self._kept.remove(frame)
                    return frame
            left = until - time.monotonic()
            assert left > 0, f"not among {[Ether(frame.data).summary() for frame in self._kept]}"
            for frame in self.card.wait(1, left):
                packet = Ether(frame.data)
                if ICMPv6ND_NS in packet and packet[ICMPv6ND_NS].tgt == self.ip6:
                    advertised = ICMPv6ND_NA(tgt=self.ip6, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=self.mac)
                    self.send(IPv6(src=self.ip6, dst=packet[IPv6].src, hlim=255) / advertised)
                elif ARP in packet and packet[ARP].op == 1 and packet[ARP].pdst == self.ip:
                    reply = ARP(op=2, hwsrc=self.mac, psrc=self.ip, hwdst=packet.src, pdst=packet[ARP].psrc)
                    self.send(Ether(src=self.mac, dst=packet.src) / reply)
                else:
                    self._kept.append(frame)

    def expect(self, wanted: Callable[[Layers], object], timeout: float = 10) -> Layers:
        """The same as a packet."""
        return Ether(self.next_frame(wanted, timeout).data)

    def ask(self, packet: Layers, wanted: Callable[[Layers], object]) -> Layers:
        """What is answered."""
        self.send(packet)
        return self.expect(wanted)


def address_of(mac: str, prefix: str = "fd00:78:656e::") -> str:
    """What a guest makes itself of its MAC (RFC 4291, appendix A)."""
    packed = bytes.fromhex(mac.replace(":", ""))
    interface = bytes([packed[0] ^ 2]) + packed[1:3] + b"\xff\xfe" + packed[3:]
    return str(IPv6Address(int(IPv6Address(prefix)) + int.from_bytes(interface, "big")))


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
