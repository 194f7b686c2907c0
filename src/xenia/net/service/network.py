"""A network: its ports, the way out, and what it is asked to do with them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from xenia.errors import ConfigError
from xenia.jail.kinds import Kind
from xenia.machine.thread import HostThread
from xenia.net.layers.guard import Guard
from xenia.net.loop import Loop
from xenia.net.nat import slirp
from xenia.net.nat.book import AddressBook
from xenia.net.nat.dns import Waiter
from xenia.net.nat.nat import Nat
from xenia.net.nat.plan import Plan
from xenia.net.nat.servers import Servers
from xenia.net.service.backlog import Backlog
from xenia.net.service.client import NetworkConfig
from xenia.net.service.joint import Joint
from xenia.net.stream import StreamLink

_DOMAIN_SOCKET_BYTES = 4 << 20  # of which the host gives an unprivileged user what net.core.wmem_max says


@dataclass
class Card:
    """A port with a guest's card at it."""

    port: int
    name: str
    mac: bytes
    link: StreamLink
    guard: Guard
    backlog: Backlog
    joint: Joint | None = None


@dataclass(frozen=True)
class Forward:
    """A port of the host's that leads to a guest."""

    protocol: str
    address: str
    port: int
    to: str
    to_port: int

    def as_dict(self) -> dict[str, Any]:
        """As it is told."""
        return {key: getattr(self, key) for key in ("protocol", "address", "port", "to", "to_port")}


class Network:
    """What one process serves.  `verbs` are protocol's; all is called on one thread."""

    def __init__(self, config: NetworkConfig, waiter: Waiter, descriptors: int, in_order: bool) -> None:
        """ConfigError where it cannot be had."""
        self._config = config
        self._plan = Plan.read(config.subnet, config.subnet6, config.domain, config.mtu)
        self._cards: dict[int, Card] = {}
        self._forwards: dict[tuple[str, str, int], Forward] = {}
        self._next_port = 1
        self._version: str | None = None
        self.book = AddressBook(self._plan, in_order)
        self.nat: Nat | None = None
        self.servers: Servers | None = None
        if config.nat:
            self._version = slirp.load(config.libraries)
            self.nat = Nat(self._plan, descriptors, config.flows)
            self.servers = Servers(self._plan, self.book, self.nat, waiter)
        self._loop = Loop()
        self._thread = HostThread(self._loop.run, "network", Kind.NETWORK)
        self.gone: Callable[[int], object] = lambda port: None
        self.verbs: Mapping[str, Callable[..., Any]] = {
            "hello": self.hello, "attach": self.attach, "detach": self.detach, "show": self.show,
            "forward": self.forward, "unforward": self.unforward, "host": self.host, "unhost": self.unhost,
        }  # fmt: skip

    def start(self) -> None:
        """Serve.  Precondition: the walls are closed."""
        if self.nat is not None:
            self._loop.add(self.nat.source)
        self._thread.start()

    def close(self) -> None:
        """End all of it."""
        for port in list(self._cards):
            self.detach([], port)
        self._loop.stop()
        self._thread.end()
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
        spoof: bool = False, isolated: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """A port for a card."""
        packed = _mac(mac)
        port = self._next_port
        entry = self.book.reserve(packed, name, port, None if ip is None else _address4(ip))
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self.book.leave(port)
            raise ConfigError(f"no socket for {name}: {error.strerror}") from None
        with ours, theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _DOMAIN_SOCKET_BYTES)
            link = StreamLink(ours.detach(), vnet=vnet)
            own = [str(entry.address)] if self.nat is not None else []
            guard = Guard(link, packed.hex(":"), own, self._reserved, on=not spoof, inward=True)
            card = Card(port, name, packed, link, guard, Backlog(guard))
            self._plug_in(card)
            made.append(theirs.detach())
        self._cards[port] = card
        self._next_port += 1
        link.on_carrier(lambda carries: None if carries else self.gone(port))
        self._loop.add(link.source)
        plan = self._plan
        return {
            "port": port, "ip": str(entry.address), "gateway": str(plan.gateway), "dns": str(plan.nameserver),
            "domain": plan.domain,
        }  # fmt: skip

    def _plug_in(self, card: Card) -> None:
        if self.nat is not None and not self._cards:
            card.joint = Joint(card.backlog, self.nat)

    def detach(self, _: list[int], port: int) -> None:
        """Take a port away."""
        card = self._cards.pop(port, None)
        if card is None:
            raise ConfigError(f"the network '{self._config.name}' has no port {port}")
        if card.joint is not None:
            card.joint.close()
        card.backlog.close()
        self.book.leave(port)

    def forward(
        self, _: list[int], port: int, protocol: str = "tcp", address: str = "127.0.0.1", to: str | None = None,
        to_port: int | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Have a port of the host lead to a guest."""
        if self.nat is None:
            raise ConfigError(f"the network '{self._config.name}' has no way out, and so no port leads into it")
        if protocol not in ("tcp", "udp"):
            raise ConfigError(f"there is no forward for '{protocol}': it is tcp or udp")
        forward = Forward(protocol, address, port, self._guest(to, address), to_port or port)
        try:
            if port == 0:
                forward = replace(forward, port=_free_port(protocol, address))
            self.nat.forward(protocol, (address, forward.port), (forward.to, forward.to_port))
        except OSError as error:
            why = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
            raise ConfigError(f"port {port}/{protocol} of {address} cannot be forwarded: {why}") from None
        self._forwards[protocol, address, forward.port] = forward
        return forward.as_dict()

    def unforward(self, _: list[int], port: int, protocol: str = "tcp", address: str = "127.0.0.1") -> None:
        """Take that away."""
        if self.nat is None or self._forwards.pop((protocol, address, port), None) is None:
            raise ConfigError(f"port {port}/{protocol} of {address} is not forwarded")
        self.nat.unforward(protocol, (address, port))

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
            "ports": [self._shown(card) for card in self._cards.values()],
            "leases": [
                {"mac": entry.mac.hex(":"), "ip": str(entry.address), "name": entry.name, "port": entry.port,
                 "leased": entry.leased, "left": self.book.left(entry)}
                for entry in self.book
            ],
            "forwards": [forward.as_dict() for forward in self._forwards.values()],
            "host": nat.gate.reached_host() if nat is not None else [],
            "flows": nat.list_flows() if nat is not None else [],
        }  # fmt: skip

    def _shown(self, card: Card) -> dict[str, Any]:
        entry = self.book.of(card.mac)
        return {
            "port": card.port, "name": card.name, "mac": card.mac.hex(":"), "kind": "card",
            "ip": str(entry.address) if entry is not None else None, **card.link.statistics,
            "waiting": card.backlog.kept_bytes, "overflown": card.backlog.dropped, "guard": card.guard.counts(),
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

    def _guest(self, to: str | None, address: str) -> str:
        """The address of a guest by its name, or its address; None: of the only one.  Of the family of `address`."""
        family = _address(address).version
        if to is None:
            if len(self._cards) != 1:
                raise ConfigError("say which guest a port is to lead to: there is not exactly one in the network")
            to = next(iter(self._cards.values())).name
        entries = [entry for entry in self.book if entry.name.lower() == to.lower()]
        if entries:
            found: IPv4Address | IPv6Address | None = entries[0].address
            if family == 6:
                found = None if self._plan.subnet6 is None else _stateless(self._plan.subnet6, entries[0].mac)
        else:
            try:
                found = ip_address(to)
            except ValueError:
                raise ConfigError(f"the network '{self._config.name}' has no guest '{to}'") from None
        subnet = self._plan.subnet if family == 4 else self._plan.subnet6
        if found is None or subnet is None or found not in subnet:
            raise ConfigError(f"{to} has no address of the network that {address} can lead to: that is in {subnet}")
        return str(found)


def _free_port(protocol: str, address: str) -> int:
    """One that nobody has right now.  OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _stateless(subnet: IPv6Network, mac: bytes) -> IPv6Address:
    """The address that a guest gives itself of its MAC (RFC 4862, and RFC 2464, 4)."""
    interface = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return subnet[int.from_bytes(interface, "big")]


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


def _text(thing: object) -> str | None:
    return None if thing is None else str(thing)
