"""`xenia mem-set` and `xenia mem-max`: how much memory a guest that runs is to have.  The verbs are xl's."""

from __future__ import annotations

import argparse
import time
from typing import Any

from xenia.cli.arguments import add_json, checked, seconds
from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import print_json
from xenia.cli.voice import Voice, rough_size
from xenia.storage.size import parse_size

_PERIOD = 0.1  # seconds between two looks
_PAGE = 4096


def add_memory(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verbs."""
    size = checked(_size)
    for name, what, description in (
        (
            "mem-set", "have a running guest take or give back memory",
            "Ask a guest to have so much memory: its balloon driver gives back what it has beyond that, which is the "
            "host's again, or takes more.",
        ),
        (
            "mem-max", "say how much memory a running guest may have",
            "Say how much memory a guest may be given by mem-set.",
        ),
    ):  # fmt: skip
        parser = commands.add_parser(name, help=what, description=description, allow_abbrev=False)
        parser.add_argument("guest", metavar="GUEST", help="the guest's name, or its process")
        parser.add_argument("size", metavar="SIZE", type=size, help="512, 512M or 1G; a bare number is MiB, as in xl")
        if name == "mem-set":
            parser.add_argument(
                "--wait", metavar="SECONDS", type=checked(seconds), nargs="?", const=60.0,
                help="wait until the guest has that much, for a minute unless said otherwise",
            )  # fmt: skip
        add_json(parser)


def memory(options: argparse.Namespace, voice: Voice) -> int:
    """Carry out one of the verbs."""
    from xenia.cli.domains import find_domain
    from xenia.toolstack.control import remote
    from xenia.toolstack.guest.memory_verbs import SetMemory
    from xenia.toolstack.guest.verbs import Statistics

    options.guest = str(find_domain(options.guest).number)
    remote.call(options.guest, SetMemory(options.size, options.verb == "mem-max"))
    if options.verb == "mem-set" and options.wait is not None and not _wait(options, voice):
        return ExitStatus.PROBLEM
    if options.json:
        guest = remote.call(options.guest, Statistics())
        answer = {"memory": guest["frames"] * _PAGE, "target": guest["memory_target"], "maximum": guest["max_memory"]}
        print_json(answer)
    return ExitStatus.OK


def _wait(options: argparse.Namespace, voice: Voice) -> bool:
    """Whether the guest got there in time."""
    from xenia.toolstack.control import remote
    from xenia.toolstack.guest.verbs import Statistics

    end = time.monotonic() + options.wait
    while True:
        guest = remote.call(options.guest, Statistics())
        has = guest["frames"] * _PAGE
        if has == options.size:
            voice.clear()
            return True
        if time.monotonic() >= end:
            voice.clear()
            voice.error(f"guest '{guest['name']}' has {rough_size(has)} still: it needs it, or has no balloon driver")
            return False
        voice.busy(f"{guest['name']} has {rough_size(has)} of memory")
        time.sleep(_PERIOD)


def _size(text: str) -> int:
    size = parse_size(f"{text}M" if text.isdigit() else text)
    return size - size % _PAGE
