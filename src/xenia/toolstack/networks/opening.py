"""How a card's words become a cable.

Whatever has a name on the host, or is a process of its own, is had in `begin` and what that returns; what is made of
the descriptors needs nothing more, so that it can be done in another process.

The network of a guest's own (`user`) is a process that is started and then takes a while to work, so it is begun as
early as may be.  It ends when nobody holds its connection any more, which therefore goes with the cable.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from xenia.errors import ConfigError
from xenia.net.layers.capture import Capture
from xenia.net.layers.claims import Claims
from xenia.net.layers.stack import build, made
from xenia.net.layers.words import LayerSpec, files_of, parse_layers
from xenia.net.link import Link
from xenia.net.links import make_link, open_link, parse_link
from xenia.net.port import Port
from xenia.net.service.client import NetworkClient, NetworkConfig, start_network
from xenia.net.stream import StreamLink
from xenia.toolstack.config.mac import stable_mac
from xenia.toolstack.config.net import NetConfig
from xenia.toolstack.networks import registry, subnets
from xenia.toolstack.networks.cable import Cable
from xenia.toolstack.provision.cache import Cache, Progress, no_progress
from xenia.toolstack.provision.slirp import libraries

_LEAST_MTU = 1280  # of a network with IPv6 (RFC 8200, 5)


class Opening:
    """A card's link on its way, begun.

    card    the card; of some links its MTU, or its MAC, is found there
    """

    def __init__(self, card: NetConfig, progress: Progress = no_progress, *, for_another: bool = False) -> None:
        """progress is told what is fetched; for_another: it goes to another process, and outlives this one perhaps.
        ConfigError where it cannot be had."""
        self.card = card
        self._client: NetworkClient | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._found: list[int] = []
        self._written: list[int] = []
        try:
            self._written = [made(file) for file in files_of(layers_of(card))]
            match card.link_kind:
                case "user":
                    known = card if for_another else replace(card, network=None)  # of another process, once
                    self.card = card = private(known, os.getpid())
                    self._client = _start(card, libraries(Cache(), progress), silent=for_another)
                case "bridge":
                    self.card = replace(card, network=card.link_name)
                    self._attach_to(registry.find(card.link_name))
                case _:
                    opened = open_link(parse_link(card.link, card.options, card.mtu))
                    self._found = list(opened.descriptors)
                    self.card = replace(card, mtu=opened.spec.mtu, mac=opened.spec.mac or card.mac)
        except BaseException:
            self.close()
            raise

    def files(self) -> list[int]:
        """Wait until it is there; its descriptors, which are the caller's.  ConfigError.

        A network of the guest's own lives on as long as the first is open.
        """
        client = self._client
        if client is not None:
            frames = attach_port(client, self.card)
            self._found = [os.dup(client.fileno()), frames]
            client.ask("hush")  # who runs a guest keeps the connection, and is not to open ports of the host's by it
            self._client = None
            self._process, client.process = client.process, None
            client.close()
        found, self._found, self._written = [*self._found, *self._written], [], []
        return found

    def finish(self) -> Cable:
        """Wait until it is there, and make it a cable.  ConfigError."""
        files = self.files()
        return assemble(self.card, files, self._process)

    def close(self) -> None:
        """Nobody waits for it any more.  Again does nothing."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
        for descriptor in (*self._found, *self._written):
            os.close(descriptor)
        self._found, self._written = [], []

    def _attach_to(self, client: NetworkClient) -> None:
        """Take a port of a network that runs.  Of two guests of one name there the later one has another MAC."""
        card = self.card
        assert card.guest is not None and card.number is not None
        try:
            taken = {port.get("mac") for port in client.show()["ports"]}
            if card.mac in taken and card.mac == stable_mac(card.guest, card.number):
                self.card = replace(card, mac=stable_mac(card.guest, card.number, taken=taken))
            self._found = [attach_port(client, self.card)]
        finally:
            client.close()


def assemble(card: NetConfig, files: Sequence[int], process: subprocess.Popen[bytes] | None = None) -> Cable:
    """A cable of what was opened, which is the cable's from now on; the process, where it is a child of ours."""
    network: NetworkClient | None = None
    layers = layers_of(card)
    assert card.mac is not None
    with ExitStack() as undo:
        for descriptor in files:
            undo.callback(os.close, descriptor)
        nr_found = len(files) - len(files_of(layers))
        files, written = files[:nr_found], files[nr_found:]
        if card.link_kind == "user":
            control, *files = files
        if card.link_kind in ("user", "bridge"):
            port: Port = StreamLink(files[0], vnet=True)
        else:
            port = make_link(parse_link(card.link, card.options, card.mtu), files)
        if card.link_kind == "user":
            network = NetworkClient(socket.socket(fileno=control), process)
        undo.pop_all()
        undo.callback(port.close)
        for descriptor in written:
            undo.callback(os.close, descriptor)
        stack = stacked(card, port, written)
        undo.pop_all()
        return Cable(stack, port if isinstance(port, Link) else None, network)


def stacked(
    card: NetConfig,
    port: Port,
    written: Sequence[int] = (),
    addresses: Sequence[str] = (),
    reserved: Sequence[str] = (),
    claims: Claims | None = None,
) -> Capture:
    """The card's layers over that port, which is theirs to close from now on.

    written     descriptors of the files that they write to
    addresses   that the network gave it, besides those of its words
    reserved    that are the network's own
    claims      which IPv6 addresses its cards have
    """
    assert card.mac is not None
    name = f"{card.guest or 'guest'} {card.name or f'vif{card.number}'}"
    return build(
        layers_of(card), port, mac=card.mac, name=name, addresses=(*card.ip, *addresses), reserved=reserved,
        claims=claims, opened=written,
    )  # fmt: skip


def layers_of(card: NetConfig) -> tuple[LayerSpec, ...]:
    """What its words for layers mean."""
    return parse_layers(pair_of(word) for word in card.layers)


def pair_of(word: str) -> tuple[str, str]:
    """A layer's word in two."""
    key, _, value = word.partition("=")
    return key, value


def private(card: NetConfig, process: int) -> NetConfig:
    """The same with a name for a network of the guest's own, whose process that is, where there is to be one and it has
    none yet."""
    if card.link_kind != "user" or card.network is not None or card.guest is None:
        return card
    return replace(card, network=registry.private_name(card.guest, process, card.number or 0))


def _start(card: NetConfig, slirp: tuple[str, ...], *, silent: bool) -> NetworkClient:
    """The network of the guest's own."""
    assert card.network is not None
    own, name = subnets.of_card(card.number or 0), card.network
    config = NetworkConfig(
        name,
        subnet=next(iter(card.values("subnet")), own.subnet),
        subnet6="" if card.values("ipv6") == ["off"] else own.subnet6,
        libraries=slirp,
    )
    if card.mtu is not None:
        config = replace(config, mtu=max(card.mtu, _LEAST_MTU))
    try:
        listener = registry.listen(name)
    except ConfigError:
        return start_network(config, silent=silent)  # one that nobody can ask is a network all the same
    with listener:
        return start_network(config, listener, silent=silent)


def attach_port(client: NetworkClient, card: NetConfig) -> int:
    """The socket of a port for the card, with what is to lead to the guest."""
    assert card.guest is not None and card.mac is not None
    options: dict[str, object] = {}
    place = card.port
    if (fixed := [ip for ip in card.ip if ":" not in ip]) and not place.keys() & {"vlan", "trunk"}:
        options["ip"] = fixed[0]
        options["also"] = [ip for ip in card.ip if ip != fixed[0]]
    if card.mtu is not None:
        options["mtu"] = card.mtu
    if "spoof=allow" in card.layers:
        options["spoof"] = True
    attached = client.attach(card.guest, card.mac, **options, **place)
    try:
        for port in card.values("host"):
            client.ask("host", port=int(port))
        for forward in card.forwards:
            client.forward(
                forward.port, protocol=forward.protocol, address=forward.address, to=card.guest, to_port=forward.to,
                card=card.mac,
            )  # fmt: skip
    except BaseException:
        os.close(attached.descriptor)
        raise
    return attached.descriptor
