"""A network: its ports, the way out, and what it is asked to do with them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from xenia.errors import ConfigError
from xenia.jail.kinds import Kind
from xenia.machine.loop import Loop
from xenia.machine.thread import HostThread
from xenia.net.bridge import Bridge, Joint
from xenia.net.layers.capture import Capture
from xenia.net.layers.claims import Claims
from xenia.net.layers.guard import Guard
from xenia.net.link import Link
from xenia.net.links import LinkSpec, make_link
from xenia.net.nat import slirp
from xenia.net.nat.book import AddressBook
from xenia.net.nat.dns import Waiter
from xenia.net.nat.nat import Nat
from xenia.net.nat.plan import Plan
from xenia.net.nat.servers import Servers
from xenia.net.policer import Policer
from xenia.net.port import Port
from xenia.net.service.backlog import Backlog
from xenia.net.service.client import NetworkConfig
from xenia.net.service.forwards import Forward, Forwards
from xenia.net.share import Share, Shares
from xenia.net.stream import StreamLink

LEAST_MTU, MOST_MTU = 68, 9000  # of a card
_DOMAIN_SOCKET_BYTES = 256 << 10  # a neighbour's flood stands in it before what comes next; a backlog keeps the rest


@dataclass
class Member:
    """A port of the network with somebody at it: a guest's card, with its MAC and a guard, or a link to elsewhere.

    The bridge's port, a backlog, the guard, a capture and the link are plugged into each other in this order.
    """

    number: int
    name: str
    link: Port
    capture: Capture
    backlog: Backlog
    joint: Joint
    mac: bytes | None = None
    guard: Guard | None = None
    words: Sequence[str] = ()
    share: Share | None = None
    addresses: Sequence[str] = ()

    def disclaim(self, addresses: Sequence[str]) -> None:
        """Those are another card's from now on."""
        for address in addresses:
            if self.guard is not None and ":" in address:
                self.guard.disclaim(address)


class Network:
    """What one process serves.  `verbs` are protocol's; all is called on one thread."""

    def __init__(self, config: NetworkConfig, waiter: Waiter, descriptors: int, in_order: bool) -> None:
        """ConfigError where it cannot be had."""
        self._config = config
        self._plan = Plan.read(config.subnet, config.subnet6, config.domain, config.mtu)
        self._members: dict[int, Member] = {}
        self._bridge = Bridge()
        self._forwards: Forwards | None = None
        self._next_port = 1
        self._version: str | None = None
        self.book = AddressBook(self._plan, in_order)
        self.nat: Nat | None = None
        self._way_out: Joint | None = None
        self._claims: Claims | None = None
        self._loop = Loop()
        self._shares = Shares(self._loop)
        self.servers: Servers | None = None
        if config.nat:
            self._version = slirp.load(config.libraries)
            self.nat = Nat(self._plan, descriptors, config.flows, self._shares.enter())
            self._forwards = Forwards(self.nat)
            self.servers = Servers(self._plan, self.book, self.nat, waiter, self._address6)
            self._claims = None if self._plan.subnet6 is None else Claims(str(self._plan.subnet6))
            self._way_out = self._bridge.join(self.nat, "nat", macs=self._plan.macs)
        self._thread = HostThread(self._loop.run, "network", Kind.NETWORK)
        self.gone: Callable[[int], object] = lambda port: None
        self.verbs: Mapping[str, Callable[..., Any]] = {
            "hello": self.hello, "attach": self.attach, "detach": self.detach, "show": self.show,
            "forward": self.forward, "unforward": self.unforward, "host": self.host, "unhost": self.unhost,
            "expect": self.expect, "join": self.join, "capture": self.capture, "uncapture": self.uncapture,
        }  # fmt: skip

    def start(self) -> None:
        """Serve.  Precondition: the walls are closed."""
        if self.nat is not None:
            self._loop.add(self.nat.source)
        self._thread.start()

    def close(self) -> None:
        """End all of it."""
        for port in list(self._members):
            self.detach([], port)
        self._loop.stop()
        self._thread.end()
        if self._way_out is not None:
            self._way_out.close()
        if self.nat is not None:
            self.nat.close()

    # --- what it is asked ---------------------------------------------------------------------------------------------

    def hello(self, _: list[int]) -> dict[str, Any]:
        """What it is."""
        plan = self._plan
        return {
            "name": self._config.name, "pid": os.getpid(), "nat": self.nat is not None, "version": self._version,
            "subnet": str(plan.subnet), "gateway": str(plan.gateway), "dns": str(plan.nameserver),
            "subnet6": _text(plan.subnet6), "gateway6": _text(plan.gateway6), "dns6": _text(plan.nameserver6),
            "domain": plan.domain,
        }  # fmt: skip

    def attach(
        self, made: list[int], name: str, mac: str, vnet: bool = True, mtu: int | None = None, ip: str | None = None,
        spoof: bool = False, isolated: bool = False, mirror: bool = False, unanswered: bool = False, vlan: int = 0,
        trunk: list[int] | str | None = None, also: list[str] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """A port for a card."""
        packed = _mac(mac)
        port = self._next_port
        if mtu is not None and not LEAST_MTU <= mtu <= MOST_MTU:
            raise ConfigError(f"mtu={mtu}: a card's is from {LEAST_MTU} to {MOST_MTU} bytes")
        entry = self.book.reserve(packed, name, port, None if ip is None else _address4(ip))
        entry.mtu = mtu
        elsewhere = bool(vlan or trunk)  # the way out, which gives addresses, is in no VLAN
        own = [str(entry.address), *(also or ())] if self.nat is not None and not elsewhere else []
        claims = None if elsewhere else self._claims
        place = {
            "isolated": isolated, "mirror": mirror, "unanswered": unanswered, "vlan": vlan, "trunk": trunk or (),
        }  # fmt: skip
        share = self._shares.enter()
        try:
            if self.nat is not None and not elsewhere and not mirror:
                self.nat.enter(packed, share)
            ours, theirs = _pair()
            with ours, theirs:
                link = StreamLink(ours.detach(), vnet=vnet, share=share)
                capture = Capture(link, name, packed.hex(":"))
                guard = Guard(capture, packed.hex(":"), own, self._reserved, on=not spoof, inward=True, claims=claims)
                for other in self._members.values() if claims is not None else ():
                    other.disclaim(own)
                backlog = Backlog(guard)
                try:
                    macs, policer = [] if spoof else [packed.hex(":")], Policer(share)
                    joint = self._bridge.join(backlog, str(port), macs=macs, policer=policer, **place)
                except BaseException:
                    backlog.close()
                    raise
                made.append(theirs.detach())
        except BaseException as error:
            self.book.leave(port)
            self._shares.leave(share)
            if self.nat is not None:
                self.nat.forget(packed)
            if isinstance(error, OSError):
                raise ConfigError(f"{name} cannot be plugged in: {error.strerror}") from None
            raise
        addresses = own if claims is None else [*own, claims.address_of(packed)]
        self._enter(Member(port, name, link, capture, backlog, joint, packed, guard, _words(place), share, addresses))
        plan = self._plan
        return {
            "port": port, "ip": str(entry.address), "gateway": str(plan.gateway), "dns": str(plan.nameserver),
            "domain": plan.domain,
        }  # fmt: skip

    def expect(self, _: list[int], name: str, mac: str, ip: str | None = None) -> dict[str, Any]:
        """A card that is behind a joined link: its address and its name are its own."""
        port = self._next_port
        entry = self.book.reserve(_mac(mac), name, port, None if ip is None else _address4(ip))
        if self._forwards is not None:
            self._forwards.came(entry.mac, name, [str(entry.address), *self._addresses6(entry.mac)])
        self._next_port += 1
        return {"port": port, "ip": str(entry.address)}

    def join(
        self, files: list[int], name: str, link: Mapping[str, Any], isolated: bool = False, mirror: bool = False,
        vlan: int = 0, trunk: list[int] | str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """A port for a link to elsewhere."""
        place = {"isolated": isolated, "mirror": mirror, "vlan": vlan, "trunk": trunk or ()}
        given = dict(link)
        try:
            spec = LinkSpec(**{**given, "options": tuple(given.get("options", ()))})
            made = make_link(spec, tuple(files))
        except (TypeError, KeyError, IndexError) as error:
            raise ConfigError(f"that is no link: {error}") from None
        files.clear()
        port = self._next_port
        capture = Capture(made, name)
        backlog = Backlog(capture)
        try:
            joint = self._bridge.join(backlog, str(port), **place)
        except BaseException:
            backlog.close()
            raise
        self._enter(Member(port, name, made, capture, backlog, joint, words=_words(place)))
        return {"port": port}

    def _enter(self, member: Member) -> None:
        self._members[member.number] = member
        self._next_port += 1
        if isinstance(member.link, Link):
            if member.mac is not None:
                member.link.on_carrier(lambda carries: None if carries else self.gone(member.number))
                if self._forwards is not None:
                    self._forwards.came(member.mac, member.name, member.addresses)
            self._loop.add(member.link.source)

    def detach(self, _: list[int], port: int) -> None:
        """Take a port away."""
        member = self._members.pop(port, None)
        left = self.book.leave(port)
        if left is None and member is None:
            raise ConfigError(f"the network '{self._config.name}' has no port {port}")
        if member is not None:
            member.joint.close()
            member.backlog.close()
            if member.share is not None:
                self._shares.leave(member.share)
        if self._forwards is not None and self.nat is not None and left is not None:
            self._forwards.left(left.mac)
            self.nat.forget(left.mac)

    def capture(self, files: list[int], port: int) -> dict[str, Any]:
        """Write what passes a port into a file."""
        if len(files) != 1:
            raise ConfigError("a capture is written into one open file")
        self._member(port).capture.start(files[0])
        files.clear()
        return {"capture": port}

    def uncapture(self, _: list[int], capture: int) -> None:
        """No more."""
        self._member(capture).capture.stop()

    def _member(self, port: int) -> Member:
        if port not in self._members:
            raise ConfigError(f"the network '{self._config.name}' has no port {port}")
        return self._members[port]

    def forward(
        self, _: list[int], port: int, protocol: str = "tcp", address: str = "127.0.0.1", to: str | None = None,
        to_port: int | None = None, card: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Have a port of the host lead to a guest: to that card of its, where it may have several."""
        if self._forwards is None:
            raise ConfigError(f"the network '{self._config.name}' has no way out, and so no port leads into it")
        if protocol not in ("tcp", "udp"):
            raise ConfigError(f"there is no forward for '{protocol}': it is tcp or udp")
        mac = None if card is None else _mac(card)
        forward = Forward(protocol, address, port, self._guest(to, address, mac), to_port or port)
        for entry in self.book:
            addresses = (str(entry.address), *self._addresses6(entry.mac))
            if entry.port is not None and forward.to in addresses:
                forward.card, forward.mac, forward.guest = entry.mac, entry.mac, entry.name
        return self._forwards.add(forward).as_dict()

    def unforward(self, _: list[int], port: int, protocol: str = "tcp", address: str = "127.0.0.1") -> None:
        """Take that away: nobody is let in by it, and the port is free, when this returns."""
        if self._forwards is None:
            raise ConfigError(f"port {port}/{protocol} of {address} is not forwarded")
        self._forwards.remove(protocol, address, port)

    def host(self, _: list[int], port: int) -> None:
        """Let guests reach a port of the host's loopback."""
        self._reach(port, True)

    def unhost(self, _: list[int], port: int) -> None:
        """Let them no more."""
        self._reach(port, False)

    def show(self, _: list[int]) -> dict[str, Any]:
        """All there is to know of it."""
        nat = self.nat
        return {
            "name": self._config.name,
            "hello": self.hello([]),
            "nat": dict(nat.statistics) if nat is not None else {},
            "ports": [self._shown(member) for member in self._members.values()],
            "addresses": [
                {"mac": known.mac, "vlan": known.vlan, "port": known.port, "age": known.age}
                for known in self._bridge.addresses()
            ],
            "leases": [
                {"mac": entry.mac.hex(":"), "ip": str(entry.address), "name": entry.name, "port": entry.port,
                 "leased": entry.leased, "left": self.book.left(entry)}
                for entry in self.book
            ],
            "forwards": self._forwards.listed() if self._forwards is not None else [],
            "host": nat.gate.reached_host() if nat is not None else [],
            "flows": nat.list_flows() if nat is not None else [],
        }  # fmt: skip

    def _shown(self, member: Member) -> dict[str, Any]:
        entry = None if member.mac is None else self.book.of(member.mac)
        switch = member.joint.inner.statistics()
        return {
            "port": member.number, "name": member.name, "kind": "uplink" if member.mac is None else "card",
            "words": list(member.words), "mac": None if member.mac is None else member.mac.hex(":"),
            "ip": None if entry is None else str(entry.address),
            **(member.link.statistics if isinstance(member.link, Link) else {}),
            "waiting": member.backlog.kept_bytes, "overflown": member.backlog.dropped,
            "guard": None if member.guard is None else member.guard.counts(),
            "share": None if member.share is None else {"spent": member.share.total, "waits": member.share.nr_waits},
            "flooded": switch.flooded, "undelivered": switch.dropped,
        }  # fmt: skip

    @property
    def _reserved(self) -> list[str]:
        """The network's own addresses."""
        plan = self._plan
        own = (plan.gateway, plan.nameserver, plan.gateway6, plan.nameserver6) if self.nat is not None else ()
        return [str(address) for address in own if address is not None]

    def _reach(self, port: int, reached: bool) -> None:
        if self.nat is None:
            raise ConfigError(f"the network '{self._config.name}' has no way out, and so none to the host")
        if not 0 < port < 65536:
            raise ConfigError(f"there is no port {port}")
        self.nat.gate.reach_host(port, reached)

    def _addresses6(self, mac: bytes) -> list[str]:
        """The IPv6 addresses of the network that a card uses, or would make of its MAC."""
        guards = [member.guard for member in self._members.values() if member.mac == mac and member.guard is not None]
        heard = [address for guard in guards for address in (*guard.own_addresses, *guard.addresses)]
        made = [] if self._claims is None else [self._claims.address_of(mac)]
        return [each for each in (*heard, *made) if _is_in(each, self._plan.subnet6)]

    def _address6(self, mac: bytes) -> IPv6Address | None:
        """The IPv6 address of the network that a card uses, as far as it was heard of."""
        guards = [member.guard for member in self._members.values() if member.mac == mac and member.guard is not None]
        found = (address for guard in guards for address in guard.own_addresses)
        return next((IPv6Address(each) for each in found if _is_in(each, self._plan.subnet6)), None)

    def _guest(self, to: str | None, address: str, mac: bytes | None) -> str:
        """The address of a guest by its name, or its address; None: of the only one.  Of the family of `address`."""
        family = _address(address).version
        if to is None:
            guests = sorted({entry.name for entry in self.book if entry.port is not None})
            if not guests:
                raise ConfigError("no guest is in the network that a port could lead to: say which one it is for")
            if len(guests) > 1:
                raise ConfigError(f"say which guest a port is to lead to, of {', '.join(guests)}")
            (to,) = guests
        entries = [entry for entry in self.book.named(to) if mac in (None, entry.mac)]
        if len(entries) > 1:
            places = ", ".join(str(entry.address) for entry in entries)
            raise ConfigError(f"'{to}' has {len(entries)} cards in the network: say the address of one, of {places}")
        if entries:
            found: IPv4Address | IPv6Address | None = entries[0].address
            if family == 6:
                found = next((IPv6Address(each) for each in self._addresses6(entries[0].mac)), None)
        else:
            try:
                found = ip_address(to)
            except ValueError:
                raise ConfigError(f"the network '{self._config.name}' has no guest '{to}'") from None
        subnet = self._plan.subnet if family == 4 else self._plan.subnet6
        if found is None or subnet is None or found not in subnet:
            raise ConfigError(f"{to} has no address of the network that {address} can lead to: that is in {subnet}")
        return str(found)


def _pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a card's stream.  OSError."""
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _DOMAIN_SOCKET_BYTES)
    return ends


def _mac(text: str) -> bytes:
    try:
        packed = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        packed = b""
    if len(packed) != 6 or packed[0] & 1:
        raise ConfigError(f"{text} is no address of a card, such as 00:16:3e:00:00:01")
    return packed


def _address4(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise ConfigError(f"ip={text} is no IPv4 address") from None


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise ConfigError(f"{text} is no address") from None


def _is_in(address: str, subnet: IPv6Network | None) -> bool:
    return subnet is not None and ":" in address and "/" not in address and IPv6Address(address) in subnet


def _words(place: Mapping[str, Any]) -> list[str]:
    """What a port of the bridge is, as an operator says it."""
    numbers = {key: value if isinstance(value, list) else [value] for key, value in place.items() if value}
    return [f"{key}={'+'.join('on' if one is True else str(one) for one in each)}" for key, each in numbers.items()]


def _text(thing: object) -> str | None:
    return None if thing is None else str(thing)
