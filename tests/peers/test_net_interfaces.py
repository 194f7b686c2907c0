"""Interfaces of the host as links, with hosts in network namespaces at their other ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from scapy.layers.l2 import ARP, Ether

from tests.peers.lab import Lab, a_lab, per_frame
from tests.peers.namespaces import End, Host, exchange
from tests.unit.net.service.wire import guest
from xenia.errors import ConfigError
from xenia.net.service.client import find_network

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


def test_two_hosts_with_taps_talk_in_frames_of_many_segments(lab: Lab) -> None:
    (one, here), (other, there) = lab.tap("10.1.0.1/24"), lab.tap("10.1.0.2/24")
    lab.tie(here, there)
    exchange(one, other, "10.1.0.2", 50 * MB)
    assert max(per_frame(here), per_frame(there)) > 3000
    assert here.statistics["refused"] == there.statistics["refused"] == 0


def test_two_hosts_talk_ipv6(lab: Lab) -> None:
    (one, here), (other, there) = lab.tap("fd00:1::1/64"), lab.tap("fd00:1::2/64")
    lab.tie(here, there)
    exchange(one, other, "fd00:1::2", 20 * MB)


def test_a_tap_joins_a_bridge_of_the_host(lab: Lab) -> None:
    other, there = lab.tap("10.1.0.2/24")
    one = lab.host("ip link add br0 type bridge && ip addr add 10.1.0.1/24 dev br0 && ip link set br0 up")
    here = lab.link(one, "tap=new0", "master=br0")
    assert "new0" in one.run("ip link show master br0 up")
    lab.tie(here, there)
    exchange(other, one, "10.1.0.1", 20 * MB)


def test_a_network_of_guests_joins_interfaces_of_the_host(lab: Lab, tmp_path: Path) -> None:
    host = lab.host("ip link add veth0 type veth peer name veth1 && ip link set veth0 up && ip link set veth1 up")
    host.run("ip addr add 10.1.0.2/24 dev veth1")

    def xenia(*words: str) -> None:
        command = [*host.within, sys.executable, "-m", "xenia", "net", *words]
        subprocess.run(command, check=True, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}, timeout=60)

    xenia("create", "lan", "--no-nat")
    try:
        for link, address in (("tap=new0", "10.2.0.2"), ("nic=veth0", "10.1.0.2")):
            xenia("join", "lan", link)
            if link == "tap=new0":
                host.run("ip addr add 10.2.0.2/24 dev new0")
            with closing(find_network(tmp_path / "xenia" / "net" / "lan")) as client, guest(client) as one:
                asked = Ether(src=one.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=one.mac, psrc=one.ip, pdst=address)
                assert one.ask(asked, lambda got: ARP in got and got[ARP].op == 2)[ARP].psrc == address
            xenia("join", "lan", link, "--remove")
        assert "new0" not in host.run("ip link show")
    finally:
        xenia("delete", "lan", "--force")


def test_a_tap_that_was_made_for_the_link_goes_with_it(lab: Lab) -> None:
    host = lab.host()
    link = lab.link(host, "tap=new0")
    assert "new0" in host.run("ip link show up")
    link.close()
    assert "new0" not in host.run("ip link show")


def test_a_link_whose_interface_goes_has_no_carrier(lab: Lab) -> None:
    host, link = lab.tap("10.1.0.1/24")
    lab.serve(link)
    host.run("ip link del tap0")
    for _ in range(100):
        if not link.carrier:
            break
        host.run("true")
    assert link.reason is not None
    assert link.reason.startswith("the interface is gone")


def veth(lab: Lab) -> tuple[Host, Host]:
    """A host with v0, without an address, and one with v1 at its other end, which has 10.1.0.1."""
    near, far = lab.host(), lab.host()
    near.run(f"ip link add v0 type veth peer name v1 netns {far.pid} && ip link set v0 up")
    far.run("ip addr add 10.1.0.1/24 dev v1 && ip link set v1 up")
    return near, far


def test_a_raw_socket_is_on_the_interfaces_network(lab: Lab) -> None:
    near, far = veth(lab)
    here = lab.link(near, "nic=v0")
    guest, there = lab.tap("10.1.0.2/24")
    lab.tie(here, there)
    exchange(guest, far, "10.1.0.1", 50 * MB)
    assert per_frame(here) > 3000


def test_a_raw_socket_hears_neither_itself_nor_what_is_of_a_vlan(lab: Lab) -> None:
    near, far = veth(lab)
    card = lab.serve(lab.link(near, "nic=v0"))
    addresses, rest = b"\xff" * 6 + b"\x00\x16\x3e\x00\x00\x01", b"\x88\xb5" + bytes(50)
    assert card.send(addresses + rest) == 1
    with far.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("v1", 0))
        raw.send(addresses + b"\x81\x00\x00\x07" + rest)
        raw.send(addresses + rest + b"theirs")
    heard: list[bytes] = []
    while not heard or not heard[-1].endswith(b"theirs"):
        heard += [packet.data for packet in card.wait() if packet.data.startswith(addresses)]
    assert heard == [addresses + rest + b"theirs"]


def test_a_macvtap_is_on_the_interfaces_network(lab: Lab) -> None:
    near, far = veth(lab)
    near.run("ip link add link v0 name mv0 type macvtap mode bridge && ip link set mv0 up")
    with near.entered():
        index = socket.if_nametoindex("mv0")
    if not Path(f"/dev/tap{index}").exists():
        pytest.skip(f"this host makes no /dev/tap{index} for a macvtap")
    opened = lab.opened(near, "macvtap=mv0")
    assert opened.spec.mac is not None
    guest, there = lab.tap("10.1.0.2/24", opened.spec.mac)
    lab.tie(lab.made(opened), there)
    exchange(guest, far, "10.1.0.1", 20 * MB)


# Gives back what it is sent, on whatever card.
ECHO = """
for card in eth0/10.1.0.2 eth1/10.2.0.2 eth2/10.3.0.2; do
    ip addr add ${card#*/}/24 dev ${card%/*}; ip link set ${card%/*} up
done
nc -ll -p 4000 -e cat &
until netstat -lnt | grep -q :4000; do sleep 0.1; done
echo serving; sleep 1000
"""


def test_a_jailed_guest_has_cards_on_a_tap_an_interface_and_a_tunnel(lab: Lab) -> None:
    near, far = veth(lab)
    near.run(
        "ip tuntap add tap0 mode tap && ip addr add 10.1.0.1/24 dev tap0 && ip link set tap0 up",
        "ip addr add 192.168.7.1/24 dev v0",
    )
    far.sum_by_itself("v1")  # or veth would leave the sums within a datagram to whoever opens it
    far.run(
        "ip addr add 10.2.0.1/24 dev v1 && ip addr add 192.168.7.2/24 dev v1",
        "ip link add vx0 type vxlan id 7 local 192.168.7.2 remote 192.168.7.1 dstport 4789",
        "ip addr add 10.3.0.1/24 dev vx0 && ip link set vx0 up",
    )
    guest = lab.guest(near, ECHO, "tap=tap0", "nic=v0", "vxlan=192.168.7.2,vni=7")
    guest.wait_for(b"serving")
    for host, address in ((near, "10.1.0.2"), (far, "10.2.0.2"), (far, "10.3.0.2")):
        with host.entered():
            connection = socket.create_connection((address, 4000), timeout=60)
        with connection:
            end = End(connection, 20 * MB)
            end.join(120)
        assert end.received == end.sent


def as_nobody(host: Host, words: str, tmp_path: Path) -> str:
    """What somebody without rights is told who opens that link there; /dev/net/tun is everybody's, as it usually is."""
    script = tmp_path / "open.sh"
    script.write_text(
        "mount -t tmpfs none $1 && mknod $1/tun c 10 200 && chmod 666 $1/tun && mount --bind $1/tun /dev/net/tun\n"
        f"exec setpriv --reuid 65534 --clear-groups --no-new-privs {sys.executable} -c '{OPEN}' {words}\n"
    )
    command = [*host.within, "unshare", "--mount", "sh", "-e", str(script), str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if "mount:" in told.stderr or "mknod:" in told.stderr:
        pytest.skip(f"this host gives us no device for TAPs: {told.stderr.strip()}")
    return told.stdout + told.stderr


OPEN = """
import sys
from xenia.errors import ConfigError
from xenia.net.links import open_link, parse_link
try:
    print("mtu", open_link(parse_link(sys.argv[1], sys.argv[2:])).spec.mtu)
except ConfigError as error:
    print(error)
"""


def test_without_rights_ones_own_tap_is_opened_and_all_else_is_one_line(lab: Lab, tmp_path: Path) -> None:
    host = lab.host(
        "ip tuntap add tap0 mode tap user 65534", "ip tuntap add tap1 mode tap user 1", "ip link add br0 type bridge"
    )
    assert as_nobody(host, "tap=tap0", tmp_path) == "mtu 1500\n"
    assert "there is none, and making one needs rights: sudo ip tuntap add dev tap2 mode tap user nobody" in as_nobody(
        host, "tap=tap2", tmp_path
    )
    assert "tap=tap1: it belongs to somebody else" in as_nobody(host, "tap=tap1", tmp_path)
    assert "sudo ip link set tap0 master br0" in as_nobody(host, "tap=tap0 master=br0", tmp_path)
    assert "needs the right to open raw sockets" in as_nobody(host, "nic=lo", tmp_path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("tap=lo",), "tap=lo: that is no TAP with one queue"),
        (("tap=with/slash",), "cannot be an interface's name"),
        (("tap=new0", "master=br9"), "this host has no interface 'br9'"),
        (("tap=new0", "master=lo"), "that is no bridge"),
        (("nic=eth9",), "this host has no interface 'eth9'"),
        (("macvtap=lo",), "'lo' is no macvtap"),
        (("macvtap=mv9",), "sudo ip link add link eth0 name mv9 type macvtap"),
    ],
)
def test_an_interface_that_cannot_be_used_is_one_line(lab: Lab, words: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        lab.opened(lab.host(), *words)
