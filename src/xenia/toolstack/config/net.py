"""One card of a guest as the operator writes it: what it is plugged into, and words for the card and the way between.

    user,forward=tcp:2222:22            the network that every guest has, with a port forward
    bridge=lan,mac=00:16:3e:00:00:01    a network that `xenia net create lan` made
    tap=tap0,delay=20ms,loss=1%         an interface of the host's, behind a bad line

Words for the card are those of xl-network-configuration(5), so that what is written there for xl is understood here:

    mac=00:16:3e:00:00:01, bridge=lan, rate=10Mb/s
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Self, cast

from xenia.errors import ConfigError
from xenia.net.layers.words import WORDS as LAYERS, cut, parse_layers, plain, words_of
from xenia.storage.door import door
from xenia.toolstack.config.device import Backing, DeviceConfig
from xenia.toolstack.config.forward import Forward, parse_forward
from xenia.toolstack.config.host_id import host_id
from xenia.toolstack.config.mac import parse_mac, stable_mac
from xenia.toolstack.config.rate import parse_rate

MOST_CARDS = 8  # of one guest
MOST_QUEUES = 8
LEAST_MTU, MOST_MTU = 68, 9000
MOST_VLAN = 4094

# Who opens them stands above, on what it takes to have a network's process; words need none of that.
_OPENING = "xenia.toolstack.networks.opening"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")
NETWORK_NAME = _NAME
_XL = re.compile(r"(?:(?:vif\s*=\s*)?\[\s*)?(['\"])(.*)\1(?:\s*,?\s*\])?")  # vif = ['bridge=lan']
_TCP = re.compile(r"(\[[^\]]*\]|[^:/]*):\d+")

PORT_WORDS = ("vlan", "trunk", "isolated", "mirror")  # of a port of a switch
GUEST_WORDS = (*PORT_WORDS, "unanswered")  # and of one that a guest is at

# What a card may be plugged into, and whether that has a name of the host's behind `=`; with the link's own options.
LINKS: dict[str, tuple[bool, tuple[str, ...]]] = {
    "user": (False, ("forward", "host", "subnet", "ipv6")),
    "bridge": (True, ("forward", *GUEST_WORDS)),
    "tap": (True, ("master",)),
    "macvtap": (True, ()),
    "nic": (True, ()),
    "socket": (True, ("vnet",)),
    "vxlan": (True, ("vni", "local", "port")),
    "passt": (False, ("forward",)),
    "null": (False, ()),
    "network": (False, GUEST_WORDS),  # one that a program made: its port comes with the card
}
NONE = "none"
_MANY = ("forward", "host")  # options that may be said more than once


@dataclass(frozen=True, slots=True)
class NetConfig(DeviceConfig):
    """A card, and what it is plugged into.

    link    user, bridge=lan, tap=tap0, ...
    options of the link, each key=value
    layers  what frames pass between the card and the link, each key=value, the card's end first
    name    what it is called: vif0, say; None: by its number
    number  the virtual device, from 0 on; None: the first that is free
    mac     its address; None: one that comes of the guest's name
    mtu     bytes of the largest datagram; None: the link's
    rate    what it may send at the most, in xl's words
    queues  how many the guest may use; None: as many as it has vcpus
    ip      addresses, the only ones that it may send from
    guest   the name of the guest whose it is
    network what its network is called, as `xenia net` knows it; None: it has none of that kind, or not yet
    """

    kind = "vif"

    link: str = "user"
    options: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    name: str | None = None
    number: int | None = None
    mac: str | None = None
    mtu: int | None = None
    rate: str | None = None
    queues: int | None = None
    ip: tuple[str, ...] = ()
    guest: str | None = None
    network: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same by name, as plain data."""
        return asdict(self)

    @property
    def opened_name(self) -> str:
        """What its files are noted under, which those of no other card on the same link are."""
        return f"card {self.mac} {self.link}"

    def open(self) -> Backing:
        """The way to the network.  Within `handed` it is made of what came, and elsewhere opened.  ConfigError."""
        opening = import_module(_OPENING)
        if (files := door().taken(self.opened_name)) is not None:
            return cast(Backing, opening.assemble(self, files))
        return cast(Backing, opening.Opening(self).finish())

    @contextmanager
    def opened(self) -> Iterator[tuple[Self, list[tuple[str, int]]]]:
        """What the way to the network needs.  A network of the guest's own is started, and is whose has this."""
        opening = import_module(_OPENING).Opening(self, for_another=True)
        try:
            files = opening.files()
        except BaseException:
            opening.close()
            raise
        try:
            yield opening.card, [(opening.card.opened_name, descriptor) for descriptor in files]
        finally:
            for descriptor in files:
                os.close(descriptor)

    def within(self, folder: Path) -> Self:
        """The same for a process in another folder."""
        listens = "listen:" if self.link_name.startswith("listen:") else ""
        place = self.link_name.removeprefix(listens)
        if self.link_kind != "socket" or _TCP.fullmatch(place):
            return self
        return replace(self, link=f"socket={listens}{folder / place}")

    def among(self, ask: Callable[[], Mapping[str, Any]]) -> Self:
        """The same for that guest, beside the cards that it and its neighbours have."""
        guest = ask()
        cards = guest.get("cards", [])
        numbers = {card["number"] for card in cards}
        number = self.number if self.number is not None else min(set(range(len(numbers) + 1)) - numbers)
        return self.for_guest(guest["name"], number, [*(card["mac"] for card in cards), *guest.get("macs", [])])

    def check(self) -> None:
        """ConfigError where words that come from anywhere describe no card."""
        said = replace(self, link="bridge=network") if self.link == "network" else self
        if parse_card(said.words()) != replace(said, guest=None, network=None):
            raise ConfigError("the request describes no network card")

    def words(self) -> str:
        """As an operator would write it."""
        card = {"name": self.name, "devid": self.number, "mac": self.mac, "mtu": self.mtu, "rate": self.rate,
                "queues": self.queues, "ip": " ".join(self.ip)}  # fmt: skip
        said = [f"{key}={value}" for key, value in card.items() if value not in (None, "")]
        return ",".join(word.replace(",", "\\,") for word in (self.link, *self.options, *said, *self.layers))

    @property
    def link_kind(self) -> str:
        """The word of LINKS."""
        return self.link.partition("=")[0]

    @property
    def link_name(self) -> str:
        """What of the host's the link is: the network, the interface, the socket.  Empty where it has none."""
        return self.link.partition("=")[2]

    @property
    def socket_made(self) -> Path | None:
        """The socket in the file system that whoever opens it makes, for others to connect to."""
        _, listens, place = self.link.partition("socket=listen:")
        return Path(place) if listens and not _TCP.fullmatch(place) else None

    @property
    def forwards(self) -> tuple[Forward, ...]:
        """Ports of the host's that lead to the guest."""
        return tuple(parse_forward(value) for value in self.values("forward"))

    def values(self, option: str) -> list[str]:
        """What was said of the link by that word."""
        return [value for key, _, value in (word.partition("=") for word in self.options) if key == option]

    @property
    def port(self) -> dict[str, Any]:
        """What its port of a switch is to be, by the names of `Bridge.port`."""
        said: dict[str, Any] = {word: True for word in GUEST_WORDS if self.values(word) == ["on"]}
        for number in self.values("vlan"):
            said["vlan"] = int(number)
        for numbers in self.values("trunk"):
            said["trunk"] = numbers if numbers == "all" else [int(number) for number in numbers.split("+")]
        return said

    def forwarding(self, forwards: Collection[Forward]) -> NetConfig:
        """The same with more ports forwarded."""
        return replace(self, options=(*self.options, *(f"forward={forward}" for forward in forwards)))

    def for_guest(self, guest: str, number: int, taken: Collection[str | None] = ()) -> Self:
        """The same as the card of that guest, with a MAC: the one that comes of its name, or another where one of those
        taken is it."""
        outside = self.link_kind not in ("user", "bridge", "network")  # where other hosts' guests may be
        place = f"{self.link} of {host_id()}" if outside else ""
        mac = self.mac
        if mac is None or (mac in taken and mac == stable_mac(guest, number, place)):
            mac = stable_mac(guest, number, place, taken)
        return replace(self, guest=guest, number=number, mac=mac)


def for_guest(cards: Sequence[NetConfig], guest: str) -> tuple[NetConfig, ...]:
    """The cards of one guest, each with a number and a MAC of its own.  ConfigError where two want the same."""
    if len(cards) > MOST_CARDS:
        raise ConfigError(f"a guest has {MOST_CARDS} network cards at the most, not {len(cards)}")
    if not cards:
        return ()
    numbers = {card.number for card in cards if card.number is not None}
    free = (number for number in range(2 * MOST_CARDS) if number not in numbers)
    taken = {card.mac for card in cards}
    found: list[NetConfig] = []
    for card in cards:
        one = card.for_guest(guest, card.number if card.number is not None else next(free), taken)
        taken |= {one.mac}
        found.append(one)
    for what, values in (("number", Counter(one.number for one in found)), ("MAC", Counter(one.mac for one in found))):
        value, times = values.most_common(1)[0]
        if times > 1:
            raise ConfigError(f"two network cards of one guest have the {what} {value}")
    return tuple(found)


def parse_net(text: str, among: str | None = None) -> NetConfig | None:
    """What one --net says; None: no card.  ConfigError points at the word that it cannot understand.

    among   what the operator wrote, where these are some of its words
    """
    if said := _XL.fullmatch(text.strip()):
        text = said[2]
        if said[1] in text:
            raise ConfigError(f"'vif = [{said[1]}{text}{said[1]}]' is more than one card: give each a --net of its own")
    return None if text.strip() == NONE else _Reader(text, among or text).read()


def parse_card(text: str, among: str | None = None) -> NetConfig:
    """The same where `none` would say nothing."""
    config = parse_net(text, among)
    if config is None:
        raise ConfigError(f"'{NONE}' is no network to plug a card into")
    return config


class _Reader:
    """Sorts the words of one card into those for it, for its link and for the way between."""

    def __init__(self, text: str, among: str) -> None:
        self._words = [word.strip() for word in cut(text, ",")]
        self._text = among
        self._config = NetConfig()
        self._said: dict[str, str] = {}  # what was said, and by which word
        self._options: list[tuple[str, str]] = []  # and the word
        self._layers: list[tuple[str, str]] = []

    def read(self) -> NetConfig:
        for word in filter(None, self._words):
            self._word(word)
        kind = self._config.link_kind
        for option, word in self._options:
            if option.partition("=")[0] not in LINKS[kind][1]:
                raise self._error(word, f"that goes with {_links_with(option.partition('=')[0])}, not with {kind}")
        try:
            layers = words_of(parse_layers(self._layers))
        except ConfigError as error:
            raise ConfigError(f"{error} (of the network '{self._text}')") from None
        return replace(
            self._config, options=tuple(option for option, _ in self._options), layers=tuple(map("=".join, layers))
        )

    def _word(self, word: str) -> None:
        key, equals, value = (part.strip() for part in word.partition("="))
        if key in LINKS and key != "network":
            self._link(word, key, value)
        elif key in _KEYS and equals:
            self._say(key, word)
            if value:  # an empty one is the default
                _KEYS[key](self, word, value)
        elif key in LAYERS and equals:
            self._layers.append((key, value))
        elif equals and (key == "hostfwd" or any(key in options for _, options in LINKS.values())):
            self._option(word, "forward" if key == "hostfwd" else key, value)
        elif key == NONE:
            raise self._error(word, "it stands alone: no network at all")
        elif not equals and key in _VALUED:
            raise self._error(word, f"it says nothing: {key}=...")
        elif word not in _IGNORED:
            from difflib import get_close_matches

            close = get_close_matches(_OF_OTHERS.get(key, key).lower(), _KNOWN, 1)
            hint = f"; did you mean {close[0]}{'=' * (close[0] in _VALUED)}?" if close else None
            there = f"? There are {', '.join(_KNOWN)}"
            raise ConfigError(f"in the network '{self._text}': what is '{word}'{hint or there}")

    def _link(self, word: str, kind: str, name: str) -> None:
        self._say("link", word)
        named, _ = LINKS[kind]
        if named and not name:
            raise self._error(word, f"it names nothing: {kind}=NAME")
        if name and not named:
            raise self._error(word, f"'{kind}' takes no value")
        if kind == "bridge" and not NETWORK_NAME.fullmatch(name):
            raise self._error(word, f"'{name}' is no network's name: letters, digits, _ . and -")
        self._config = replace(self._config, link=f"{kind}={plain(name)}" if named else kind)

    def _option(self, word: str, key: str, value: str) -> None:
        if key not in _MANY:
            self._say(key, word)
        if key == "forward":
            value = str(parse_forward(value))
        elif key == "host" and not (value.isdecimal() and 0 < int(value) < 1 << 16):
            raise self._error(word, f"'{value}' is no port of this host's")
        elif key == "subnet":
            self._subnet(word, value)
        elif key == "vlan":
            self._whole(word, value, 1, MOST_VLAN)
        elif key == "trunk":
            for number in value.split("+") if value != "all" else ():
                self._whole(word, number, 1, MOST_VLAN)
        elif key in ("isolated", "mirror", "unanswered", "ipv6", "vnet") and value not in ("on", "off"):
            raise self._error(word, f"'{value}' is neither on nor off")
        self._options.append((f"{key}={value}", word))

    def _subnet(self, word: str, value: str) -> None:
        from ipaddress import IPv4Network

        try:
            IPv4Network(value)
        except ValueError:
            raise self._error(word, f"'{value}' is no subnet of IPv4, such as 192.168.7.0/24") from None

    def _say(self, what: str, word: str) -> None:
        if what in self._said:
            raise self._error(word, f"'{self._said[what]}' says that already")
        self._said[what] = word

    def _error(self, word: str, message: str) -> ConfigError:
        return ConfigError(f"in '{word}' of the network '{self._text}': {message}")

    def _set_mac(self, word: str, value: str) -> None:
        self._config = replace(self._config, mac=parse_mac(value))

    def _set_name(self, word: str, value: str) -> None:
        if not _NAME.fullmatch(value):
            raise self._error(word, f"'{value}' is no card's name: letters, digits, _ . and -")
        self._config = replace(self._config, name=value)

    def _set_number(self, word: str, value: str) -> None:
        self._config = replace(self._config, number=self._whole(word, value, 0, 127))

    def _set_mtu(self, word: str, value: str) -> None:
        self._config = replace(self._config, mtu=self._whole(word, value, LEAST_MTU, MOST_MTU))

    def _set_queues(self, word: str, value: str) -> None:
        self._config = replace(self._config, queues=self._whole(word, value, 1, MOST_QUEUES))

    def _set_rate(self, word: str, value: str) -> None:
        parse_rate(value)
        self._config = replace(self._config, rate=value)

    def _set_ip(self, word: str, value: str) -> None:
        from ipaddress import ip_address

        try:
            found = tuple(str(ip_address(one)) for one in value.split())
        except ValueError:
            raise self._error(word, f"'{value}' is no address: write 10.0.2.20, and spaces between more") from None
        self._config = replace(self._config, ip=found)

    def _set_backend(self, word: str, value: str) -> None:
        if value not in ("0", "Domain-0"):
            raise self._error(word, f"no domain '{value}' is there to serve it (see docs/driver-domains.md)")

    def _set_type(self, word: str, value: str) -> None:
        if value not in ("vif", "pv"):
            raise self._error(word, f"a guest here has no other cards than vif, and no '{value}'")

    def _refuse_script(self, word: str, value: str) -> None:
        bridges = any(one.startswith("bridge=") for one in self._words)
        if value.rpartition("/")[2] == "vif-bridge" and bridges:
            return  # xl's default; it does what bridge= says
        raise self._error(word, "no scripts are run here; name the network or interface itself")

    def _ignore(self, word: str, value: str) -> None:
        """What only an emulated card, or a script, would ask."""

    def _whole(self, word: str, value: str, least: int, most: int) -> int:
        if not value.isdecimal() or not least <= int(value) <= most:
            raise self._error(word, f"'{value}' is no whole number from {least} to {most}")
        return int(value)


def _links_with(option: str) -> str:
    return " and ".join(kind for kind, (_, options) in LINKS.items() if option in options and kind != "network")


_KEYS: dict[str, Callable[[_Reader, str, str], None]] = {
    "mac": _Reader._set_mac,
    "name": _Reader._set_name,
    "vifname": _Reader._set_name,
    "devid": _Reader._set_number,
    "mtu": _Reader._set_mtu,
    "rate": _Reader._set_rate,
    "queues": _Reader._set_queues,
    "ip": _Reader._set_ip,
    "backend": _Reader._set_backend,
    "type": _Reader._set_type,
    "script": _Reader._refuse_script,
    "model": _Reader._ignore,
    "gatewaydev": _Reader._ignore,
    "accel": _Reader._ignore,
}
_IGNORED = ("trusted", "untrusted")
_KNOWN = tuple(dict.fromkeys((*LINKS, *(key for _, keys in LINKS.values() for key in keys), *_KEYS, *LAYERS)))
_KNOWN = tuple(key for key in _KNOWN if key != "network")
_VALUED = {*_KNOWN} - {kind for kind, (named, _) in LINKS.items() if not named}
_OF_OTHERS = {"nat": "user", "slirp": "user", "br": "bridge", "macaddr": "mac", "bandwidth": "limit"}
