"""`xenia stats` and `xenia dmesg`: what running guests have done, and what they said to their hypervisor."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import printable
from xenia.cli.reports import print_table
from xenia.cli.voice import Voice, rough_size
from xenia.errors import ConfigError
from xenia.toolstack.control.remote import call_all
from xenia.toolstack.guest.verbs import Dmesg, Statistics

_MOST = 6  # hypercalls shown


def stats(guest: str | None, as_json: bool, voice: Voice) -> int:
    """All guests that run, or one by its name or process number.  Those that do not answer are named."""
    found, silent = call_all(Statistics(), guest)
    if as_json:
        print(json.dumps(found, indent=2))
    elif not found and not silent:
        voice.say("no guest is running")
    for one in [] if as_json else found:
        _print_guest(one)
    for line in silent:
        voice.error(line)
    return ExitStatus.USAGE if silent and not found else ExitStatus.OK


def dmesg(guest: str | None, as_json: bool, voice: Voice, *, clear: bool = False) -> int:
    """The hypervisor's log of all guests that run, or of one.  What fails is status 1, as in xl."""
    try:
        found, silent = call_all(Dmesg(clear), guest)
    except ConfigError as error:
        voice.error(str(error))
        return ExitStatus.PROBLEM
    if as_json:
        print(json.dumps(found, indent=2))
    elif not found and not silent:
        voice.say("no guest is running")
    for one in [] if as_json else found:
        if len(found) > 1:
            print(f"{printable(one['name'])} (process {one['pid']}):")
        for line in one["lines"]:
            print(printable(line, "\t"))
    for line in silent:
        voice.error(line)
    return ExitStatus.PROBLEM if silent and not found else ExitStatus.OK


def _print_guest(one: Mapping[str, Any]) -> None:
    print(
        f"{printable(one['name'])} (process {one['pid']}): {rough_size(one['memory'])}, {one['engine']}, "
        f"up {one['seconds']:.1f} s"
    )
    calls = sorted(one["hypercalls"].items(), key=lambda call: -call[1])
    shown = ", ".join(f"{name} {count}" for name, count in calls[:_MOST])
    print(f"  hypercalls {sum(count for _, count in calls)}: {shown}")
    if cards := one.get("cards"):
        print_table(["  " + line[0], *line[1:]] for line in _card_lines(cards))
    if one["disks"]:
        print_table(["  " + line[0], *line[1:]] for line in _disk_lines(one["disks"]))


def _disk_lines(disks: Iterable[Mapping[str, Any]]) -> Iterable[Sequence[str]]:
    yield "DISK", "REQUESTS", "BATCHES", "EACH", "MERGED", "READ", "WRITTEN", "FLUSHES", "ERRORS", "EVENTS"
    for disk in disks:
        yield (*_counts(disk["name"], disk), str(disk["errors"]), str(disk["notifications"]))
        for layer in disk["layers"]:
            yield (*_counts(f"  {layer['layer']}", layer), "", "")


def _card_lines(cards: Iterable[Mapping[str, Any]]) -> Iterable[Sequence[str]]:
    yield "CARD", "ON", "SENT", "", "RECEIVED", "", "BATCHES", "DROPPED", "ERRORS", "EVENTS"
    for card in cards:
        dropped = card["sent_dropped"] + card["received_dropped"] + card["no_carrier"]
        for layer in card["layers"]:
            dropped += sum(count for reasons in layer.get("dropped", {}).values() for count in reasons.values())
        errors = card["sent_errors"] + card["received_errors"]
        yield (
            card["name"], card["link"], str(card["sent"]), rough_size(card["sent_bytes"]), str(card["received"]),
            rough_size(card["received_bytes"]), str(card["batches"]), str(dropped), str(errors),
            str(card["notifications"]),
        )  # fmt: skip


def _counts(name: str, counts: Mapping[str, Any]) -> Sequence[str]:
    requests, batches = counts["requests"], counts["batches"]
    each = f"{requests / batches:.1f}" if batches else ""
    sizes = (rough_size(counts["bytes_read"]), rough_size(counts["bytes_written"]))
    return name, str(requests), str(batches), each, str(counts["merged"]), *sizes, str(counts["flushes"])
