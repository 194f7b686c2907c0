"""The user-mode network between hosts that are namespaces: a guest's kernel on a TAP, the process, and the world."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.peers.namespaces import Host, exchange
from xenia.net.link import Link
from xenia.net.links import make_link, open_link, parse_link
from xenia.net.service.client import NetworkConfig, start_network
from xenia.net.stream import StreamLink
from xenia.net.thread import LinkThread
from xenia.testing.tie import Tie

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces and interfaces are made by root only"),
]

WORLD, WORLD6, OWN, OWN6 = "198.51.100.2", "2001:db8:1::2", "198.51.100.1", "2001:db8:1::1"
ROUTERS6 = "2001:db8:1::"  # anycast of the network that the host is in (RFC 4291, 2.6.1)
SILENT = "198.51.100.3"  # of the world, too
MB = 1 << 20


class Lab:
    """A guest, the host whose process carries its connections, and another host of the world."""

    def __init__(self, stack: ExitStack) -> None:
        self.guest, self.host, self.world = (self._host(stack) for _ in range(3))
        self.host.run(
            f"ip link add w0 type veth peer name w1 netns {self.world.pid}", f"ip addr add {OWN}/24 dev w0",
            f"ip -6 addr add {OWN6}/64 dev w0 nodad", "ip link set w0 up",
            "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range",
        )  # fmt: skip
        self.world.run(
            f"ip addr add {WORLD}/24 dev w1", f"ip -6 addr add {WORLD6}/64 dev w1 nodad", "ip link set w1 up"
        )
        with self.host.entered():
            self.client = start_network(NetworkConfig())
            stack.callback(self.client.close)
            self.process = self.client.hello()["pid"]
        with self.guest.entered():
            opened = open_link(parse_link("tap=t0"))
        tap = make_link(opened.spec, opened.descriptors)
        assert isinstance(tap, Link)
        stack.callback(tap.close)
        mac = self.guest.run("ip -o link show t0").split("link/ether ")[1].split()[0]
        self.frames = StreamLink(self.client.attach("guest", mac, ip="10.0.2.15").descriptor, vnet=True)
        stack.callback(self.frames.close)
        tie = Tie(tap, self.frames)
        stack.callback(tie.close)
        thread = LinkThread()
        stack.callback(thread.close)
        thread.add(tap)
        thread.add(self.frames)
        self.guest.run(
            "ip addr add 10.0.2.15/24 dev t0", "ip link set t0 up", "ip route add default via 10.0.2.2",
            "ip -6 addr add fd00:78:656e::f/64 dev t0 nodad",
            "ip -6 route replace default via fd00:78:656e::2 dev t0",
        )  # fmt: skip

    @staticmethod
    def _host(stack: ExitStack) -> Host:
        host = Host()
        stack.callback(host.close)
        return host

    def listen(self, host: Host, address: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A socket of that host's."""
        with host.entered():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            made = socket.socket(family, kind)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, 0))
        made.settimeout(20)
        if kind == socket.SOCK_STREAM:
            made.listen(512)
        return made

    def connect(self, host: Host, place: Any) -> socket.socket:
        """A connection from that host."""
        with host.entered():
            family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
            made = socket.socket(family)
            made.settimeout(20)
            made.connect(place[:2])
        return made

    def holds(self) -> tuple[int, int, int]:
        """How many descriptors and threads the process has, and how many KB of memory."""
        folder = Path(f"/proc/{self.process}")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        return len(list((folder / "fd").iterdir())), int(status["Threads"]), int(status["VmRSS"].split()[0])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(stack)


def test_a_guest_pings_the_world_over_both_protocols(lab: Lab) -> None:
    for address in (WORLD, WORLD6, "10.0.2.2"):
        assert " 0% packet loss" in lab.guest.run(f"ping -c 2 -i 0.1 -W 5 {address}")


@pytest.mark.parametrize("address", [WORLD, WORLD6])
def test_bytes_cross_unharmed_both_ways_at_once(lab: Lab, address: str) -> None:
    exchange(lab.guest, lab.world, address, 20 * MB)


@pytest.mark.parametrize("address", [WORLD, WORLD6])
def test_datagrams_of_all_sizes_cross_both_ways(lab: Lab, address: str) -> None:
    with lab.listen(lab.world, address, socket.SOCK_DGRAM) as server, lab.guest.entered():
        client = socket.socket(server.family, socket.SOCK_DGRAM)
        client.settimeout(20)
        for size in (1, 1400, *([4000, 20000] if address == WORLD else [])):  # libslirp puts no IPv6 together
            data = os.urandom(size)
            client.sendto(data, server.getsockname()[:2])
            received, place = server.recvfrom(65536)
            assert received == data
            server.sendto(data * 2, place)
            assert client.recv(65536) == data * 2
        client.close()


@pytest.mark.parametrize("address", [OWN, OWN6, "127.0.0.1", "10.0.2.2"])
def test_the_hosts_services_are_refused_at_once_whatever_address_is_tried(lab: Lab, address: str) -> None:
    if address == "127.0.0.1":
        lab.guest.run("ip route replace table 7 default via 10.0.2.2", "ip rule add to 127.0.0.0/8 lookup 7 || true")
    with lab.host.entered():
        everywhere = socket.socket(socket.AF_INET6)
        everywhere.bind(("::", 0))
    everywhere.listen()
    before = lab.client.show()["nat"]["refused"]
    with everywhere, pytest.raises(ConnectionRefusedError):
        lab.connect(lab.guest, (address, everywhere.getsockname()[1]))
    if address != "127.0.0.1":  # the guest's kernel keeps that to itself
        assert lab.client.show()["nat"]["refused"] == before + 1


def test_what_is_sent_to_the_routers_of_a_network_does_not_reach_a_host_that_is_one(lab: Lab) -> None:
    lab.host.run("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
    before, until = lab.client.show()["nat"]["refused"], time.monotonic() + 20
    while lab.client.show()["nat"]["refused"] == before:
        assert time.monotonic() < until
        with lab.guest.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.sendto(b"is that you?", (ROUTERS6, 9))
    lab.host.run("echo 0 > /proc/sys/net/ipv6/conf/all/forwarding")


def test_two_hundred_connections_at_once_each_carry_their_own(lab: Lab) -> None:
    with lab.listen(lab.world, WORLD) as server, ExitStack() as stack:
        clients = []
        for _ in range(200):
            clients.append(stack.enter_context(lab.connect(lab.guest, server.getsockname())))
        servers = [stack.enter_context(server.accept()[0]) for _ in range(200)]
        for number, client in enumerate(clients):
            client.sendall(b"%d from the guest\n" % number)
        for found in servers:
            number = int(found.makefile("rb").readline().split()[0])
            found.sendall(b"%d back\n" % number)
            assert clients[number].makefile("rb").readline() == b"%d back\n" % number
        assert lab.client.show()["nat"]["sockets"] >= 200


CLIENT = """
import socket, sys
for _ in range(int(sys.argv[3])):
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x" and connection.recv(1) == b""
"""


def test_thousands_of_short_connections_leave_nothing_behind(lab: Lab) -> None:
    with lab.listen(lab.world, WORLD) as server:
        server.settimeout(None)
        threading.Thread(target=_echo, args=(server,), daemon=True).start()
        _many(lab, server, 500)
        descriptors, threads, memory = lab.holds()
        _many(lab, server, 10000)
        after = lab.holds()
        server.shutdown(socket.SHUT_RDWR)
    assert after[0] <= descriptors + 20
    assert after[1] == threads
    assert after[2] <= memory + 8192


def _many(lab: Lab, server: socket.socket, count: int) -> None:
    command = ["nsenter", "-t", str(lab.guest.pid), "-n", sys.executable, "-c", CLIENT, WORLD]
    share = count // 4
    clients = [subprocess.Popen([*command, str(server.getsockname()[1]), str(share)]) for _ in range(4)]
    assert [client.wait(60) for client in clients] == [0] * 4


def _echo(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(connection.recv(1))


def test_a_peer_that_falls_silent_ends_what_is_connected_to_it_and_what_would_be(lab: Lab) -> None:
    names = ("tcp_syn_retries", "tcp_retries2")  # the host's patience, which is for minutes
    usual = [lab.host.run(f"cat /proc/sys/net/ipv4/{name}").strip() for name in names]
    lab.host.run(*(f"echo 1 > /proc/sys/net/ipv4/{name}" for name in names))
    lab.world.run(f"ip addr add {SILENT}/32 dev lo")
    before = lab.client.show()["nat"]["sockets"]
    with lab.listen(lab.world, SILENT) as server, lab.connect(lab.guest, server.getsockname()) as client:
        inside, _ = server.accept()
        lab.world.run(f"ip rule add from {SILENT} blackhole")
        client.sendall(b"is anybody there?")
        with pytest.raises(ConnectionRefusedError):
            lab.connect(lab.guest, server.getsockname())
        assert client.recv(1) == b""  # libslirp tells a guest no more
        inside.close()
    until = time.monotonic() + 20
    while lab.client.show()["nat"]["sockets"] > before:
        assert time.monotonic() < until
        time.sleep(0.05)  # libslirp's own pace
    lab.world.run(f"ip rule del from {SILENT} blackhole", f"ip addr del {SILENT}/32 dev lo")
    lab.host.run(*(f"echo {value} > /proc/sys/net/ipv4/{name}" for name, value in zip(names, usual, strict=True)))


def test_a_port_of_the_host_leads_the_world_to_the_guest(lab: Lab) -> None:
    with lab.listen(lab.guest, "10.0.2.15") as server:
        forward = lab.client.forward(0, address=OWN, to="guest", to_port=server.getsockname()[1])
        with lab.connect(lab.world, (OWN, forward["port"])) as client:
            inside, place = server.accept()
            assert place[0] == WORLD
            with inside:
                inside.sendall(b"hello from the guest")
                assert client.recv(100) == b"hello from the guest"
        lab.client.unforward(forward["port"], address=OWN)


def test_a_flood_of_connections_ends_at_the_guests_share_and_the_process_goes_on(lab: Lab) -> None:
    flood = """
import socket, sys
for number in range(3000):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("10.0.2.15", 10000 + number))
    one.sendto(b"x", (sys.argv[1], 9))
    one.close()
"""
    command = ["nsenter", "-t", str(lab.guest.pid), "-n", sys.executable, "-c", flood, WORLD]
    while (shown := lab.client.show())["nat"]["full"] < 500:  # the TAP takes more than the way to the process
        subprocess.run(command, check=True)
    assert 2048 <= len(shown["flows"]) <= 2148  # an old one is told from a new one by a hash
    assert lab.guest.run("ping -c 5 -i 0.2 -W 5 10.0.2.2")
