"""`xenia daemon`: the process that holds domains which belong to no terminal."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

from xenia.cli.arguments import add_json, checked
from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import print_json
from xenia.cli.voice import Voice, rough_size

_END = 60.0  # seconds for all domains to give back what they have


def add_daemon(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar."""
    from xenia.storage.size import parse_size

    parser = commands.add_parser(
        "daemon",
        help="hold domains that belong to no terminal",
        description="Hold a machine with domains that belong to no terminal ('xenia create'). The first client that "
        "needs it starts it; so this is for whoever wants it in the foreground, under systemd, or with other memory.",
        allow_abbrev=False,
    )
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--detach", action="store_true", help="go on behind the command, which ends once it is ready")
    ways.add_argument("--status", action="store_true", help="say whether it runs, since when, and with what")
    ways.add_argument("--stop", action="store_true", help="end it, when it has no domains")
    ways.add_argument("--unit", action="store_true", help="print a unit for systemd --user")
    ways.add_argument("--install", action="store_true", help="write that unit where systemd --user looks for it")
    ways.add_argument("--ready", type=int, metavar="FD", help=argparse.SUPPRESS)
    parser.add_argument(
        "--memory", metavar="SIZE", type=checked(parse_size), default=None,
        help="memory for domains (default: three quarters of the host's; what no domain has is not taken)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="with --stop: destroy its domains")
    add_json(parser)


def daemon(options: argparse.Namespace, voice: Voice) -> int:
    """Be it, start it, end it or say what it is."""
    from xenia.errors import ConfigError
    from xenia.toolstack.control.client import ask_daemon
    from xenia.toolstack.service import place, start

    if options.stop:
        names = ask_daemon("stop", force=options.force)
        if not place.await_end(_END):
            raise ConfigError(f"the daemon has not ended within {_END:.0f} seconds")
        if names:
            voice.say(f"destroyed {', '.join(names)}")
    elif options.status:
        return _status(options.json, voice)
    elif options.detach:
        voice.say(f"the daemon is process {start.detach(options.memory)}")
    elif options.unit:
        print(start.unit(_program(), options.memory), end="")
    elif options.install:
        path = start.unit_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(start.unit(_program(), options.memory))
        print(path)
        voice.say("systemctl --user daemon-reload && systemctl --user enable --now xenia")
    else:
        _serve(options, voice)
    return ExitStatus.OK


def _serve(options: argparse.Namespace, voice: Voice) -> None:
    import logging

    from xenia.cli.log_voice import VoiceHandler
    from xenia.errors import ConfigError
    from xenia.toolstack.service import start

    start.log_to(VoiceHandler(voice, logging.INFO))

    def ready(memory: int) -> None:
        voice.say(f"ready, with {rough_size(memory)} for domains")
        if options.ready is not None:
            os.write(options.ready, b"ready\n")
            os.close(options.ready)

    try:
        start.serve(options.memory, ready)
    except ConfigError as error:
        if options.ready is not None:
            os.write(options.ready, str(error).encode())
        raise
    voice.say("ended")


def _status(as_json: bool, voice: Voice) -> int:
    from xenia.toolstack.control.client import NoSuchGuest, ask_daemon, other_build
    from xenia.toolstack.service import place

    try:
        about = ask_daemon("about")
    except NoSuchGuest:
        killed = place.killed()
        if as_json:
            lost = None if killed is None else {"pid": killed.pid, "domains": list(killed.domains)}
            print_json({"running": False, "killed": lost})
        elif killed is not None:
            voice.warn(str(killed))
        else:
            voice.say("no daemon is running")
        return ExitStatus.PROBLEM
    if as_json:
        print_json({"running": True, **about})
    else:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(about["since"]))
        free, memory = rough_size(about["free_memory"]), rough_size(about["memory"])
        print(f"process {about['pid']}, since {since}: {about['domains']} domains, {free} of {memory} free")
        if (line := other_build()) is not None:
            voice.warn(line)
    return ExitStatus.OK


def _program() -> str:
    import shutil

    found = shutil.which("xenia")
    return found if found is not None else f"{sys.executable} -m xenia"
