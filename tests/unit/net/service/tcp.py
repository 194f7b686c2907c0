"""One TCP connection of a guest's, made by hand: it sends what it is told, and acknowledges what comes."""

from __future__ import annotations

import itertools
import struct
from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet as Layers

from tests.unit.net.service.wire import GATEWAY_MAC, Guest
from xenia.testing.packet import Packet

NEEDS_CSUM, TCPV4 = 1, 1
_ports = itertools.count(40000)


class Connection:
    """From a guest to an address and a port."""

    def __init__(self, guest: Guest, address: str, port: int, mss: int = 1460) -> None:
        self.guest = guest
        self._ip = IPv6(src=guest.ip6, dst=address) if ":" in address else IP(src=guest.ip, dst=address)
        self.own, self.port = next(_ports), port
        self.sent, self.received = 1000, 0
        self.mss = mss
        self.data = b""
        self.frames: list[Packet] = []

    def segment(self, flags: str, data: bytes = b"", **fields: Any) -> Layers:
        """One, with what it knows filled in."""
        tcp = TCP(
            sport=self.own, dport=self.port, seq=self.sent, ack=self.received, flags=flags, window=65535, **fields
        )
        return self._ip / tcp / data

    def is_mine(self, packet: Layers) -> bool:
        """Whether a packet is of this connection."""
        return TCP in packet and packet[TCP].dport == self.own and packet[TCP].sport == self.port

    def knock(self) -> Layers:
        """What is answered to a SYN."""
        return self.guest.ask(self.segment("S", options=[("MSS", self.mss)]), self.is_mine)

    def open(self) -> Connection:
        """Connect."""
        answer = self.knock()
        assert answer[TCP].flags == "SA", answer.summary()
        self.sent += 1
        self.received = answer[TCP].seq + 1
        self.guest.send(self.segment("A"))
        return self

    def send(self, data: bytes) -> None:
        """Send it in one piece that is still to be cut and summed, as a guest's card does."""
        self.guest.card.send(self.uncut(data))
        self.sent += len(data)

    def uncut(self, data: bytes) -> Packet:
        """Such a frame."""
        frame = bytearray(bytes(Ether(src=self.guest.mac, dst=GATEWAY_MAC) / self.segment("PA", data)))
        four = IP in Ether(bytes(frame))
        start = 14 + (20 if four else 40)
        struct.pack_into(">H", frame, start + 16, 0xBEEF)  # the sum of the pseudo header, which nobody believes
        return Packet(bytes(frame), NEEDS_CSUM, TCPV4 if four else 4, start + 20, self.mss, start, 16)

    def receive(self, size: int) -> bytes:
        """So many bytes, acknowledged as they come."""
        while len(self.data) < size:
            self._take(self.guest.next_frame(self.is_mine))
        data, self.data = self.data[:size], self.data[size:]
        return data

    def _take(self, frame: Packet) -> None:
        self.frames.append(frame)
        packet = Ether(frame.data)
        data = bytes(packet[TCP].payload)[: _payload(packet)]
        if packet[TCP].seq == self.received:
            self.data += data
            self.received += len(data) + (1 if "F" in packet[TCP].flags else 0)
        if data or "F" in packet[TCP].flags:
            self.guest.send(self.segment("A"))

    def finish(self) -> None:
        """Send no more."""
        self.guest.send(self.segment("FA"))
        self.sent += 1

    def end(self) -> None:
        """Until the other end sends no more, either."""
        while not any("F" in Ether(frame.data)[TCP].flags for frame in self.frames):
            self._take(self.guest.next_frame(self.is_mine))

    def reset(self) -> None:
        """Break it off."""
        self.guest.send(self.segment("R"))


def _payload(packet: Layers) -> int:
    header = packet[TCP].dataofs * 4
    if IP in packet:
        return int(packet[IP].len - packet[IP].ihl * 4 - header)
    return int(packet[IPv6].plen - header)
