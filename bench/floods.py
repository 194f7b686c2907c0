"""What a guest's flood leaves of its neighbour's traffic in the same network: python -m bench.floods [--only KIND ...].

Each kind of flood has a network of its own with two cards, one process at each, and a service of the host's for the
neighbour: an echo over UDP, which is asked and asked again, and a sink over TCP, which takes all that it is sent. The
flooder waits where its socket takes no more, as a card does, and throws away what it is answered. All of it is in a
network namespace whose world (198.51.100.0/24) is silent.

Told are the neighbour's requests a second, the median and the 99th percentile of their times, how many were not
answered within a second, and its bulk rate: undisturbed, then as a share of that.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from xenia.net.service.client import NetworkClient, NetworkConfig, start_network

GATEWAY, NAMESERVER, WORLD = "10.0.2.2", "10.0.2.3", "198.51.100."
GATEWAY_MAC, NAMESERVER_MAC, EVERYBODY = "52:55:0a:00:02:02", "52:55:0a:00:02:03", "ff:ff:ff:ff:ff:ff"
TCP, UDP, ICMP = 6, 17, 1
FIN, SYN, PUSH, ACK = 1, 2, 8, 16
NEEDS_CSUM, GSO_NONE, GSO_TCPV4 = 1, 0, 1
SIZE = 64  # bytes of a request
PIECE = 32 * 1024  # of a bulk stream's data in one frame
DIFFERENT = 8192  # frames of a flood, after which it begins anew


def checksum(data: bytes) -> int:
    """Of RFC 1071."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Card:
    """A guest's card at the stream of a network: frames are made by hand, as fast as Python does."""

    def __init__(self, client: NetworkClient, name: str, number: int) -> None:
        self.mac = f"00:16:3e:00:00:{number:02x}"
        attached = client.attach(name, self.mac)
        self.port, self.ip = attached.port, str(attached.answer["ip"])
        self.socket = socket.socket(fileno=attached.descriptor)
        self.socket.setblocking(True)
        self._arrived = bytearray()

    def framed(self, payload: bytes, *, to: str = GATEWAY_MAC, kind: int = 0x0800, vnet: bytes = bytes(10)) -> bytes:
        """An Ethernet frame as it goes into the stream."""
        ethernet = bytes.fromhex(to.replace(":", "") + self.mac.replace(":", "")) + struct.pack(">H", kind)
        return struct.pack(">I", len(vnet) + len(ethernet) + len(payload)) + vnet + ethernet + payload

    def packet(self, protocol: int, target: str, payload: bytes, *, to: str = GATEWAY_MAC, fragment: int = 0,
               number: int = 0, gso: int = GSO_NONE, mss: int = 0, source: str | None = None) -> bytes:  # fmt: skip
        """The same of an IPv4 packet; TCP is summed on its way."""
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), number, fragment, 64, protocol, 0)
        head += socket.inet_aton(source or self.ip) + socket.inet_aton(target)
        head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
        vnet = struct.pack("<BBHHHH", NEEDS_CSUM, gso, 54, mss, 34, 16) if protocol == TCP else bytes(10)
        return self.framed(head + payload, to=to, vnet=vnet)

    def datagram(self, target: str, source_port: int, port: int, data: bytes, **options: object) -> bytes:
        """The same of one over UDP, without a sum."""
        return self.packet(UDP, target, struct.pack(">HHHH", source_port, port, 8 + len(data), 0) + data, **options)  # type: ignore[arg-type]

    def segment(self, target: str, source_port: int, port: int, seq: int, ack: int, flags: int, data: bytes = b"",
                mss: int = 1460) -> bytes:  # fmt: skip
        """The same of TCP."""
        head = struct.pack(">HHIIBBHHH", source_port, port, seq & 0xFFFFFFFF, ack, 5 << 4, flags, 65535, 0, 0)
        return self.packet(TCP, target, head + data, gso=GSO_TCPV4 if len(data) > mss else GSO_NONE, mss=mss)

    def frames(self, timeout: float) -> Iterator[bytes]:
        """What comes, until nothing came for so many seconds."""
        while True:
            while len(self._arrived) >= 4:
                (length,) = struct.unpack_from(">I", self._arrived)
                if len(self._arrived) < 4 + length:
                    break
                frame = bytes(self._arrived[14 : 4 + length])
                del self._arrived[: 4 + length]
                yield frame
            self.socket.settimeout(timeout)
            try:
                self._arrived += self.socket.recv(1 << 18)
            except TimeoutError:
                return
            finally:
                self.socket.settimeout(None)


class Stream:
    """A connection out over TCP that sends as fast as it is acknowledged."""

    def __init__(self, card: Card, source_port: int, port: int) -> None:
        self.card, self.source_port, self.port = card, source_port, port
        self.sent = self.acknowledged = 1
        card.socket.sendall(card.segment(GATEWAY, source_port, port, 0, 0, SYN))
        for frame in card.frames(5):
            if self.is_mine(frame) and frame[47] & SYN:
                break
        else:
            raise TimeoutError("no connection")
        self.theirs = struct.unpack_from(">I", frame, 38)[0] + 1
        self.window = struct.unpack_from(">H", frame, 48)[0]
        card.socket.sendall(card.segment(GATEWAY, source_port, port, 1, self.theirs, ACK))

    def is_mine(self, frame: bytes) -> bool:
        """Whether a frame is of this connection."""
        return frame[23:24] == b"\6" and frame[34:38] == struct.pack(">HH", self.port, self.source_port)

    def push(self) -> None:
        """Send as much as the other end takes."""
        while self.sent - self.acknowledged + PIECE <= self.window:
            data = self.card.segment(GATEWAY, self.source_port, self.port, self.sent, self.theirs, ACK, bytes(PIECE))
            self.card.socket.sendall(data)
            self.sent += PIECE

    def take(self, frame: bytes) -> None:
        """An acknowledgement."""
        if self.is_mine(frame):
            ack, self.window = struct.unpack_from(">I", frame, 42)[0], struct.unpack_from(">H", frame, 48)[0]
            self.acknowledged = max(self.acknowledged, ack)


# --- the host's services ----------------------------------------------------------------------------------------------


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextmanager
def forked(work: Callable[[], object]) -> Iterator[int]:
    """A process of its own that does that until it is ended."""
    pid = os.fork()
    if pid == 0:
        _die_with_parent()
        with suppress(OSError, KeyboardInterrupt):
            work()
        os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def echo(service: socket.socket) -> None:
    """Answer each datagram."""
    while True:
        data, place = service.recvfrom(2048)
        service.sendto(data, place)


def sink(listener: socket.socket) -> None:
    """Take all."""

    def take(connection: socket.socket) -> None:
        room = bytearray(1 << 18)
        with suppress(OSError):
            while connection.recv_into(room):
                pass
        connection.close()

    while True:
        threading.Thread(target=take, args=(listener.accept()[0],), daemon=True).start()


# --- floods: what a card is to send, again and again ------------------------------------------------------------------


@dataclass
class Places:
    """Ports of the host's: of the echo, of the sink, and one that guests may reach where nobody listens; and the
    neighbour's addresses."""

    echo: int
    sink: int
    nobody: int
    mac: str = ""
    ip: str = ""


def _world() -> str:
    return WORLD + str(random.randrange(2, 250))


def _port() -> int:
    return random.randrange(1024, 65000)


def _arp(card: Card) -> bytes:
    own = bytes.fromhex(card.mac.replace(":", "")) + socket.inet_aton(card.ip)
    asked = bytes(6) + socket.inet_aton(f"10.0.2.{random.randrange(20, 250)}")
    return card.framed(struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + own + asked, to=EVERYBODY, kind=0x0806)


def _dhcp(card: Card) -> bytes:
    own = bytes.fromhex(card.mac.replace(":", ""))
    head = struct.pack(">BBBBIHHIIII", 1, 1, 6, 0, random.getrandbits(32), 0, 0x8000, 0, 0, 0, 0)
    data = head + own + bytes(10 + 192) + bytes.fromhex("63825363350101ff")
    return card.datagram("255.255.255.255", 68, 67, data, to=EVERYBODY, source="0.0.0.0")


def _dns(card: Card) -> bytes:
    name = b"\x04host\x05xenia\x08internal\x00"
    query = struct.pack(">HHHHHH", _port(), 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)
    return card.datagram(NAMESERVER, _port(), 53, query, to=NAMESERVER_MAC)


def _echo(card: Card, target: str) -> bytes:
    body = struct.pack(">BBHHH", 8, 0, 0, 7, random.randrange(65536)) + bytes(56)
    return card.packet(ICMP, target, body[:2] + struct.pack(">H", checksum(body)) + body[4:])


def _syn(card: Card, target: str, port: int) -> bytes:
    return card.segment(target, _port(), port, random.getrandbits(32), 0, SYN)


KINDS: dict[str, Callable[[Card, Places], bytes]] = {
    "SYN, who answers": lambda card, places: _syn(card, GATEWAY, places.sink),
    "SYN, who refuses": lambda card, places: _syn(card, GATEWAY, places.nobody),
    "SYN, the host's own ports": lambda card, places: _syn(card, GATEWAY, random.randrange(1, 1000)),
    "SYN, who is silent": lambda card, places: _syn(card, _world(), _port()),
    "UDP, new flows": lambda card, places: card.datagram(_world(), _port(), _port(), bytes(18)),
    "UDP, one flow": lambda card, places: card.datagram(WORLD + "9", 9, 9, bytes(18)),
    "UDP, one flow answered": lambda card, places: card.datagram(GATEWAY, 9, places.echo, bytes(18)),
    "UDP, to the neighbour": lambda card, places: card.datagram(places.ip, 9, 9, bytes(18), to=places.mac),
    "UDP, to it, 1400 bytes": lambda card, places: card.datagram(places.ip, 9, 9, bytes(1400), to=places.mac),
    "echoes to the gateway": lambda card, places: _echo(card, GATEWAY),
    "echoes to the world": lambda card, places: _echo(card, _world()),
    "fragments": lambda card, places: card.packet(
        UDP, WORLD + "9", bytes(64), fragment=0x2000, number=random.randrange(65536)
    ),
    "ARP to everybody": lambda card, places: _arp(card),
    "DHCP": lambda card, places: _dhcp(card),
    "DNS": lambda card, places: _dns(card),
}


def flood(card: Card, kind: str, places: Places) -> None:
    """Send that without end; what comes is thrown away."""
    if kind == "bulk, 8 streams":
        streams = [Stream(card, 20000 + number, places.sink) for number in range(8)]
        for stream in streams:
            stream.push()
        for frame in card.frames(60):
            for stream in streams:
                stream.take(frame)
                stream.push()
        return
    tiny = Stream(card, 20000, places.sink) if kind == "TCP, segments of 1 byte" else None

    def drain() -> None:
        while card.socket.recv(1 << 18):
            pass

    threading.Thread(target=drain, daemon=True).start()
    if tiny is not None:
        seq = 1
        while True:
            head = [card.segment(GATEWAY, 20000, places.sink, seq + at, tiny.theirs, ACK, b"x") for at in range(256)]
            card.socket.sendall(b"".join(head))
            seq += 256
    data = b"".join(KINDS[kind](card, places) for _ in range(DIFFERENT))
    while True:
        card.socket.sendall(data)


ALL = (*KINDS, "TCP, segments of 1 byte", "bulk, 8 streams")


# --- the neighbour ----------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """Requests a second, their times in us, those that were not answered, and MB/s."""

    rate: float
    median: float
    late: float
    lost: int
    bulk: float


def answers(card: Card, port: int, seconds: float) -> tuple[list[float], int]:
    """Times of requests, one after the other, in us; how many were not answered."""
    times, lost, number, until = [], 0, 0, time.monotonic() + seconds
    while time.monotonic() < until:
        number += 1
        asked = struct.pack(">I", number) + bytes(SIZE - 4)
        began = time.perf_counter()
        card.socket.sendall(card.datagram(GATEWAY, 5000, port, asked))
        for frame in card.frames(1):
            if frame[23:24] == b"\x11" and frame[42:46] == asked[:4]:
                times.append((time.perf_counter() - began) * 1e6)
                break
        else:
            lost += 1
    return times, lost


def bulk(card: Card, port: int, seconds: float) -> float:
    """MB/s of one stream out."""
    stream = Stream(card, random.randrange(30000, 40000), port)
    began, first, now = time.monotonic(), stream.acknowledged, time.monotonic()
    stream.push()
    for frame in card.frames(2):
        stream.take(frame)
        stream.push()
        now = time.monotonic()
        if now - began > seconds:
            break
    return (stream.acknowledged - first) / max(now - began, seconds) / 1e6


def measure(kind: str | None, seconds: float) -> tuple[Result, dict[str, object]]:
    """What the neighbour gets while that goes on."""
    service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    service.bind(("127.0.0.1", 0))
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    nobody = socket.socket()
    nobody.bind(("127.0.0.1", 0))
    places = Places(service.getsockname()[1], listener.getsockname()[1], nobody.getsockname()[1])
    client = start_network(NetworkConfig())
    try:
        for port in (places.echo, places.sink, places.nobody):
            client.ask("host", port=port)
        neighbour, flooder = Card(client, "neighbour", 1), Card(client, "flooder", 2)
        places.mac, places.ip = neighbour.mac, neighbour.ip
        flooding = forked(lambda: flood(flooder, kind, places)) if kind else forked(signal.pause)
        with forked(lambda: echo(service)), forked(lambda: sink(listener)), flooding:
            time.sleep(seconds / 2)
            times, lost = answers(neighbour, places.echo, seconds)
            rate = bulk(neighbour, places.sink, seconds)
            shown = client.show()
        times = sorted(times) or [1e6]
        result = Result(len(times) / seconds, times[len(times) // 2], times[len(times) * 99 // 100], lost, rate)
        counts = dict(shown["nat"])
        counts["ports"] = [
            {key: port.get(key) for key in ("received", "waiting", "overflown", "share")} for port in shown["ports"]
        ]
        return result, counts
    finally:
        client.close()
        for each in (service, listener, nobody):
            each.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="KIND", help=f"of {', '.join(ALL)}: what begins so")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--counts", action="store_true", help="what the network counted, too")
    options = parser.parse_args()
    if "XENIA_FLOODS" not in os.environ:
        inner = "ip link set lo up; ip link add world type veth peer name void; ip link set void up; "
        inner += "ip link set world arp off; ip addr add 198.51.100.1/24 dev world"
        inner += '; ip link set world up; exec "$0" -m bench.floods "$@"'
        command = ["unshare", "-rn", "sh", "-c", inner, sys.executable, *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, "XENIA_FLOODS": "1"}, check=False).returncode
    kinds = [kind for kind in ALL if not options.only or any(kind.startswith(only) for only in options.only)]
    alone, _ = measure(None, options.seconds)
    print(f"{'undisturbed':28}{alone.rate:8.0f}/s  median {alone.median:6.0f} us  99% {alone.late:6.0f} us"
          f"  {alone.bulk:6.0f} MB/s", flush=True)  # fmt: skip
    for kind in kinds:
        got, counts = measure(kind, options.seconds)
        print(f"{kind:28}{got.rate / alone.rate:8.2f} x  median {got.median:6.0f} us  99% {got.late:6.0f} us"
              f"  {got.bulk / alone.bulk:6.2f} x  {got.lost} lost", flush=True)  # fmt: skip
        if options.counts:
            print("   ", json.dumps(counts), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
