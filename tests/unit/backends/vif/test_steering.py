"""Which of a card's queues a frame goes to, and what the frontend sets of that over its control ring."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from xenia.abi.netif import (
    XEN_NETIF_CTRL_REQUEST,
    XEN_NETIF_CTRL_RESPONSE,
    ControlStatus,
    ControlType,
    HashAlgorithm,
    HashTypes,
)
from xenia.backends.vif.control import Control
from xenia.backends.vif.steering import Steering
from xenia.jail.kinds import Kind
from xenia.machine.thread import HostThread
from xenia.rings.request import Front
from xenia.testing.foreign import MemoryForeign, MemoryGuest

KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
ALL = HashTypes.IPV4 | HashTypes.IPV4_TCP | HashTypes.IPV6 | HashTypes.IPV6_TCP
# "Verifying the RSS Hash Calculation" of Microsoft's documentation of NDIS, whose hash this is: destination, source,
# hash of the addresses, hash with the ports.
VECTORS = [
    ("161.142.100.80", 1766, "66.9.149.187", 2794, 0x323E8FC2, 0x51CCC178),
    ("65.69.140.83", 4739, "199.92.111.2", 14230, 0xD718262A, 0xC626B0EA),
    ("12.22.207.184", 38024, "24.19.198.95", 12898, 0xD2D0A5DE, 0x5C2B394A),
    ("209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xAFC7327F),
    ("202.188.127.2", 1303, "153.39.163.191", 44251, 0x5D1809C5, 0x10E828A2),
    ("3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2CC18CD5, 0x40207D3D),
    ("ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0F0C461C, 0xDDE51BBF),
    ("fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, 0x4B61E985, 0x02D1FEEF),
]


def frame(source: str, destination: str, ports: tuple[int, int], protocol: int = 6, fragment: int = 0) -> bytes:
    """A frame with the least that is looked at."""
    ends = ip_address(source).packed + ip_address(destination).packed
    if len(ends) == 8:
        header = struct.pack(">HBBHHHBBH", 0x0800, 0x45, 0, 40, 0, fragment, 64, protocol, 0)
    else:
        header = struct.pack(">HIHBB", 0x86DD, 6 << 28, 20, protocol, 64)
    return bytes(12) + header + ends + struct.pack(">HH8xB7x", *ports, 5 << 4)


@pytest.mark.parametrize(("destination", "to", "source", "by", "of_addresses", "with_ports"), VECTORS)
def test_the_hash_is_that_of_receive_side_scaling(
    destination: str, to: int, source: str, by: int, of_addresses: int, with_ports: int
) -> None:
    steering = Steering()
    steering.go_on(HashAlgorithm.TOEPLITZ, ALL, KEY, [])
    base = 0 if ":" not in source else 2
    tcp = frame(source, destination, (by, to))
    assert steering.steer(tcp, 7) == (with_ports % 7, (base + 1, with_ports))
    tagged = tcp[:12] + bytes.fromhex("81000005") + tcp[12:]
    assert steering.steer(tagged, 7) == (with_ports % 7, (base + 1, with_ports))
    udp = frame(source, destination, (by, to), 17)
    assert steering.steer(udp, 7) == (of_addresses % 7, (base, of_addresses))
    if not base:
        part = frame(source, destination, (by, to), fragment=0x2000)
        assert steering.steer(part, 7) == (of_addresses % 7, (base, of_addresses))
    steering.go_on(HashAlgorithm.TOEPLITZ, HashTypes.IPV4 | HashTypes.IPV6, KEY, [4] * 3)
    assert steering.steer(tcp, 7) == (4, (base, of_addresses))


def test_what_is_not_hashed_goes_to_the_mappings_first_queue_and_is_not_told() -> None:
    steering = Steering()
    steering.go_on(HashAlgorithm.TOEPLITZ, HashTypes.IPV6, KEY, [2, 1, 0])
    for data in (frame("10.0.0.1", "10.0.0.2", (1, 2)), bytes(12) + b"\x08\x06" + bytes(28), b"\xff" * 14, b"x"):
        assert steering.steer(data, 4) == (2, None)


def test_without_a_hash_of_the_frontends_each_flow_has_a_queue_and_all_queues_have_some() -> None:
    steering = Steering()
    queues = [steering.steer(frame("10.0.0.1", "10.0.0.2", (port, 80)), 4)[0] for port in range(400)]
    assert queues == [steering.steer(frame("10.0.0.1", "10.0.0.2", (port, 80)), 4)[0] for port in range(400)]
    assert all(60 < queues.count(queue) < 140 for queue in range(4))
    assert steering.steer(frame("10.0.0.1", "10.0.0.2", (1, 80)), 1) == (0, None)


class Controlled:
    """A frontend with a control ring."""

    def __init__(self, nr_queues: int = 4) -> None:
        self.guest = MemoryGuest(7)
        self.foreign = MemoryForeign(self.guest)
        self.page, self.data, self.port = self.guest.share(), self.guest.share(), self.guest.open_port()
        self.ring = Front(self.page.memory, XEN_NETIF_CTRL_REQUEST.size)
        self.steering = Steering()
        self.mapping, self.channel = self.foreign.map(self.page.refs), self.foreign.bind(self.port.number)
        self.control = Control(
            self.steering, self.foreign.frames, self.mapping.memory, self.port.number, self.channel.event_fd, nr_queues
        )
        self.thread = HostThread(self.control.serve, "control", Kind.WORKER)
        self.thread.start()

    def ask(self, kind: int, *data: int) -> tuple[int, int]:
        """Status and data of the answer."""
        self.ring.put(XEN_NETIF_CTRL_REQUEST.pack(5, kind, *(*data, 0, 0, 0)[:3]))
        if self.ring.push():
            self.port.notify()
        (answer,) = self.answers(1)
        number, told, status, value = XEN_NETIF_CTRL_RESPONSE.unpack_from(answer)
        assert (number, told) == (5, kind)
        return status, value

    def answers(self, wanted: int) -> list[bytes]:
        answers: list[bytes] = []
        while len(answers) < wanted:
            answers += self.ring.take()
            if len(answers) < wanted and not self.ring.rest():
                assert self.port.wait(20), "no answer came"
        return answers

    def fill(self, data: bytes) -> int:
        """The reference of a page with that."""
        self.data.memory[: len(data)] = data
        return self.data.refs[0]

    def close(self) -> None:
        self.control.stop()
        self.thread.join()
        self.control.close()
        self.channel.close()
        self.mapping.close()
        self.ring.close()
        self.guest.assert_let_go()
        self.guest.close()


@pytest.fixture
def front() -> Iterator[Controlled]:
    made = Controlled()
    yield made
    made.close()


def test_a_frontend_sets_algorithm_key_types_and_mapping(front: Controlled) -> None:
    assert front.ask(ControlType.GET_HASH_FLAGS) == (ControlStatus.NOT_SUPPORTED, 0)  # without an algorithm
    assert front.ask(ControlType.SET_HASH_FLAGS, ALL) == (ControlStatus.INVALID_PARAMETER, 0)
    assert front.ask(ControlType.SET_HASH_ALGORITHM, HashAlgorithm.TOEPLITZ) == (0, 0)
    assert front.ask(ControlType.GET_HASH_FLAGS) == (0, ALL)
    assert front.ask(ControlType.SET_HASH_FLAGS, ALL) == (0, 0)
    assert front.ask(ControlType.SET_HASH_KEY, front.fill(KEY), len(KEY)) == (0, 0)
    assert front.ask(ControlType.GET_HASH_MAPPING_SIZE) == (0, 128)
    assert front.ask(ControlType.SET_HASH_MAPPING_SIZE, 5) == (0, 0)
    assert front.ask(ControlType.SET_HASH_MAPPING, front.fill(struct.pack("<3I", 3, 1, 2)), 3, 2) == (0, 0)
    assert front.steering.settings == (HashAlgorithm.TOEPLITZ, ALL, KEY, [0, 0, 3, 1, 2])
    assert front.ask(ControlType.SET_HASH_KEY, 0, 0) == (0, 0)
    assert front.steering.settings[2] == bytes(40)
    assert front.steering.steer(frame("10.0.0.1", "10.0.0.2", (1, 2)), 4) == (0, (1, 0))


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        (ControlType.SET_HASH_ALGORITHM, (2,), ControlStatus.INVALID_PARAMETER),
        (ControlType.SET_HASH_FLAGS, (16,), ControlStatus.INVALID_PARAMETER),
        (ControlType.SET_HASH_KEY, (8, 41), ControlStatus.BUFFER_OVERFLOW),
        (ControlType.SET_HASH_KEY, (4000, 40), ControlStatus.INVALID_PARAMETER),
        (ControlType.SET_HASH_MAPPING_SIZE, (129,), ControlStatus.INVALID_PARAMETER),
        (ControlType.SET_HASH_MAPPING, (8, 129, 0), ControlStatus.BUFFER_OVERFLOW),
        (ControlType.SET_HASH_MAPPING, (8, 1, 4), ControlStatus.BUFFER_OVERFLOW),
        (ControlType.SET_HASH_MAPPING, (8, 2, 0xFFFFFFFF), ControlStatus.BUFFER_OVERFLOW),
        (ControlType.SET_HASH_MAPPING, (4000, 1, 0), ControlStatus.INVALID_PARAMETER),
        (ControlType.GET_GREF_MAPPING_SIZE, (0,), ControlStatus.NOT_SUPPORTED),
        (ControlType.ADD_GREF_MAPPING, (0,), ControlStatus.NOT_SUPPORTED),
        (ControlType.INVALID, (), ControlStatus.NOT_SUPPORTED),
        (0xFFFF, (1, 2, 3), ControlStatus.NOT_SUPPORTED),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    front: Controlled, kind: int, data: tuple[int, ...], status: ControlStatus
) -> None:
    front.ask(ControlType.SET_HASH_ALGORITHM, HashAlgorithm.TOEPLITZ)
    front.ask(ControlType.SET_HASH_MAPPING_SIZE, 4)
    before = front.steering.settings
    assert front.ask(kind, *data) == (status, 0)
    assert front.steering.settings == before


def test_a_mapping_to_a_queue_that_is_not_there_is_refused(front: Controlled) -> None:
    front.ask(ControlType.SET_HASH_MAPPING_SIZE, 4)
    mapping = front.fill(struct.pack("<4I", 0, 1, 2, 4))
    assert front.ask(ControlType.SET_HASH_MAPPING, mapping, 4, 0) == (ControlStatus.INVALID_PARAMETER, 0)
    assert front.steering.settings[3] == [0, 0, 0, 0]


def test_a_flood_of_requests_is_answered_and_costs_little_time(front: Controlled) -> None:
    assert front.thread.ident is not None
    clock = time.pthread_getcpuclockid(front.thread.ident)
    asked, begun, end = 0, time.clock_gettime(clock), time.monotonic() + 0.3
    while time.monotonic() < end:
        for _ in range(front.ring.free):
            front.ring.put(XEN_NETIF_CTRL_REQUEST.pack(0, ControlType.GET_HASH_MAPPING_SIZE, 0, 0, 0))
            asked += 1
        front.ring.push()
        front.port.notify()
        asked -= len(front.ring.take())
    front.answers(asked)
    assert time.clock_gettime(clock) - begun < 0.1


def test_a_ring_whose_index_cannot_be_is_not_served_any_more(front: Controlled) -> None:
    front.page.memory[:4] = (1 << 31).to_bytes(4, "little")
    front.port.notify()
    while not front.control.is_faulty:
        time.sleep(0)
    front.page.memory[:4] = (1).to_bytes(4, "little")
    front.port.notify()
    front.control.stop()
    front.thread.join()
    assert front.control.answered == 0
