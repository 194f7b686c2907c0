"""`xenia exec`: a command in a guest that runs."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

from xenia.cli.arguments import places, variable
from xenia.cli.exit_status import ExitStatus
from xenia.cli.voice import Voice
from xenia.errors import ConfigError

USAGE = "xenia exec [option ...] GUEST [--] command [argument ...]"
_VALUED = ("-e", "--env", "-w", "--workdir", "-u", "--user")


def command_begins(arguments: list[str]) -> int | None:
    """Where the command begins that stands behind the guest's name without a `--`; None: nowhere.

    arguments   behind `xenia`, `exec` first
    """
    guest = next(places(arguments, _VALUED), None)
    return None if guest is None or arguments[guest + 1 : guest + 2] == ["--"] else guest + 1


def add_exec(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verb."""
    parser = commands.add_parser(
        "exec",
        help="run a command in a running guest",
        usage=USAGE,
        description="Run a command in a guest that runs: its output, its status and the signals that come here pass "
        "through. It needs no network and no sshd there, but Xenia's agent, which guests have that boot Linux with "
        "Xenia's own RAM disk; also those whose root is a disk.",
        allow_abbrev=False,
    )
    parser.add_argument("guest", metavar="GUEST", help="the guest's name, or its number")
    parser.add_argument("-i", "--interactive", action="store_true", help="give it this command's standard input")
    parser.add_argument("-t", "--tty", action="store_true", help="give it a terminal; with -i, this one")
    parser.add_argument(
        "-e", "--env", metavar="NAME[=VALUE]", action="append", default=[],
        help="a variable in its environment; without a value, the one that it has here",
    )  # fmt: skip
    parser.add_argument("-w", "--workdir", metavar="DIR", default="/", help="the folder that it starts in (default: /)")
    parser.add_argument(
        "-u", "--user", metavar="USER[:GROUP]", default="root", help="who it runs as there (default: root)"
    )


def run_command(options: argparse.Namespace, command: list[str], voice: Voice) -> int:
    """Carry it out."""
    from xenia.toolstack.attach.exec import run_here
    from xenia.toolstack.commands.process import CommandLost
    from xenia.toolstack.control.client import find_one

    if not command:
        raise ConfigError(f"exec needs a command ({USAGE})")
    place = find_one(options.guest)
    try:
        return run_here(
            place.starter, command, env=dict(map(variable, options.env)), cwd=options.workdir, user=options.user,
            interactive=options.interactive, tty=options.tty,
            on_wait=lambda: voice.busy("waiting for the guest's agent"), on_start=voice.clear,
        )  # fmt: skip
    except CommandLost as lost:
        voice.clear()
        voice.error(f"{place}: {lost}")
        return ExitStatus.LOST


def tell_end() -> NoReturn:
    """Say what has become of a command that the launcher handed over and that has no status, and end.

    Of the process the arguments are the guest, and the last news of the command (backends/streams/command.py).
    """
    import json

    guest, news = sys.argv[1:]
    try:
        told = json.loads(news) if news else {"lost": "the guest is gone"}
    except (ValueError, RecursionError):
        told = None
    match told:
        case {"unanswered": True}:
            text, status = f"guest '{guest}' does not answer", ExitStatus.USAGE
        case {"refused": str(why)}:
            text, status = why, ExitStatus.USAGE
        case {"lost": str(why)}:
            text, status = f"guest '{guest}': {why}", ExitStatus.LOST
        case _:
            text, status = f"guest '{guest}': what it says of the command makes no sense", ExitStatus.LOST
    Voice().error(text)
    sys.exit(status)
