"""The way out: what passes, what is refused and how, and what is bounded."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from scapy.layers.dhcp6 import (
    DUID_LL,
    DHCP6_InfoRequest,
    DHCP6_Reply,
    DHCP6OptClientId,
    DHCP6OptDNSServers,
    DHCP6OptOptReq,
)
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

from tests.unit.net.service.tcp import Connection
from tests.unit.net.service.wire import Guest, address_of, guest
from xenia.errors import ConfigError
from xenia.net.service.client import NetworkClient, NetworkConfig, start_network

GSO_TCPV4, GSO_TCPV6 = 1, 4


@pytest.fixture(scope="module")
def client() -> Iterator[NetworkClient]:
    network = start_network(NetworkConfig(flows=64))
    yield network
    network.close()


@pytest.fixture
def one(client: NetworkClient) -> Iterator[Guest]:
    while client.show()["ports"]:  # the last one's leaves when its socket is seen to be closed
        pass
    with guest(client) as made:
        yield made


@contextmanager
def server(
    client: NetworkClient, address: str = "127.0.0.1", kind: int = socket.SOCK_STREAM
) -> Iterator[socket.socket]:
    """A socket of the host's loopback that guests may reach."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as made:
        made.bind((address, 0))
        made.settimeout(10)
        if kind == socket.SOCK_STREAM:
            made.listen(64)
        client.ask("host", port=made.getsockname()[1])
        yield made
        client.ask("unhost", port=made.getsockname()[1])


def own_addresses() -> list[str]:
    """Addresses of this host, other than its loopback."""
    found = []
    for family, outside in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((outside, 9))  # nothing is sent
            except OSError:
                continue
            found.append(probe.getsockname()[0])
    return found


FORBIDDEN = [
    "127.0.0.1", "127.8.9.10", "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "240.0.0.1",
    "10.0.2.99", "10.0.2.2", "10.0.2.3",
]  # fmt: skip
FORBIDDEN6 = ["::1", "::", "::ffff:127.0.0.1", "::127.0.0.1", "::ffff:8.8.8.8", "fd00:78:656e::99", "fd00:78:656e::2"]


@pytest.mark.parametrize("address", [*FORBIDDEN, *own_addresses()])
def test_the_host_is_refused_over_tcp_with_a_reset(one: Guest, address: str) -> None:
    answer = Connection(one, address, 22).knock()
    assert answer[TCP].flags == "RA"
    assert answer[IPv6 if ":" in address else IP].src == address


@pytest.mark.parametrize("address", FORBIDDEN6)
def test_the_host_is_refused_over_ipv6_too(one: Guest, address: str) -> None:
    answer = Connection(one, address, 22).knock()
    assert answer[TCP].flags == "RA"
    assert answer[IPv6].src == str(IPv6(dst=address).dst)


@pytest.mark.parametrize("address", [*FORBIDDEN, *(own for own in own_addresses() if ":" not in own)])
def test_the_host_is_refused_over_udp_as_a_port_that_is_not_there(one: Guest, address: str) -> None:
    answer = one.ask(IP(src=one.ip, dst=address) / UDP(sport=5000, dport=9999) / b"x", lambda got: ICMP in got)
    assert (answer[ICMP].type, answer[ICMP].code, answer[IP].src) == (3, 3, address)
    assert answer[ICMP].payload.dst == address


@pytest.mark.parametrize("address", FORBIDDEN6)
def test_the_host_is_refused_over_udp_and_ipv6_too(one: Guest, address: str) -> None:
    packet = IPv6(src=one.ip6, dst=address) / UDP(sport=5000, dport=9999) / b"x"
    assert one.ask(packet, lambda got: ICMPv6DestUnreach in got)[ICMPv6DestUnreach].code == 4


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.0.2.99"])
def test_echoes_to_the_host_are_prohibited(one: Guest, address: str) -> None:
    answer = one.ask(IP(src=one.ip, dst=address) / ICMP(id=5), lambda got: ICMP in got)
    assert (answer[ICMP].type, answer[ICMP].code) == (3, 13)


@pytest.mark.parametrize("target", ["224.0.0.251", "239.1.2.3", "255.255.255.255", "10.0.2.255"])
def test_what_is_for_many_goes_nowhere(client: NetworkClient, one: Guest, target: str) -> None:
    before = client.show()["nat"]
    one.send(Ether(src=one.mac, dst="ff:ff:ff:ff:ff:ff") / IP(src=one.ip, dst=target) / UDP(sport=1, dport=5353) / b"x")
    one.ask(IP(src=one.ip, dst="10.0.2.2") / ICMP(id=6), lambda got: ICMP in got)
    after = client.show()["nat"]
    assert (after["dropped"] - before["dropped"], after["sockets"]) == (1, before["sockets"])


def test_fragments_to_the_host_are_dropped_whatever_they_say(client: NetworkClient, one: Guest) -> None:
    before = client.show()["nat"]
    with server(client) as loopback:
        for target, port in (("10.0.2.2", loopback.getsockname()[1]), ("127.0.0.1", 9999)):
            one.send(IP(src=one.ip, dst=target, id=1, flags="MF") / UDP(sport=1, dport=port, len=1608) / bytes(792))
            one.send(IP(src=one.ip, dst=target, id=1, frag=100, proto=17) / bytes(808))
    one.ask(IP(src=one.ip, dst="10.0.2.2") / ICMP(id=6), lambda got: ICMP in got and got[ICMP].type == 0)
    assert client.show()["nat"]["sockets"] == before["sockets"]


@pytest.mark.parametrize("group", ["ff01::1", "ff02::1", "ff05::1:3"])
def test_groups_of_the_host_are_not_reached_at_the_port_of_dhcp(client: NetworkClient, one: Guest, group: str) -> None:
    before = client.show()["nat"]
    one.send(IPv6(src=one.ip6, dst=group) / UDP(sport=700, dport=547) / b"x")
    one.ask(IP(src=one.ip, dst="10.0.2.2") / ICMP(id=6), lambda got: ICMP in got)
    after = client.show()["nat"]
    assert (after["dropped"] - before["dropped"], after["sockets"]) == (1, before["sockets"])


def test_a_port_of_the_host_that_was_named_is_reached_at_the_gateway(client: NetworkClient, one: Guest) -> None:
    with server(client) as loopback:
        connection = Connection(one, "10.0.2.2", loopback.getsockname()[1]).open()
        accepted, _ = loopback.accept()
        with accepted:
            connection.send(b"hello")
            assert accepted.recv(100) == b"hello"
            accepted.sendall(b"and to you")
            assert connection.receive(10) == b"and to you"
    assert Connection(one, "10.0.2.2", connection.port).knock()[TCP].flags == "RA"


def test_a_udp_port_of_the_host_that_was_named_is_reached_too(client: NetworkClient, one: Guest) -> None:
    with server(client, kind=socket.SOCK_DGRAM) as loopback:
        port = loopback.getsockname()[1]
        one.send(IP(src=one.ip, dst="10.0.2.2") / UDP(sport=5001, dport=port) / b"question")
        data, place = loopback.recvfrom(100)
        assert data == b"question"
        loopback.sendto(b"answer", place)
        answer = one.expect(lambda got: UDP in got)
        assert (answer[IP].src, answer[UDP].sport, answer[UDP].dport) == ("10.0.2.2", port, 5001)
        assert bytes(answer[UDP].payload)[:6] == b"answer"


def test_a_segment_of_60_kb_passes_whole_whatever_its_checksum_says(client: NetworkClient, one: Guest) -> None:
    data = os.urandom(60000)
    with server(client) as loopback:
        connection = Connection(one, "10.0.2.2", loopback.getsockname()[1]).open()
        accepted, _ = loopback.accept()
        with accepted:
            connection.send(data)
            received = b""
            while len(received) < len(data):
                received += accepted.recv(65536)
            assert received == data


@pytest.mark.parametrize("mss", [1460, 1000, 8960])
def test_what_the_guest_gets_is_to_be_cut_to_what_it_said(client: NetworkClient, one: Guest, mss: int) -> None:
    data = os.urandom(200000)
    with server(client) as loopback:
        connection = Connection(one, "10.0.2.2", loopback.getsockname()[1], mss).open()
        accepted, _ = loopback.accept()
        with accepted:
            threading.Thread(target=accepted.sendall, args=(data,)).start()
            assert connection.receive(len(data)) == data
    large = [frame for frame in connection.frames if len(frame.data) > mss + 54]
    assert max(len(frame.data) for frame in large) > 16000
    assert {(frame.gso_type, frame.gso_size, frame.hdr_len) for frame in large} == {(GSO_TCPV4, mss, 54)}
    assert {(frame.flags, frame.csum_start, frame.csum_offset) for frame in large} == {(1, 34, 16)}


def test_ipv6_reaches_the_hosts_loopback_too(client: NetworkClient, one: Guest) -> None:
    data = os.urandom(100000)
    try:
        with server(client, "::1") as loopback:
            connection = Connection(one, "fd00:78:656e::2", loopback.getsockname()[1], 1440).open()
            accepted, _ = loopback.accept()
            with accepted:
                connection.send(data[:50000])
                received = b""
                while len(received) < 50000:
                    received += accepted.recv(65536)
                threading.Thread(target=accepted.sendall, args=(data,)).start()
                assert connection.receive(len(data)) == data
    except OSError as error:
        pytest.skip(f"no IPv6 on this host: {error}")
    assert received == data[:50000]
    assert {frame.gso_size for frame in connection.frames if frame.gso_type == GSO_TCPV6} == {1440}


def test_routers_are_advertised_with_the_networks_prefix(one: Guest) -> None:
    link_local = address_of(one.mac, "fe80::")
    frame = Ether(src=one.mac, dst="33:33:00:00:00:02") / IPv6(src=link_local, dst="ff02::2", hlim=255) / ICMPv6ND_RS()
    one.send(frame)
    advertised = one.expect(lambda got: ICMPv6ND_RA in got)
    assert "fd00:78:656e::" in str(advertised.show(dump=True))


def test_who_asks_for_the_name_server_by_dhcpv6_is_told(one: Guest) -> None:
    local = address_of(one.mac, "fe80::")
    asked = DHCP6_InfoRequest(trid=77) / DHCP6OptClientId(duid=DUID_LL(lladdr=one.mac)) / DHCP6OptOptReq(reqopts=[23])
    to_all = Ether(src=one.mac, dst="33:33:00:01:00:02") / IPv6(src=local, dst="ff02::1:2")
    one.send(to_all / UDP(sport=546, dport=547) / asked)
    who = one.expect(lambda got: ICMPv6ND_NS in got and got[ICMPv6ND_NS].tgt == local)
    own = ICMPv6ND_NA(tgt=local, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=one.mac)
    one.send(IPv6(src=local, dst=who[IPv6].src, hlim=255) / own)
    told = one.expect(lambda got: DHCP6_Reply in got)
    assert told.dst == one.mac and told[DHCP6_Reply].trid == 77
    assert told[DHCP6OptDNSServers].dnsservers == ["fd00:78:656e::3"]


def test_the_gateway_answers_echoes_of_ipv6(one: Guest) -> None:
    answer = one.ask(
        IPv6(src=one.ip6, dst="fd00:78:656e::2") / ICMPv6EchoRequest(id=9), lambda got: ICMPv6EchoReply in got
    )
    assert answer[ICMPv6EchoReply].id == 9


def test_a_connection_that_is_half_closed_still_carries_the_other_way(client: NetworkClient, one: Guest) -> None:
    with server(client) as loopback:
        connection = Connection(one, "10.0.2.2", loopback.getsockname()[1]).open()
        accepted, _ = loopback.accept()
        with accepted:
            connection.send(b"question")
            connection.finish()
            assert accepted.recv(100) == b"question"
            assert accepted.recv(100) == b""
            accepted.sendall(b"answer")
            assert connection.receive(6) == b"answer"
        connection.end()


def test_resets_pass_both_ways(client: NetworkClient, one: Guest) -> None:
    with server(client) as loopback:
        connection = Connection(one, "10.0.2.2", loopback.getsockname()[1]).open()
        accepted, _ = loopback.accept()
        with accepted:
            connection.reset()
            assert accepted.recv(100) == b""
        connection = Connection(one, "10.0.2.2", loopback.getsockname()[1]).open()
        accepted, _ = loopback.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        accepted.close()
        one.expect(lambda got: connection.is_mine(got) and "R" in got[TCP].flags)


def test_a_port_where_nobody_listens_is_a_reset(client: NetworkClient, one: Guest) -> None:
    with server(client) as loopback:
        port = loopback.getsockname()[1]
    client.ask("host", port=port)
    assert "R" in Connection(one, "10.0.2.2", port).knock()[TCP].flags
    client.ask("unhost", port=port)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_of_the_host_leads_to_a_guest(client: NetworkClient, one: Guest, address: str) -> None:
    try:
        forward = client.forward(0, address=address, to=one.ip6 if ":" in address else one.name, to_port=80)
    except ConfigError as error:
        pytest.skip(f"no IPv6 on this host: {error}")
    with socket.create_connection((address, forward["port"])) as outside:
        syn = one.expect(lambda got: TCP in got and got[TCP].flags == "S")
        assert syn[TCP].dport == 80
        connection = Connection(one, syn[IPv6 if ":" in address else IP].src, syn[TCP].sport)
        connection.own, connection.received = 80, syn[TCP].seq + 1
        one.ask(connection.segment("SA", options=[("MSS", 1400)]), connection.is_mine)
        connection.sent += 1
        outside.sendall(b"x" * 5000)
        assert connection.receive(5000) == b"x" * 5000
        assert 1400 in {frame.gso_size for frame in connection.frames}
        connection.send(b"answer")
        assert outside.recv(100) == b"answer"
    client.unforward(forward["port"], address=address)
    with pytest.raises(ConnectionRefusedError):
        while True:  # until the thread that waited for the socket lets go of it
            socket.create_connection((address, forward["port"])).close()


def test_a_udp_port_of_the_host_leads_to_a_guest(client: NetworkClient, one: Guest) -> None:
    forward = client.forward(0, protocol="udp", to=one.name, to_port=53)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        outside.settimeout(10)
        outside.sendto(b"question", ("127.0.0.1", forward["port"]))
        asked = one.expect(lambda got: UDP in got)
        assert (asked[UDP].dport, bytes(asked[UDP].payload)[:8]) == (53, b"question")
        one.send(IP(src=one.ip, dst=asked[IP].src) / UDP(sport=53, dport=asked[UDP].sport) / b"answer")
        assert outside.recv(100) == b"answer"
    client.unforward(forward["port"], protocol="udp")


def test_a_port_that_is_taken_is_one_line_that_names_it(client: NetworkClient, one: Guest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}/tcp of 127.0.0.1 cannot be forwarded: another program"):
            client.forward(port, to=one.name)
    forward = client.forward(0, to=one.name, to_port=22)
    with pytest.raises(ConfigError, match=f"port {forward['port']}/tcp of 127.0.0.1 leads to {one.ip}:22 already"):
        client.forward(forward["port"], to=one.name, to_port=23)
    client.unforward(forward["port"])
    with pytest.raises(ConfigError, match=r"of 192\.0\.2\.1 cannot be forwarded: this host has no such address"):
        client.forward(2222, to=one.name, address="192.0.2.1")


def test_a_port_leads_to_the_card_that_says_it_and_one_of_two_is_named(client: NetworkClient) -> None:
    first, second = "00:16:3e:00:01:01", "00:16:3e:00:01:02"

    def plug(mac: str) -> tuple[socket.socket, str]:
        attached = client.attach("twin", mac)
        return socket.socket(fileno=attached.descriptor), str(attached.answer["ip"])

    def unplug(*ends: socket.socket) -> None:
        for end in ends:
            end.close()
        while client.show()["ports"]:
            pass

    while client.show()["ports"]:
        pass
    (one, ip), (other, ip2) = plug(first), plug(second)
    forward = client.forward(0, to="twin", card=second, to_port=80)
    assert forward["to"] == ip2
    with pytest.raises(ConfigError, match=f"'twin' has 2 cards in the network: say the address of one, of {ip}, {ip2}"):
        client.forward(0, to="twin")
    with pytest.raises(ConfigError, match="'twin' has 2 cards"):
        client.forward(0)
    named = client.forward(0, to=ip, to_port=80)
    assert named["to"] == ip
    client.unforward(named["port"])
    unplug(one, other)
    (one, _), (other, ip2) = plug(first), plug(second)
    (shown,) = client.show()["forwards"]
    assert (shown["to"], shown["there"]) == (ip2, True)
    client.unforward(forward["port"])
    unplug(one, other)


def test_a_guest_has_so_many_connections_and_others_have_theirs(client: NetworkClient, one: Guest) -> None:
    before = client.show()
    with server(client, kind=socket.SOCK_DGRAM) as loopback:
        port = loopback.getsockname()[1]
        for number in range(100):
            one.send(IP(src=one.ip, dst="10.0.2.2") / UDP(sport=6000 + number, dport=port) / b"x")
        refused = [one.expect(lambda got: ICMP in got and got[ICMP].payload.dport == port) for _ in range(36)]
        assert {packet[ICMP].code for packet in refused} == {3}
        assert Connection(one, "198.51.100.1", 80).knock()[TCP].flags == "RA"
        shown = client.show()
        assert (len(shown["flows"]) - len(before["flows"]), shown["nat"]["full"] - before["nat"]["full"]) == (64, 37)
        one.send(IP(src=one.ip, dst="10.0.2.2") / UDP(sport=6000, dport=port) / b"an old one")
        while loopback.recv(100) != b"an old one":
            pass


def test_who_asks_for_the_gateways_mac_is_told(one: Guest) -> None:
    for address in ("10.0.2.2", "10.0.2.3"):
        asked = Ether(src=one.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=one.mac, psrc=one.ip, pdst=address)
        one.send(asked)
        answer = one.expect(lambda got: ARP in got and got[ARP].op == 2)
        assert (answer[ARP].psrc, answer[ARP].hwsrc[:5]) == (address, "52:55")
