"""Whatever a card sends: the network's process survives it, or ends alone and says so."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_InfoRequest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6ND_RS, IPv6
from scapy.layers.l2 import ARP, Ether

from tests.unit.net.service.wire import GATEWAY_MAC, GATEWAY_MAC6, Guest, guest
from xenia.errors import ConfigError
from xenia.net.service.client import NetworkClient, NetworkConfig, start_network
from xenia.testing.packet import Packet

FRAMES = 15000


@pytest.fixture
def client() -> Iterator[NetworkClient]:
    network = start_network(NetworkConfig(flows=64))
    yield network
    network.close()


def seeds(one: Guest) -> list[bytes]:
    """Frames that make sense, to none but the network's own addresses."""
    four, six = IP(src=one.ip, dst="10.0.2.2"), IPv6(src=one.ip6, dst="fd00:78:656e::2")
    names, local = IP(src=one.ip, dst="10.0.2.3"), IPv6(src="fe80::1", dst="ff02::2", hlim=255)
    query, ask = DNS(qd=DNSQR(qname="host.xenia.internal")), BOOTP(chaddr=bytes.fromhex(one.mac.replace(":", "")))
    packets = [
        ARP(hwsrc=one.mac, psrc=one.ip, pdst="10.0.2.2"), four / ICMP() / b"echo", four / TCP(dport=9, flags="S"),
        four / UDP(dport=9) / b"x", names / UDP(sport=5, dport=53) / query, names / TCP(dport=9, flags="A"),
        IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / ask / DHCP(options=[("message-type", 1)]),
        six / ICMPv6EchoRequest(), six / TCP(dport=9, flags="S"), six / UDP(dport=9) / b"x", local / ICMPv6ND_RS(),
        local / ICMPv6ND_NS(tgt="fd00:78:656e::2"), local / UDP(sport=546, dport=547) / DHCP6_InfoRequest(),
        four / UDP(dport=69) / b"\0\1file\0octet\0", IP(src=one.ip, dst="10.0.2.2", flags="MF") / UDP() / bytes(64),
    ]  # fmt: skip
    return [
        bytes(Ether(src=one.mac, dst=GATEWAY_MAC6 if IPv6 in packet else GATEWAY_MAC) / packet) for packet in packets
    ]


def damaged(frame: bytes, chance: random.Random) -> Packet:
    """The same with some bytes changed, some cut off or added, and a header that asks for something.

    Where it goes is left as it was, so that nothing leaves for the world.
    """
    data = bytearray(frame)
    fixed = range(30, 34) if data[12:14] == b"\x08\x00" else range(38, 54)
    for _ in range(chance.choice((0, 1, 1, 2, 8))):
        at = chance.randrange(14, len(data))
        if at not in fixed:
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    cut = chance.choice((0, 0, 1, 8, 30))
    data = data[: max(len(data) - cut, 34 if data[12:14] == b"\x08\x00" else 54)]
    data += os.urandom(chance.choice((0, 0, 3, 60, 1400)))
    flags, gso = chance.choice((0, 0, 0, 1, 2)), chance.choice((0, 0, 0, 1, 4))
    size = chance.choice((0, 1, 536, 1460, 65535)) if gso else 0
    start = chance.choice((0, 14, 34, 54, len(data) - 2)) if flags else 0
    return Packet(bytes(data), flags, gso, chance.randrange(100), size, start, chance.choice((0, 6, 16)))


def test_the_process_survives_frames_that_make_no_sense(client: NetworkClient) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with guest(client, spoof=True) as one:
        frames = seeds(one)
        left = FRAMES
        while left:
            taken = one.card.send(*(damaged(chance.choice(frames), chance) for _ in range(min(left, 64))))
            left -= taken
            assert one.link.carrier, one.link.reason
        assert client.hello()
    with guest(client) as two:
        echo = two.ask(IP(src=two.ip, dst="10.0.2.2") / ICMP(id=7), lambda got: ICMP in got and got[ICMP].id == 7)
        assert echo[ICMP].type == 0


def test_a_process_that_dies_takes_the_carrier_along_and_nothing_else(client: NetworkClient) -> None:
    with guest(client) as one:
        os.kill(client.hello()["pid"], signal.SIGKILL)
        while one.link.carrier:
            pass
        assert one.link.reason is not None
        with pytest.raises(ConfigError, match="does not answer: it has ended, or was killed"):
            client.show()


def test_a_process_that_stands_still_is_told_from_one_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xenia.net.service.client.PATIENCE", 2.0)
    stopped = start_network(NetworkConfig())
    pid = stopped.hello()["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ConfigError, match="does not answer within 2 s: it is stopped"):
            stopped.show()
    finally:
        os.kill(pid, signal.SIGCONT)
        stopped.close()


def test_the_process_is_walled_in(client: NetworkClient) -> None:
    assert client.process is not None
    pid = client.hello()["pid"]
    limits = {key: value for key, value in _status(pid).items() if key in ("NoNewPrivs", "Seccomp", "CapEff")}
    if limits["Seccomp"] == "0":
        pytest.skip("no filters of system calls on this host")
    assert limits == {"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0000000000000000"}


def _status(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status") as file:
        return {key: value.strip() for key, value in (line.split(":", 1) for line in file)}
