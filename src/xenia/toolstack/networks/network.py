"""Networks that a program makes: of one machine's domains, a switch in this process; and what leads to the world."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakSet

from xenia.errors import ConfigError
from xenia.net.bridge import Bridge, Joint
from xenia.net.layers.claims import Claims
from xenia.net.policer import Policer
from xenia.net.service.client import NetworkClient, NetworkConfig, start_network
from xenia.net.stream import StreamLink
from xenia.net.thread import LinkThread
from xenia.toolstack.config import values
from xenia.toolstack.config.forward import parse_publish
from xenia.toolstack.config.net import NetConfig
from xenia.toolstack.config.values import given
from xenia.toolstack.networks.cable import Cable
from xenia.toolstack.networks.opening import stacked
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.slirp import libraries
from xenia.toolstack.releases import Releases

UPLINK = "uplink"  # the port of a switch behind which the world is


def network_config(name: str, nat: bool = True, subnet: str | None = None, ipv6: bool = True) -> NetworkConfig:
    """What the process of such a network is to be.  ConfigError where it cannot be had."""
    config = NetworkConfig(name, nat=nat, libraries=libraries(Cache()) if nat else ())
    if subnet is not None:
        config = replace(config, subnet=subnet)
    return config if ipv6 else replace(config, subnet6="")


class ProcessNetwork:
    """A network that lies in a process of its own, as long as this is open.

    name    what it is called
    client  asks the process
    about   what it is: its addresses, as text
    """

    def __init__(self, name: str, client: NetworkClient, hosts: Iterable[int] = ()) -> None:
        """hosts   ports of the host's loopback that guests reach.  ConfigError, and the process has ended."""
        self.name = name
        self.client = client
        try:
            self.about = client.hello()
            for port in hosts:
                client.ask("host", port=port)
        except BaseException:
            client.close()
            raise

    @given(words=values.text, to=values.text)
    def forward(self, words: str, *, to: str | None = None) -> dict[str, Any]:
        """Have a port of the host lead to a guest: `2222:22`, `0.0.0.0:53:53/udp`, as `xenia run -p`; what it is.

        to   the guest, by name or address; None: the only one

        ConfigError: the port is taken, or there is no such guest.
        """
        wanted = parse_publish(words)
        guest = {} if to is None else {"to": to}
        return dict(
            self.client.forward(
                wanted.port, protocol=wanted.protocol, address=wanted.address, to_port=wanted.to, **guest
            )
        )

    def show(self) -> dict[str, Any]:
        """All there is to know of it, as plain data: ports, leases, forwards, counters."""
        return self.client.show()

    def close(self) -> None:
        """End it.  Cards on it have no carrier then."""
        self.client.close()


class Network:
    """A network of one machine's domains: `Machine.create_network` makes it, `Domain.attach_vif` plugs cards into it.

    What a guest sends another is copied once, by this process.  To the world there leads another one (`outside`), which
    ends with the network.

    name      what it is called
    bridge    the switch: its ports, its addresses, what they have done
    outside   None: there is no way out
    """

    def __init__(self, name: str, config: NetworkConfig | None = None, hosts: Iterable[int] = ()) -> None:
        """config   of the way out; None: there is none
        hosts    ports of the host's loopback that guests reach

        ConfigError where it cannot be had.
        """
        if config is None and tuple(hosts):
            raise ConfigError(f"the network '{name}' is to have no way out (nat), and so none to ports of the host's")
        self.name = name
        self.bridge = Bridge()
        self.outside = ProcessNetwork(name, start_network(config), hosts) if config is not None else None
        self._closed = False
        self._cables: WeakSet[Cable] = WeakSet()
        about = self.outside.about if self.outside is not None else {}
        self._reserved = [about[key] for key in ("gateway", "dns", "gateway6", "dns6") if about.get(key)]
        self._claims = Claims(about["subnet6"]) if about.get("subnet6") else None
        self._thread = LinkThread(f"network {name}")
        self._link: StreamLink | None = None
        self._uplink: Joint | None = None
        if self.outside is not None:
            try:
                self._join(self.outside)
            except BaseException:
                self.close()
                raise

    def cable(self, card: NetConfig) -> Cable:
        """What a card of that MAC is plugged into.  ConfigError where somebody else has it."""
        assert card.mac is not None
        if self._closed:
            raise ConfigError(f"the network '{self.name}' is closed")
        with ExitStack() as undo:
            port = self.bridge.port(f"{card.guest} {card.mac}", macs=[card.mac], policer=Policer(), **card.port)
            undo.callback(port.close)
            place = self._expect(card)
            undo.callback(self._forget, place)
            given = () if place is None else (place["ip"],)
            claims = None if card.port.keys() & {"vlan", "trunk"} else self._claims
            stack = stacked(card, port, addresses=given, reserved=self._reserved, claims=claims)
            cable = Cable(stack, at_end=partial(self._forget, place))
            self._cables.add(cable)
            undo.pop_all()
            return cable

    @given(words=values.text, to=values.text)
    def forward(self, words: str, *, to: str | None = None) -> dict[str, Any]:
        """See ProcessNetwork.forward.  ConfigError where there is no way out."""
        if self.outside is None:
            raise ConfigError(f"the network '{self.name}' has no way out, so no port of the host leads into it")
        return self.outside.forward(words, to=to)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """End it: the machine does so once its domains are gone.  Cards on it have no carrier then.  Again: nothing."""
        if self._closed:
            return
        self._closed = True
        with Releases() as releases:
            for cable in list(self._cables):
                releases.do(cable.cut)
            for port in self.bridge.ports:
                releases.do(port.close)
            if self._uplink is not None:
                releases.do(self._uplink.close)
            if self._link is not None:
                releases.do(self._link.close)
            releases.do(self._thread.close)
            if self.outside is not None:
                releases.do(self.outside.close)

    def _expect(self, card: NetConfig) -> dict[str, Any] | None:
        """Have the way out know the guest by its name, and give it an address; None where there is none."""
        if self.outside is None:
            return None
        wish = next((ip for ip in card.ip if ":" not in ip), None)
        return dict(self.outside.client.ask("expect", name=card.guest, mac=card.mac, ip=wish)[0])

    def _forget(self, place: dict[str, Any] | None) -> None:
        """The guest is no longer there."""
        if place is not None and self.outside is not None:
            with suppress(ConfigError):  # whose process was killed, or closed
                self.outside.client.detach(place["port"])

    def _join(self, outside: ProcessNetwork) -> None:
        """Plug the process into a port of the switch."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._link = StreamLink(ours.detach(), vnet=True)
            link = {"kind": "socket", "name": self.name, "options": ["vnet=on"]}
            outside.client.join(self.name, link, [theirs.fileno()])
        self._uplink = self.bridge.join(self._link, UPLINK)
        self._thread.add(self._link)
