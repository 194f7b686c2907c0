"""Links by their words: opened with names and rights, made of descriptors alone."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Ether

from xenia.errors import ConfigError
from xenia.net import passt, reconnecting, sockets
from xenia.net.link import Link
from xenia.net.links import KINDS, LinkSpec, make_link, open_link, parse_link
from xenia.net.passt_link import PasstLink
from xenia.net.thread import LinkThread
from xenia.testing.net import Card
from xenia.testing.packet import Packet

FRAME = bytes(range(60))
LARGE = Packet(bytes(range(256)) * 250, flags=1, gso_type=1, hdr_len=54, gso_size=1448, csum_start=34, csum_offset=16)
Plug = Callable[..., Card]


@pytest.fixture
def plug() -> Iterator[Plug]:
    """Makes a link by its words, served until the test's end, with a card at it."""
    with ExitStack() as stack:
        thread = LinkThread()
        stack.callback(thread.close)

        def plug(words: str, *options: str) -> Card:
            opened = open_link(parse_link(words, options))
            port = make_link(opened.spec, opened.descriptors)
            card = Card(port)
            stack.callback(port.close)
            stack.callback(card.close)
            thread.add(port)
            return card

        yield plug


def unused_port() -> int:
    """One of TCP's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("options", [(), ("vnet=on",)])
def test_two_links_meet_at_a_path(plug: Plug, tmp_path: Path, options: tuple[str, ...]) -> None:
    one = plug(f"socket=listen:{tmp_path}/link", *options)
    other = plug(f"socket={tmp_path}/link", *options)
    sent = LARGE if options else Packet(FRAME)
    assert other.send(sent) == 1
    assert one.wait() == [sent]
    assert one.send(sent) == 1
    assert other.wait() == [sent]


def test_a_link_connects_again_as_soon_as_somebody_listens(plug: Plug, tmp_path: Path) -> None:
    path = tmp_path / "link"

    def listen() -> socket.socket:
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)
        return listener

    with listen() as first:
        card = plug(f"socket={path}")
        first.accept()[0].close()
    with listen() as second, second.accept()[0] as peer:
        peer.sendall(len(FRAME).to_bytes(4, "big") + FRAME)
        assert card.wait() == [Packet(FRAME)]


def test_a_closed_link_connects_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnecting, "FIRST_WAIT", 60.0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/link")
        listener.listen()
        opened = open_link(parse_link(f"socket={tmp_path}/link"))
        link = make_link(opened.spec, opened.descriptors)
        assert isinstance(link, Link)
        changed = threading.Event()
        link.on_carrier(lambda _: changed.set())
        thread = LinkThread()
        thread.add(link)
        listener.accept()[0].close()
        assert changed.wait(10)
        link.close()
        thread.close()
        for other in threading.enumerate():
            if other.name == "link again":
                other.join(10)
                assert not other.is_alive()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "", "[::1]"])
def test_two_links_meet_at_a_port(plug: Plug, host: str) -> None:
    place = f"{host}:{unused_port()}"
    one, other = plug(f"socket=listen:{place}"), plug(f"socket={place}")
    assert other.send(FRAME) == 1
    assert one.wait() == [Packet(FRAME)]


def test_only_the_same_user_connects_and_a_socket_left_behind_is_in_nobodys_way(plug: Plug, tmp_path: Path) -> None:
    path = tmp_path / "link"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    one = plug(f"socket=listen:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match=r"cannot listen for a link at .*: Address already in use"):
        open_link(parse_link(f"socket=listen:{path}"))
    other = plug(f"socket={path}")
    assert other.send(FRAME) == 1
    assert one.wait() == [Packet(FRAME)]


def test_where_nobody_listens_one_is_told_what_to_do(tmp_path: Path) -> None:
    for place in (f"{tmp_path}/link", f"127.0.0.1:{unused_port()}"):
        with pytest.raises(ConfigError, match=f"nobody listens there.*socket=listen:{place}"):
            open_link(parse_link(f"socket={place}"))


@pytest.mark.parametrize(
    ("words", "options", "told"),
    [
        ("token-ring", (), "there is no link 'token-ring'; there are null, socket"),
        ("socket", (), "'socket' names nothing: socket=NAME"),
        ("null=x", (), "'null' takes no name"),
        ("null", ("vnet=on",), "'null' knows no 'vnet=on'"),
        ("socket=listen:", (), "names no place"),
        ("socket=listen:80", (), "write socket=listen::80; for a path ./80"),
        ("socket=80", (), "write socket=:80; for a path ./80"),
        ("socket=127.0.0.1:70000", (), "'70000' is no port"),
        ("socket=no-such-host.invalid:7000", (), "no host is called 'no-such-host.invalid'"),
        ("socket=/x", ("vnet=maybe",), "write on or off"),
    ],
)
def test_words_without_sense_are_told_in_one_line(words: str, options: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        open_link(parse_link(words, options))
    assert "\n" not in str(error.value)


def test_two_tunnels_of_one_host_meet(plug: Plug) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = f"port={probe.getsockname()[1]}"
    one = plug("vxlan=127.0.0.2", "local=127.0.0.1", port)
    other = plug("vxlan=127.0.0.1", "local=127.0.0.2", port)
    stranger = plug("vxlan=127.0.0.1", "local=127.0.0.3", port)
    assert stranger.send(FRAME) == 1
    assert one.send(FRAME) == 1
    assert other.wait() == [Packet(FRAME)]
    assert other.send(FRAME[::-1]) == 1
    assert one.wait() == [Packet(FRAME[::-1])]


def test_a_tunnel_says_what_crosses_it_in_one_packet_and_a_card_may_want_less() -> None:
    for wanted, found in ((None, 9000), (1400, 1400), (1 << 17, 65535 - 50)):  # the loopback has more than a card
        opened = open_link(parse_link("vxlan=127.0.0.1", ("local=127.0.0.9",), wanted))
        assert opened.spec.mtu == found
        opened.close()


def test_a_null_link_takes_all(plug: Plug) -> None:
    assert plug("null").send(FRAME) == 1


def test_what_is_opened_may_be_given_up(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    opened = open_link(parse_link(f"socket=listen:{tmp_path}/link"))
    assert opened.spec == LinkSpec("socket", f"listen:{tmp_path}/link")
    opened.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_passt_is_told_what_to_forward_and_nothing_else_of_the_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "passt"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\nopen('{tmp_path}/told', 'w').write(' '.join(sys.argv[1:]))\n"
        "os.write(int(sys.argv[2]), b'ready')\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    forwards = ("forward=tcp:127.0.0.1:2222:22", "forward=udp:[::1]:5353:53")
    opened = open_link(parse_link("passt", forwards, mtu=1400))
    connection, addresses = opened.descriptors
    assert json.loads(os.read(addresses, 1 << 16)) == passt.own_addresses()
    os.close(addresses)
    with socket.socket(fileno=connection) as ours:
        assert ours.recv(10) == b"ready"
        assert ours.recv(10) == b""  # its end is its alone
    told = (tmp_path / "told").read_text().split()[2:]
    assert told == [
        "--quiet", "--no-map-gw", "--mtu", "1400", "--tcp-ports", "127.0.0.1/2222:22", "--udp-ports", "::1/5353:53",
    ]  # fmt: skip


def test_what_a_guest_sends_to_the_host_does_not_get_to_passt_and_what_it_needs_of_passt_does() -> None:
    own, own6 = "198.51.100.1", "2001:db8:1::1"
    ours, theirs = socket.socketpair()
    link = PasstLink(ours.detach(), [own, own6])
    card = Card(link)
    ack, udp, syn, echo = TCP(flags="A"), UDP(dport=9), TCP(flags="S"), ICMP()
    closed = [
        *(IP(dst=to) / what for to in (own, "127.0.0.1", "127.8.8.8", "0.0.0.0", "169.254.169.254", "224.0.0.251")
          for what in (syn, udp, echo)),
        IP(dst=own, options=[IPOption_NOP()] * 4) / syn, IP(dst=own) / TCP(flags="SF"), IP(dst=own, flags="MF") / ack,
        IP(dst=own, frag=1) / ack, IP(dst="255.255.255.255") / udp, IP(dst="127.0.0.1") / ack,
        *(IPv6(dst=to) / what for to in (own6, "::1", "::", "::ffff:127.0.0.1", "::127.0.0.1", f"::ffff:{own}")
          for what in (syn, udp, ICMPv6EchoRequest())),
        IPv6(dst="fe80::1") / syn, IPv6(dst="fe80::1") / udp, IPv6(dst="ff02::fb") / udp,
        IPv6(dst=own6) / IPv6ExtHdrDestOpt() / ack, IPv6(dst="ff02::fb") / IPv6ExtHdrHopByHop() / udp,
        *(IPv6(dst=to) / ICMPv6EchoRequest() for to in ("ff02::1", "ff0e::1", "fe80::1")),
        IPv6(dst="ff02::1") / IPv6ExtHdrHopByHop() / ICMPv6EchoRequest(),
        IPv6(dst="ff02::1") / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / udp,
    ]  # fmt: skip
    passes = [
        IP(dst=own) / ack, IPv6(dst=own6) / TCP(flags="SA"), IP(dst="255.255.255.255") / UDP(sport=68, dport=67),
        *(IP(dst="198.51.100.2") / what for what in (syn, udp, echo)), IPv6(dst="2001:db8:1::2") / syn,
        IPv6(dst="ff02::1:2") / UDP(dport=547), IPv6(dst="ff02::2") / ICMPv6ND_RS(), ARP(pdst=own),
        IPv6(dst="fe80::1") / ICMPv6ND_NS(), IPv6(dst="fe80::1") / UDP(dport=53),
        IPv6(dst="ff02::16") / IPv6ExtHdrHopByHop() / ICMPv6MLReport2(),
    ]  # fmt: skip
    frames = [bytes(Ether(src="00:16:3e:00:00:01", dst="52:55:0a:00:02:02") / each) for each in (*closed, *passes)]
    try:
        for batch in (frames[::2], frames[1::2], frames[-20:], frames[:-20]):
            assert card.send(*map(Packet, batch)) == len(batch)
        assert link.statistics["closed"] == 2 * len(closed)
        came = b""
        while link.statistics["sent_bytes"] + 4 * link.statistics["sent"] > len(came):
            came += theirs.recv(1 << 16)
        got = []
        while came:
            length = int.from_bytes(came[:4], "big")
            got.append(came[4 : 4 + length])
            came = came[4 + length :]
        assert sorted(got) == sorted(2 * frames[len(closed) :])
    finally:
        card.close()
        link.close()
        theirs.close()


def test_the_hosts_own_addresses_are_known() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("the host has no address but its loopback's")
        assert probe.getsockname()[0] in passt.own_addresses()


def test_passt_that_is_not_there_or_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="passt is not installed: install the package passt"):
        passt.start([], 1500)
    program = tmp_path / "passt"
    program.write_text("#!/bin/sh\necho No interfaces with a default route >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(ConfigError, match="passt does not start: No interfaces with a default route"):
        passt.start([], 1500)


def test_every_kind_is_parsed_by_its_word() -> None:
    for word, kind in KINDS.items():
        assert parse_link(f"{word}=x" if kind.named else word).kind == word


def test_a_place_is_a_path_or_a_host_and_a_port() -> None:
    assert not sockets.listens("/run/link")
    assert sockets.listens("listen:/run/link")
