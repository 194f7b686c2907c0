"""Which links to elsewhere there are, by their words.

Opening is apart from making.  `open_link` needs names and rights of the host's, so it is called before the walls close,
or by whoever asks for a card; `make_link` needs its descriptors alone.  What lies behind the words `user` and `bridge`
is a process of its own and no link of this kind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import overload

from xenia.errors import ConfigError
from xenia.net import interfaces, passt, sockets, vxlan
from xenia.net.packet import PacketLink
from xenia.net.port import Port
from xenia.net.reconnecting import ReconnectingLink
from xenia.net.stream import StreamLink
from xenia.net.tunnel import TunnelLink

MOST_MTU = 9000  # of a card, on whatever link; larger frames are segments of many


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """A link as it was asked for, and as it was found.

    kind     a word of KINDS
    name     what of the host's it is; empty where it needs none
    options  each key=value
    mtu      bytes of the largest datagram that is to cross it whole, and that does; None: not known, or any
    mac      the address that its other end takes for whoever is here; None: any
    """

    kind: str
    name: str = ""
    options: tuple[str, ...] = ()
    mtu: int | None = None
    mac: str | None = None

    @overload
    def value(self, option: str) -> str | None: ...

    @overload
    def value(self, option: str, default: str) -> str: ...

    def value(self, option: str, default: str | None = None) -> str | None:
        """What was said by that word, or the default."""
        found = self.values(option)
        return found[0] if found else default

    def values(self, option: str) -> list[str]:
        """The same, of one that may be said several times."""
        return [value for key, _, value in (word.partition("=") for word in self.options) if key == option]

    def flag(self, option: str) -> bool:
        """Whether that was said to be on.  ConfigError where it is neither."""
        said = self.value(option, "off")
        if said not in ("on", "off"):
            raise ConfigError(f"'{option}={said}' of a link: write on or off")
        return said == "on"


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """A link whose descriptors are there: whoever has it closes them, or makes it, once."""

    spec: LinkSpec
    descriptors: tuple[int, ...]

    def close(self) -> None:
        """Give them up."""
        for descriptor in self.descriptors:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class LinkKind:
    """What one word means.

    open     gives the descriptors, and what was found; needs rights.  ConfigError
    make     makes a port of them, which owns them from then on
    options  those that it knows
    named    whether something of the host's stands behind its word
    """

    open: Callable[[LinkSpec], OpenedLink]
    make: Callable[[LinkSpec, Sequence[int]], Port]
    options: tuple[str, ...] = ()
    named: bool = True


def _open_null(spec: LinkSpec) -> OpenedLink:
    return OpenedLink(spec, ())


def _open_socket(spec: LinkSpec) -> OpenedLink:
    spec.flag("vnet")
    return OpenedLink(spec, (sockets.open_socket(spec.name),))


def _make_socket(spec: LinkSpec, descriptors: Sequence[int]) -> Port:
    vnet = spec.flag("vnet")
    if sockets.listens(spec.name):
        return StreamLink(listener=descriptors[0], vnet=vnet)
    return ReconnectingLink(descriptors[0], spec.name, vnet=vnet)


def _open_passt(spec: LinkSpec) -> OpenedLink:
    return OpenedLink(spec, passt.opened(spec.values("forward"), spec.mtu or 1500))


def _found(spec: LinkSpec, interface: interfaces.Interface) -> OpenedLink:
    return OpenedLink(replace(spec, mtu=_smaller(spec.mtu, interface.mtu), mac=interface.mac), (interface.descriptor,))


def _smaller(wanted: int | None, found: int) -> int:
    return min(MOST_MTU if wanted is None else wanted, found)


def _make_packets(_spec: LinkSpec, descriptors: Sequence[int]) -> Port:
    return PacketLink(descriptors[0])


def _open_tunnel(spec: LinkSpec) -> OpenedLink:
    vxlan.parse_vni(spec.value("vni", "1"))
    found, mtu = vxlan.open_tunnel(spec.name, spec.value("local"), spec.value("port", str(vxlan.PORT)))
    return OpenedLink(replace(spec, mtu=_smaller(spec.mtu, mtu)), tuple(found))


def _make_tunnel(spec: LinkSpec, descriptors: Sequence[int]) -> Port:
    assert spec.mtu is not None
    return TunnelLink(descriptors[0], descriptors[1:], vni=vxlan.parse_vni(spec.value("vni", "1")), mtu=spec.mtu)


KINDS: dict[str, LinkKind] = {
    "null": LinkKind(_open_null, lambda _spec, _descriptors: Port(), named=False),
    "socket": LinkKind(_open_socket, _make_socket, ("vnet",)),
    "tap": LinkKind(
        lambda spec: _found(spec, interfaces.open_tap(spec.name, spec.value("master"))), _make_packets, ("master",)
    ),
    "macvtap": LinkKind(lambda spec: _found(spec, interfaces.open_macvtap(spec.name)), _make_packets),
    "nic": LinkKind(lambda spec: _found(spec, interfaces.open_nic(spec.name)), _make_packets),
    "vxlan": LinkKind(_open_tunnel, _make_tunnel, ("vni", "local", "port")),
    "passt": LinkKind(_open_passt, lambda _spec, found: passt.link(found), ("forward",), named=False),
}


def parse_link(words: str, options: Sequence[str] = (), mtu: int | None = None) -> LinkSpec:
    """A link by its word, with a name behind `=` where it has one, and its options.  ConfigError."""
    word, _, name = words.partition("=")
    kind = KINDS.get(word)
    if kind is None:
        raise ConfigError(f"there is no link '{word}'; there are {', '.join(KINDS)}")
    if kind.named and not name:
        raise ConfigError(f"the link '{word}' names nothing: {word}=NAME")
    if name and not kind.named:
        raise ConfigError(f"the link '{word}' takes no name")
    for option in options:
        if option.partition("=")[0] not in kind.options:
            raise ConfigError(f"the link '{word}' knows no '{option}'")
    return LinkSpec(word, name, tuple(options), mtu)


def open_link(spec: LinkSpec) -> OpenedLink:
    """Open what it stands on, outside of any walls: its descriptors, and the same with what was found there.

    ConfigError, one line, where the host has it not or refuses.
    """
    return KINDS[spec.kind].open(spec)


def make_link(spec: LinkSpec, descriptors: Sequence[int]) -> Port:
    """The port, of the descriptors that `open_link` gave, which are its own from now on.

    A `Link` is to be served by a thread (`LinkThread.add`); the null link needs none.
    """
    return KINDS[spec.kind].make(spec, descriptors)
