"""Networks that outlive who made them: `xenia net create` and its like."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from xenia.errors import ConfigError
from xenia.net.layers.words import cut
from xenia.net.links import open_link, parse_link
from xenia.net.service.client import NetworkClient, NetworkConfig, Silent, start_network
from xenia.toolstack.config.forward import Forward
from xenia.toolstack.config.net import LINKS, NETWORK_NAME, NONE, PORT_WORDS, NetConfig, parse_card
from xenia.toolstack.networks import registry, subnets
from xenia.toolstack.provision.cache import Cache, Progress, no_progress
from xenia.toolstack.provision.slirp import libraries

_ITSELF = ("uplink", "nat")  # kinds of ports that nobody plugged in


def create(
    name: str,
    *,
    subnet: str | None = None,
    ipv6: bool = True,
    nat: bool = True,
    mtu: int | None = None,
    hosts: Sequence[int] = (),
    progress: Progress = no_progress,
) -> Mapping[str, Any]:
    """Make one, and wait until it works; what it says of itself.

    subnet     its guests'; None: one that no network has that runs, which comes of the name
    hosts      ports of the host's loopback that its guests reach
    progress   is told what is fetched

    ConfigError where there is one of that name, or it cannot be had.
    """
    if not NETWORK_NAME.fullmatch(name) or name in LINKS or name == NONE:
        raise ConfigError(
            f"'{name}' is no network's name: up to 32 letters, digits, _ . and -, the first no . or -, and none of "
            "--net's words"
        )
    config = NetworkConfig(name, nat=nat, libraries=libraries(Cache(), progress) if nat else ())
    others = [other["subnet"] for other in describe_all() if other.get("subnet")] if subnet is None else ()
    free = subnets.of_network(name, others)
    config = replace(config, subnet=free.subnet if subnet is None else _subnet(subnet), subnet6=free.subnet6)
    if not ipv6:
        config = replace(config, subnet6="")
    if mtu is not None:
        config = replace(config, mtu=mtu)
    with registry.listen(name) as listener:
        client = start_network(config, listener, stay=True)
    try:
        about = client.hello()
        for port in hosts:
            client.ask("host", port=port)
    except BaseException:
        _stop(client)
        raise
    client.close()
    return about


def delete(name: str, *, force: bool = False) -> None:
    """End one, also what is left of one that was killed.  ConfigError where it is not there, or, without `force`,
    guests are on it or it does not answer."""
    if registry.left_behind(name):
        return
    try:
        ports = _end(name, force)
    except Silent as error:
        if not force:
            raise ConfigError(f"{error} (--force ends it all the same)") from None
        registry.kill(name)
        return
    for port in ports:
        if port.get("kind") == "uplink":
            _leave_no_socket(NetConfig(link=port["name"]))


def _end(name: str, force: bool) -> list[dict[str, Any]]:
    """Have it end; the ports that it had."""
    with _network(name) as client:
        ports: list[dict[str, Any]] = client.show()["ports"]
        users = sorted(port["name"] for port in ports if port.get("kind") not in _ITSELF)
        if users and not force:
            raise ConfigError(f"the network '{name}' is in use by {', '.join(users)} (--force ends it all the same)")
        client.ask("stop")
        return ports


def show(name: str) -> dict[str, Any]:
    """All there is to know of it."""
    with _network(name) as client:
        return {**client.hello(), **client.show()}


def describe_all() -> list[dict[str, Any]]:
    """Those that run, in a few words each; `ports` is how many guests are on it.  Of one that does not answer only the
    name is known, all else is None."""
    found = []
    for name in registry.names():
        try:
            about = show(name)
        except ConfigError:
            if name not in registry.names():
                continue  # it has ended just now
            about = {}
        users = [port for port in about.get("ports", ()) if port.get("kind") not in _ITSELF]
        found.append({
            **{key: about.get(key) for key in ("name", "pid", "nat", "subnet", "gateway", "subnet6")},
            "name": name, "ports": len(users) if about else None,
        })  # fmt: skip
    return found


def forward(name: str, wanted: Forward, *, to: str | None = None, remove: bool = False) -> dict[str, Any]:
    """Have a port of the host lead to a guest of that network, or no longer; what it is.  ConfigError."""
    about = {"protocol": wanted.protocol, "address": wanted.address}
    with _network(name) as client:
        if remove:
            client.unforward(wanted.port, **about)
            return {**about, "port": wanted.port, "to_port": wanted.to, "to": to}
        guest = {} if to is None else {"to": to}
        return dict(client.forward(wanted.port, to_port=wanted.to, **about, **guest))


def join(name: str, words: str, *, remove: bool = False) -> dict[str, Any]:
    """Plug what a card could be plugged into, an interface of the host's say, into that network, or take it out again;
    its port's number and name.

    words   as of --net, of a link that leads elsewhere, and of a bridge's port: vlan=, trunk=, isolated=, mirror=

    ConfigError where it cannot be had, or is there already.
    """
    own = [word for word in cut(words, ",") if word.partition("=")[0] in PORT_WORDS]
    place = parse_card(",".join(["bridge=network", *own]), words).port
    card = parse_card(",".join(word for word in cut(words, ",") if word not in own), words).within(Path.cwd())
    if card.link_kind in ("user", "bridge", "null"):
        raise ConfigError(f"'{card.link}' leads nowhere else: a network joins tap=, nic=, vxlan= and the like")
    if replace(card, mtu=None) != NetConfig(link=card.link, options=card.options):
        raise ConfigError(
            f"in '{words}': only a card has such words, a network's link has options, mtu= and those of a port"
        )
    with _network(name) as client:
        there = [port for port in client.show()["ports"] if port.get("kind") == "uplink" and port["name"] == card.link]
        if remove:
            if not there:
                raise ConfigError(f"the network '{name}' has not joined {card.link}")
            client.detach(there[0]["port"])
            _leave_no_socket(card)
            return {"port": there[0]["port"], "name": card.link}
        if there:
            raise ConfigError(f"the network '{name}' has joined {card.link} already")
        opened = open_link(parse_link(card.link, card.options, card.mtu))
        try:
            return {"port": client.join(card.link, asdict(opened.spec), opened.descriptors, **place), "name": card.link}
        except BaseException:
            _leave_no_socket(card)
            raise
        finally:
            opened.close()


def capture(what: str, pipe: int) -> Callable[[], object]:
    """Write what passes a port of a network into a pipe, as pcapng, until nobody reads it any more, or what is returned
    is called.

    what   NETWORK/PORT, its number or who is at it; or the network, where one guest is on it
    """
    name, _, which = what.partition("/")
    try:
        client = registry.find(name)
    except ConfigError as none:
        raise ConfigError(f"'{what}' is no card of a guest that runs, and {none}") from None
    try:
        ports = [port for port in client.show()["ports"] if port.get("kind") not in _ITSELF]
        found = [port for port in ports if not which or which in (str(port["port"]), port["name"], port.get("mac"))]
        if len(found) != 1:
            known = ", ".join(f"{name}/{port['port']} ({port['name']})" for port in ports) or "none is there"
            raise ConfigError(f"'{what}' is not one port: {known}")
        answer, _ = client.ask("capture", [pipe], port=found[0]["port"])
    except BaseException:
        client.close()
        raise

    def end() -> None:
        with closing(client):
            client.ask("uncapture", **(answer or {}))

    return end


def _leave_no_socket(card: NetConfig) -> None:
    """The network's process, which listened at it, can remove nothing itself."""
    if card.socket_made is not None:
        card.socket_made.unlink(missing_ok=True)


@contextmanager
def _network(name: str) -> Iterator[NetworkClient]:
    client = registry.find(name)
    try:
        yield client
    finally:
        client.close()


def _subnet(text: str) -> str:
    try:
        found = ipaddress.IPv4Network(text)
    except ValueError:
        raise ConfigError(f"'{text}' is no subnet: write one such as 192.168.7.0/24") from None
    if not 16 <= found.prefixlen <= 29:
        raise ConfigError(f"the subnet '{text}' has to be from /16 to /29")
    return str(found)


def _stop(client: NetworkClient) -> None:
    try:
        client.ask("stop")
    except ConfigError:
        pass  # it never began, or is over
    finally:
        client.close()
