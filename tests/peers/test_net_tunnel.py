"""Tunnels between hosts, which are network namespaces, against each other and against Linux's own vxlan device."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tests.peers.lab import Lab, a_lab
from tests.peers.namespaces import Host, exchange
from xenia.errors import ConfigError
from xenia.net.links import open_link, parse_link

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces and interfaces are made by root only"),
]

MB = 1 << 20


@pytest.fixture
def lab() -> Iterator[Lab]:
    """One for each test."""
    with a_lab() as lab:
        yield lab


def way(lab: Lab, hosts: int = 2, network: str = "192.168.7.", bits: int = 24) -> list[Host]:
    """Hosts on one network, which have its addresses from 1 on, and a switch."""
    switch = lab.host("ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up")
    found = []
    for number in range(1, hosts + 1):
        host = lab.host(f"ip link add v0 type veth peer name v{number} netns {switch.pid}")
        switch.run(f"ip link set v{number} master br0 up")
        nodad = " nodad" if ":" in network else ""
        host.run(f"ip addr add {network}{number}/{bits} dev v0{nodad} && ip link set v0 up")
        found.append(host)
    return found


def fragments(host: Host) -> int:
    """How many IP fragments it has made."""
    found = host.run("cat /proc/net/snmp /proc/net/snmp6")
    names, values = (line.split() for line in found.splitlines() if line.startswith("Ip:"))
    made = dict(zip(names, values, strict=True))["FragCreates"]
    return int(made) + sum(int(line.split()[1]) for line in found.splitlines() if line.startswith("Ip6FragCreates"))


@pytest.mark.parametrize(("network", "bits", "mtu"), [("192.168.7.", 24, 1450), ("fd00:7::", 64, 1430)])
def test_a_tunnel_ends_at_linuxs_own(lab: Lab, network: str, bits: int, mtu: int) -> None:
    ours, theirs = way(lab, 2, network, bits)
    opened = lab.opened(ours, f"vxlan={network}2", "vni=70000", f"local={network}1")
    assert opened.spec.mtu == mtu
    theirs.run(
        f"ip link add vx0 type vxlan id 70000 local {network}2 remote {network}1 dstport 4789 udp6zerocsumrx",
        "ip addr add 10.1.0.1/24 dev vx0 && ip link set vx0 up",
    )
    theirs.sum_by_itself("v0")  # or veth would leave the sums within a datagram to whoever opens it
    guest, there = lab.tap("10.1.0.2/24")
    tunnel = lab.made(opened)
    lab.tie(tunnel, there)
    exchange(guest, theirs, "10.1.0.1", 20 * MB)
    assert tunnel.statistics["refused"] == 0
    # The guest knows nothing of the tunnel. Its segments were cut to what one packet takes, and a frame that is longer
    # on its own is not lost for it.
    before = fragments(ours)
    assert before < tunnel.statistics["sent"] / 20
    with theirs.entered():
        receiver = socket.socket(type=socket.SOCK_DGRAM)
    with guest.entered():
        sender = socket.socket(type=socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.settimeout(10)
        receiver.bind(("10.1.0.1", 5000))
        sender.sendto(bytes(1472), ("10.1.0.1", 5000))
        assert receiver.recv(2000) == bytes(1472)
    assert fragments(ours) >= before + 2


def test_three_hosts_have_one_network_and_each_frame_goes_where_its_target_is(lab: Lab) -> None:
    hosts = way(lab, 3)
    tunnels, guests = [], []
    for number, host in enumerate(hosts, 1):
        others = "+".join(f"192.168.7.{other}" for other in range(1, 4) if other != number)
        tunnels.append(lab.link(host, f"vxlan={others}"))
        guest, there = lab.tap(f"10.1.0.{number}/24")
        lab.tie(tunnels[-1], there)
        guests.append(guest)
    exchange(guests[0], guests[1], "10.1.0.2", 5 * MB)
    assert tunnels[2].statistics["received"] < 50  # what was for all, or nobody knew yet
    exchange(guests[2], guests[1], "10.1.0.2", MB)
    exchange(guests[2], guests[0], "10.1.0.1", MB)


def test_datagrams_from_elsewhere_and_of_other_networks_are_refused(lab: Lab) -> None:
    one, other, stranger = way(lab, 3)
    card = lab.serve(link := lab.link(one, "vxlan=192.168.7.2", "vni=5"))
    frame = b"\xff" * 6 + b"\0\x16\x3e\0\0\1" + b"\x88\xb5" + bytes(50)
    for host, vni, flags in ((stranger, 5, 8), (other, 6, 8), (other, 5, 0), (other, 5, 8)):
        data = (bytes([flags, 0, 0, 0, 0, 0, vni, 0]) + frame).hex()
        send = "import socket,sys; socket.socket(type=2).sendto(bytes.fromhex(sys.argv[1]), ('192.168.7.1', 4789))"
        host.run(f'python3 -c "{send}" {data}')
    other_network = card.wait()
    assert [packet.data for packet in other_network] == [frame]
    assert link.statistics["refused"] == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("vxlan=example.org",), "write the host's address"),
        (("vxlan=10.0.0.1+fd00::1",), "all IPv4 or all IPv6"),
        (("vxlan=127.0.0.1", "vni=16777216"), "a network's number is from 0 to 16777215"),
        (("vxlan=127.0.0.1", "port=0"), "port=0 of a tunnel is no port"),
        (("vxlan=127.0.0.1", "local=203.0.113.9"), "local=203.0.113.9 is no address of this host"),
    ],
)
def test_a_tunnel_that_cannot_be_is_one_line(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        open_link(parse_link(words[0], words[1:]))


def test_a_port_that_the_kernel_has_is_told(lab: Lab) -> None:
    host = lab.host("ip link add vx0 type vxlan id 5 remote 127.0.0.1 dstport 4789 && ip link set vx0 up")
    with pytest.raises(ConfigError, match="UDP port 4789 is in use, by another tunnel or the kernel's own: say port="):
        lab.opened(host, "vxlan=127.0.0.1")
