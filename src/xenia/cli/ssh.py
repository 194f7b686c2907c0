"""`xenia ssh`: its grammar, and how it becomes the host's ssh."""

from __future__ import annotations

import argparse
import os
from typing import Any, NoReturn

from xenia.cli.arguments import checked, places, seconds
from xenia.cli.voice import Voice
from xenia.errors import ConfigError

USAGE = "xenia ssh [option ...] [GUEST] [[--] command [argument ...]]"
_VALUED = ("-l", "--user", "-i", "--identity", "--wait")


def command_begins(arguments: list[str]) -> int | None:
    """Where the command for the guest begins that stands behind its name, as ssh has it; None: nowhere.

    arguments   behind `xenia`, `ssh` first
    """
    _, second = (*places(arguments, _VALUED), None, None)[:2]
    return second


def add_ssh(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verb."""
    parser = commands.add_parser(
        "ssh",
        help="log in to a running guest, or run a command there",
        usage=USAGE,
        description="Log in to a guest that runs, with the host's ssh, or run a command there. A port of the host's "
        "loopback that leads to the guest is taken where -p made one, and made else. The guest needs an sshd and your "
        "key: xenia image build debian --ssh.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "guest", metavar="GUEST", nargs="?", default="guest", help="the guest's name, or its process (default: guest)"
    )
    parser.add_argument("-l", "--user", metavar="USER", default="root", help="who to be there (default: root)")
    parser.add_argument("-i", "--identity", metavar="FILE", default=None, help="the private key to show")
    parser.add_argument(
        "--wait", metavar="SECONDS", type=checked(seconds), default=None,
        help="how long the guest may take until it answers (default: 60; less where it says that nobody listens)",
    )  # fmt: skip


def ssh(options: argparse.Namespace, command: list[str], voice: Voice) -> NoReturn:
    """Become the host's ssh.  ConfigError where something is missing."""
    import shutil

    from xenia.toolstack.ssh import await_sshd, find_way, unmake

    program = shutil.which("ssh")
    if program is None:
        raise ConfigError("there is no ssh on this host (Debian's package openssh-client)")
    way = find_way(options.guest)
    voice.busy("waiting for the guest's sshd")
    try:
        await_sshd(way, options.wait)
    except BaseException:
        unmake(way)
        raise
    voice.clear()
    os.execv(program, way.command(options.user, command, options.identity))
