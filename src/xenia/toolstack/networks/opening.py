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
from collections.abc import Mapping
from contextlib import ExitStack

from xenia.errors import ConfigError
from xenia.net.port import Port
from xenia.net.service.client import NetworkClient, NetworkConfig, start_network
from xenia.net.stream import StreamLink
from xenia.toolstack.config.net import NetConfig
from xenia.toolstack.networks import registry
from xenia.toolstack.networks.cable import Cable

Files = Mapping[str, int]
"""Descriptors by what they are, which are the holder's to close."""

FRAMES, CONTROL = "frames", "control"
_FILES = {"user": (CONTROL, FRAMES), "bridge": (FRAMES,), "socket": (FRAMES,), "null": ()}


def names(card: NetConfig) -> list[str]:
    """What its descriptors are called, where they are handed over."""
    return [f"{card.link}#{card.mac}#{name}" for name in _FILES.get(card.link_kind, (FRAMES,))]


def begin(card: NetConfig) -> Opening:
    """Start what takes a while.  ConfigError."""
    return Opening(card)


class Opening:
    """A card's link on its way."""

    def __init__(self, card: NetConfig) -> None:
        """ConfigError where it cannot be had."""
        self._card = card
        self._client: NetworkClient | None = None
        self._found: list[int] = []
        self.process: subprocess.Popen[bytes] | None = None
        match card.link_kind:
            case "user":
                self._client = _start(card)
            case "bridge":
                self._found = [_attach_to(card)]
            case "socket":
                self._found = [_connect(card.link_name)]
            case "null":
                pass
            case kind:
                raise ConfigError(f"'{kind}' is no network to plug a card into here")

    def files(self) -> dict[str, int]:
        """Wait until it is there; its descriptors, by `names`, which are the caller's.  ConfigError.

        A network of the guest's own lives on as long as one of them is open.
        """
        client = self._client
        if client is None:
            found, self._found = self._found, []
            return dict(zip(names(self._card), found, strict=True))
        frames = _attach(client, self._card)
        control = os.dup(client.fileno())
        self._client = None
        self.process, client.process = client.process, None
        client.close()
        return dict(zip(names(self._card), (control, frames), strict=True))

    def finish(self) -> Cable:
        """Wait until it is there, and make it a cable.  ConfigError."""
        return assemble(self._card, self.files(), self.process)

    def close(self) -> None:
        """Nobody waits for it any more.  Again does nothing."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
        while self._found:
            os.close(self._found.pop())


def assemble(card: NetConfig, files: Files, process: subprocess.Popen[bytes] | None = None) -> Cable:
    """A cable of what was opened, which is the cable's from now on; the process, where it is a child of ours."""
    with ExitStack() as undo:
        for descriptor in files.values():
            undo.callback(os.close, descriptor)
        found = [files[name] for name in names(card)]
        network: NetworkClient | None = None
        link: StreamLink | None = None
        port: Port
        match card.link_kind:
            case "user":
                network = NetworkClient(socket.socket(fileno=found[0]), process)
                link = port = StreamLink(found[1], vnet=True)
            case "bridge":
                link = port = StreamLink(found[0], vnet=True)
            case "socket":
                link = port = StreamLink(found[0], vnet="vnet=on" in card.options)
            case _:
                port = Port()
        undo.pop_all()
        return Cable(port, link, network)


def _start(card: NetConfig) -> NetworkClient:
    """The network of the guest's own."""
    assert card.guest is not None
    name = registry.private_name(card.guest, os.getpid())
    subnet = card.values("subnet")
    config = NetworkConfig(
        name,
        subnet=subnet[0] if subnet else NetworkConfig.subnet,
        subnet6="" if card.values("ipv6") == ["off"] else NetworkConfig.subnet6,
    )
    try:
        listener = registry.listen(name)
    except ConfigError:
        return start_network(config)  # one that nobody can ask is a network all the same
    with listener:
        return start_network(config, listener)


def _attach_to(card: NetConfig) -> int:
    """A port of a network that runs."""
    client = registry.find(card.link_name)
    try:
        return _attach(client, card)
    finally:
        client.close()


def _attach(client: NetworkClient, card: NetConfig) -> int:
    """The socket of a port for the card, with what is to lead to the guest."""
    assert card.guest is not None and card.mac is not None
    options: dict[str, object] = {}
    if fixed := [ip for ip in card.ip if ":" not in ip]:
        options["ip"] = fixed[0]
    if card.mtu is not None:
        options["mtu"] = card.mtu
    if "spoof=allow" in card.layers:
        options["spoof"] = True
    attached = client.attach(card.guest, card.mac, **options)
    try:
        for port in card.values("host"):
            client.ask("host", port=int(port))
        for forward in card.forwards:
            client.forward(
                forward.port, protocol=forward.protocol, address=forward.address, to=card.guest, to_port=forward.to
            )
    except BaseException:
        os.close(attached.descriptor)
        raise
    return attached.descriptor


def _connect(place: str) -> int:
    """A connection to a stream socket: a path, or HOST:PORT.  ConfigError."""
    host, colon, port = place.rpartition(":")
    try:
        if colon and "/" not in place and port.isdecimal():
            connection = socket.create_connection((host.strip("[]"), int(port)), 10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            connection = socket.socket(socket.AF_UNIX)
            with ExitStack() as undo:
                undo.callback(connection.close)
                connection.connect(place)
                undo.pop_all()
    except OSError as error:
        raise ConfigError(f"cannot connect to {place}: {error.strerror or error}") from None
    return connection.detach()
