"""Guests in the background: `run -d`, `logs`, `wait` and `stop`."""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from xenia.cli.arguments import add_json, checked, seconds
from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import print_json
from xenia.cli.voice import Voice
from xenia.errors import ConfigError

VERBS = ("logs", "wait", "stop")
_GUEST = "GUEST"
_SIZE = (24, 80)  # of a console that nobody looks at yet
_LONG = 3.0  # seconds that one request waits for an end
_GLANCE = 0.1
_TIME = 10.0  # seconds that a guest has to end by itself
_NOT_DETACHED = {
    "machine_memory": "--machine-memory", "scatter": "--scatter", "xenstore": "--xenstore", "status_fd": "--status-fd",
    "gdb": "--gdb",
}  # fmt: skip
_STATUSES = {
    "poweroff": ExitStatus.OK, "reboot": ExitStatus.REBOOT, "soft_reset": ExitStatus.REBOOT,
    "suspend": ExitStatus.SUSPEND, "crash": ExitStatus.PANIC, "crashed": ExitStatus.CRASH,
    "watchdog": ExitStatus.WATCHDOG, "timeout": ExitStatus.TIMEOUT, "destroyed": ExitStatus.SIGTERM,
}  # fmt: skip


def add_background(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verbs."""

    def add(name: str, what: str, more: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}. {more}", allow_abbrev=False
        )
        parser.add_argument("guest", metavar=_GUEST, help="a guest's name, or its number")
        return parser

    logs = add(
        "logs", "print what a guest in the background has said on its console",
        "The newest 256 KiB are kept, also of guests that have ended: of the last 32.",
    )  # fmt: skip
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what it says, until it ends")
    add_json(logs)
    wait = add(
        "wait", "wait until a guest has ended, and end with its status",
        "That is the one of its command (xenia run -d ... -- command), or as for xenia run.",
    )  # fmt: skip
    add_json(wait)
    stop = add("stop", "ask a guest to power off, and destroy it where it does not", "")
    stop.add_argument(
        "--time", metavar="SECONDS", type=checked(seconds), default=_TIME,
        help="how long it may take (default: 10)",
    )  # fmt: skip


def run_detached(options: argparse.Namespace, configuration: Callable[[], Any], voice: Voice) -> int:
    """`run -d`: a domain of the daemon's; its name is printed."""
    from dataclasses import replace

    from xenia.storage.folder import telling
    from xenia.toolstack.attach.terminal import Terminal
    from xenia.toolstack.config.domain import Action, DomainConfig
    from xenia.toolstack.config.net import NetConfig
    from xenia.toolstack.provision.boot import Screen
    from xenia.toolstack.service.create import create

    for option, word in _NOT_DETACHED.items():
        if getattr(options, option, None) is not None:
            raise ConfigError(f"{word} goes with a guest in the foreground, not with -d")
    for word, given in (("--no-jail", not options.jail), ("--gdb-wait", options.gdb_wait)):
        if given:
            raise ConfigError(f"{word} goes with a guest in the foreground, not with -d")
    config = configuration()
    if options.name is None:
        config = replace(config, name=_free_name(config.name))
    if config.cards is None:
        config = replace(config, cards=() if config.is_demo else (NetConfig(),))
    restarts = config.on_reboot == "restart" or (config.on_reboot is None and not config.command)
    domain = DomainConfig(
        name=config.name, memory=config.memory, clock=config.clock, vcpus=config.vcpus, max_vcpus=config.max_vcpus,
        max_memory=config.max_memory, timeout=config.timeout, engine=config.engine,
        on_reboot=Action.RESTART if restarts else Action.DESTROY,
    )  # fmt: skip
    screen = Screen(os.environ.get("TERM", "linux"), *(Terminal().size() or _SIZE))
    with telling(voice.progress):
        place = create(domain, config, voice, screen)
    voice.clear()
    place.ask("unpause")
    print(place.name)
    return ExitStatus.OK


def _free_name(name: str) -> str:
    from xenia.toolstack.control.client import places

    taken = {place.name for place in places()}
    names = itertools.chain((name,), (f"{name}-{number}" for number in itertools.count(2)))
    return next(one for one in names if one not in taken)


def logs(options: argparse.Namespace, _: Voice) -> int:
    """`logs`."""
    from xenia.toolstack.control.client import ask_daemon

    _refuse_foreground(options.guest)
    if options.follow and not options.json:
        return _follow(options.guest)
    said = ask_daemon("logs", name=options.guest)
    if options.json:
        print_json({"name": options.guest, "text": said.encode("latin-1").decode("utf-8", "replace")}, indent=None)
    else:
        sys.stdout.buffer.write(said.encode("latin-1"))
        sys.stdout.flush()
    return ExitStatus.OK


def _follow(guest: str) -> int:
    import socket

    from xenia.toolstack.control.client import NoSuchGuest, ask_daemon, find_one

    try:
        place = find_one(guest)
    except NoSuchGuest:  # it has ended
        sys.stdout.buffer.write(ask_daemon("logs", name=guest).encode("latin-1"))
        return ExitStatus.OK
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            place.ask("console", descriptors=[theirs.fileno()], whole=True)
        while data := ours.recv(65536):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    return ExitStatus.OK


def _refuse_foreground(guest: str) -> None:
    from xenia.toolstack.control.client import NoSuchGuest, find

    try:
        found = find(guest)
    except NoSuchGuest:
        return
    if found[0].domid is None:
        raise ConfigError(f"{found[0]} runs in a terminal of its own, which has what it says")


def wait(options: argparse.Namespace, _: Voice) -> int:
    """`wait`."""
    ending = await_ending(options.guest, None)
    assert ending is not None  # it may take for ever
    status = ending["status"] if ending["status"] is not None else int(_STATUSES[ending["how"]])
    if options.json:
        print_json({"name": options.guest, **ending, "exit": status}, indent=None)
        return ExitStatus.OK
    return int(status)


def await_ending(guest: str, timeout: float | None) -> dict[str, Any] | None:
    """Wait until a guest has ended for good, however often it reboots; how it has, None where it has not within so many
    seconds."""
    from xenia.toolstack.control.client import NoSuchGuest, ask_daemon, find_one

    end = math.inf if timeout is None else time.monotonic() + timeout
    try:
        place = find_one(guest)
    except NoSuchGuest:
        place = None  # of the daemon's, and gone
    if place is not None and place.domid is None:
        while place.is_answered():
            if time.monotonic() >= end:
                return None
            time.sleep(_GLANCE)
        return {"how": "poweroff", "status": None}
    name, key = guest if place is None else str(place.domid), None
    while True:
        left = max(min(_LONG, end - time.monotonic()), 0.0)
        try:
            answer = ask_daemon("ending", patience=left + _LONG, name=name, key=key, timeout=left)
        except NoSuchGuest:
            raise ConfigError(f"no guest '{guest}' runs, or has run lately") from None
        if answer["over"]:
            ending: dict[str, Any] = answer["ending"]
            return ending
        key = answer["key"]
        if time.monotonic() >= end:
            return None


def stop(options: argparse.Namespace, voice: Voice) -> int:
    """`stop`."""
    from xenia.cli.domains import destroy
    from xenia.toolstack.control.client import find_one

    place = find_one(options.guest)
    voice.busy(f"waiting for {place} to power off")
    try:
        place.ask("shutdown", wish="poweroff")
        ending = await_ending(str(place.number), options.time)
    finally:
        voice.clear()
    if ending is None:
        voice.say(f"{place} has not powered off within {options.time:g} seconds; it is destroyed")
        options.domain = str(place.number) if place.domid is None else place.name  # which reboots do not change
        return destroy(options, voice)
    return ExitStatus.OK
