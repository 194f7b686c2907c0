"""xl's lines for devices, and how an operator's word for one is understood."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xenia.abi.xenbus import XenbusState
from xenia.errors import ConfigError
from xenia.toolstack.control.client import Place

Device = Mapping[str, Any]


def disk_of(place: Place, name: str) -> Device:
    """The domain's disk of that name or number.  ConfigError in xl's words."""
    for disk in place.ask("statistics")["disks"]:
        if name in (disk["name"], str(disk["number"])):
            return dict(disk)
    raise ConfigError(f"Device {name} not connected.")


def card_of(place: Place, name: str) -> Device:
    """The domain's network card of that number, MAC or name.  ConfigError in xl's words."""
    for card in place.ask("statistics").get("cards", []):
        if name.lower() in (card["name"], str(card["number"]), card["mac"]):
            return dict(card)
    raise ConfigError(f"Unknown device {name}.")


def disk_lines(found: Iterable[Device]) -> Iterable[str]:
    """What `block-list` prints of disks, with `domid` in each."""
    yield f"{'Vdev':<5} {'BE':<3} {'handle':<6} {'state':<5} {'evt-ch':<6} {'ring-ref':<8} {'BE-path':<30}"
    for disk in found:
        channel, ring = disk.get("event_channel", -1), disk.get("ring_ref", -1)
        where = f"{disk['number']:<5} {0:<3} {disk['domid']:<6} {_state(disk):<5}"
        yield f"{where} {channel:<6} {ring:<8} {disk['backend_path']:<30}"


def card_lines(found: Iterable[Device]) -> Iterable[str]:
    """What `network-list` prints of cards."""
    head = f"{'Idx':<3} {'BE':<2} {'Mac Addr.':<17} {'handle':<6} {'state':<5} {'evt-ch':<6}"
    yield f"{head} {'tx-':>5}/{'rx-ring-ref':<5} {'BE-path':<30}"
    for card in found:
        number, channel = card["number"], card.get("event_channel", -1)
        rings = f"{card.get('tx_ring_ref', -1):5}/{card.get('rx_ring_ref', -1):<11}"
        where = f"{number:<3} {0:<2} {card['mac']}{number:6} {_state(card):5}"
        yield f"{where} {channel:6} {rings} {card['backend_path']:<30}"


def _state(device: Device) -> int:
    return int(XenbusState[device["state"].upper()])
