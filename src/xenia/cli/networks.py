"""What the actions of `xenia net` do, each a function: its answer as plain data, and as tables of lines."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xenia.cli.exit_status import EndedBySignal
from xenia.cli.printable import printable
from xenia.cli.reports import print_table
from xenia.cli.voice import Voice, rough_size
from xenia.errors import ConfigError
from xenia.toolstack.config.forward import parse_publish
from xenia.toolstack.control import remote
from xenia.toolstack.guest.verbs import DetachDevice
from xenia.toolstack.networks import named

Table = list[Sequence[str]]
Told = tuple[object, list[Table]]


def show_lines(tables: Iterable[Table]) -> None:
    """Print them, with an empty line between two."""
    first = True
    for table in tables:
        if not table:
            continue
        if not first:
            print()
        first = False
        print_table(table)


def create(options: argparse.Namespace, voice: Voice) -> Told:
    """Make a network, and wait until it works."""
    voice.busy(f"making the network {options.name}")
    hosts = [_whole(port, "port", 1, 65535) for port in options.host]
    mtu = None if options.mtu is None else _whole(options.mtu, "MTU", 68, 9000)
    made = named.create(
        options.name, subnet=options.subnet, ipv6=options.ipv6, nat=options.nat, mtu=mtu, hosts=hosts,
        progress=voice.progress,
    )  # fmt: skip
    voice.clear()
    if options.subnet is None:
        addresses = " and ".join(made[key] for key in ("subnet", "subnet6") if made.get(key))
        voice.say(f"the network {options.name} has {addresses}")
    return dict(made), [[(options.name,)]]


def delete(options: argparse.Namespace, voice: Voice) -> Told:
    """End a network."""
    named.delete(options.name, force=options.force)
    return {"name": options.name}, []


def listing(options: argparse.Namespace, voice: Voice) -> Told:
    """Networks, and the cards of guests."""
    found, silent = remote.cards(options.guest)
    networks = named.describe_all() if options.guest is None else []
    for line in [*silent, *(f"the network '{one['name']}' does not answer" for one in networks if not one["pid"])]:
        voice.error(line)
    if options.guest is None and not networks and not found and not options.json:
        voice.say("no network and no guest with a card is running")
    tables: list[Table] = []
    if networks:
        tables.append([("NETWORK", "SUBNET", "PORTS", "PROCESS"), *(
            (one["name"], *(str(one[key] if one[key] is not None else "-") for key in ("subnet", "ports", "pid")))
            for one in networks
        )])  # fmt: skip
    if found:
        tables.append([
            ("GUEST", "Idx", "BE", "Mac Addr.", "handle", "state", "evt-ch", "tx-/rx-ring-ref", "LINK", "BE-path"),
            *map(_card_line, found),
        ])  # fmt: skip
    return {"networks": networks, "cards": found}, tables


def _card_line(card: Mapping[str, Any]) -> Sequence[str]:
    number = str(card["number"])
    references = "/".join(str(card.get(name) or -1) for name in ("tx_ring_ref", "rx_ring_ref"))
    return (
        card["guest"], number, "0", card["mac"], number, card["state"], str(card.get("event_channel") or -1),
        references, card["link"], card["backend_path"],
    )  # fmt: skip


def show(options: argparse.Namespace, voice: Voice) -> Told:
    """All there is to know of a network."""
    try:
        found = named.show(options.name)
    except ConfigError as error:
        raise ConfigError(f"{error}{_cards_of(options.name)}") from None
    about = [(key, found[key]) for key in ("name", "subnet", "gateway", "dns", "subnet6", "domain") if found.get(key)]
    tables: list[Table] = [[(key, str(value)) for key, value in about]]
    for title, columns in _SHOWN.items():
        if rows := found.get(title):
            tables.append([
                tuple(column.upper().replace("_", " ") for column in columns),
                *(tuple(_cell(row.get(column)) for column in columns) for row in rows),
            ])  # fmt: skip
    if counters := {**(found.get("nat") or {}), **(found.get("counters") or {})}:
        tables.append([(key.replace("_", " "), _cell(value)) for key, value in counters.items() if value])
    return found, tables


def _cards_of(name: str) -> str:
    """Where a guest's cards are whose name was taken for a network's, as the end of a sentence."""
    try:
        links = [card["link"] for card in remote.cards(name)[0]]
    except ConfigError:
        return ""
    return f"; the guest {name} has {'cards at ' + ', '.join(links) if links else 'no card'}"


_SHOWN = {
    "ports": ("port", "name", "kind", "words", "mac", "ip", "sent", "received", "dropped", "undelivered"),
    "addresses": ("mac", "port", "vlan", "age"),
    "leases": ("name", "ip", "mac", "left"),
    "forwards": ("guest", "there", "protocol", "address", "port", "to", "to_port"),
}


def forward(options: argparse.Namespace, voice: Voice) -> Told:
    """A port of the host that leads to a guest, or no longer does."""
    wanted = parse_publish(options.forward)
    found = named.forward(options.name, wanted, to=options.to, remove=options.remove)
    where = f"{found['protocol']} {_endpoint(found['address'], found['port'])}"
    return found, [] if options.remove else [[(f"{where} -> {_endpoint(found['to'], found['to_port'])}",)]]


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def join(options: argparse.Namespace, voice: Voice) -> Told:
    """A way elsewhere for a network, or no longer."""
    found = named.join(options.name, options.words, remove=options.remove)
    return found, [] if options.remove else [[(f"port {found['port']}",)]]


def attach(options: argparse.Namespace, voice: Voice) -> Told:
    """A card for a guest that runs."""
    name = remote.attach(options.guest, "vif", options.words)
    return {"name": name}, [[(name,)]]


def detach(options: argparse.Namespace, voice: Voice) -> Told:
    """No card any more."""
    voice.busy(f"waiting for the guest to let go of {options.card}")
    remote.call(options.guest, DetachDevice("vif", options.card, force=options.force))
    voice.clear()
    return {"name": options.card}, []


def capture(options: argparse.Namespace, voice: Voice) -> Told:
    """What passes, into a file, until somebody has enough of it."""
    from xenia.toolstack.networks.capture import Captured, relay

    count = None if options.count is None else _whole(options.count, "count", 1, 1 << 62)
    if options.output in (None, "-") and sys.stdout.isatty():
        raise ConfigError("pcapng is nothing for a terminal: give a file (-o) or a pipe, such as | tcpdump -nr -")
    if options.output in (None, "-") and options.json:
        raise ConfigError("pcapng and JSON cannot both go to standard output: give a file (-o)")
    frames, why = Captured(), ""
    with remote.capturing(options.what) as source:
        output = _capture_output(options.output)
        voice.busy(f"capturing {options.what}; Ctrl-C ends it")
        try:
            relay(source, output, frames, count)
            if count is None or frames.count < count:
                why = ": nothing more comes from there"
        except BrokenPipeError:
            why = ": who read them has enough"
        except EndedBySignal as ended:
            if ended.number is not signal.SIGINT:
                raise
        finally:
            os.close(output)
        voice.clear()
    voice.say(f"{frames.count} frame{'s' * (frames.count != 1)}{why}")
    return {"frames": frames.count, "file": options.output}, []


def _capture_output(path: str | None) -> int:
    """Where captured frames go, once there is something to capture: what a file had in it is lost."""
    if path in (None, "-"):
        return os.dup(1)
    assert path is not None
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def change(options: argparse.Namespace, voice: Voice) -> Told:
    """Its filters do something else, or its cable is pulled out."""
    name = remote.change_card(options.what, options.words)
    return {"name": name}, [[(name,)]]


def _whole(text: str, what: str, least: int, most: int) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise ConfigError(
            f"'{text}' is no {what}: write a whole number from {least}" + (f" to {most}" * (most < 1 << 32))
        )
    return int(text)


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}"
    if isinstance(value, dict):
        value = [f"{name}:{_cell(count)}" for name, count in value.items()]
    if isinstance(value, list):
        return printable(" ".join(map(str, value))) or "-"
    return rough_size(value) if isinstance(value, int) and value >= 1 << 20 else printable(str(value))


ACTIONS = {
    "create": create, "delete": delete, "list": listing, "show": show, "forward": forward,
    "join": join, "attach": attach, "detach": detach, "capture": capture, "set": change,
}  # fmt: skip
