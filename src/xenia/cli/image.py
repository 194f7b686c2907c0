"""`xenia image`: its grammar, and what it prints."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xenia.cli.exit_status import ExitStatus
from xenia.cli.voice import Voice, VoiceHandler
from xenia.errors import ConfigError

if TYPE_CHECKING:
    from xenia.toolstack.image.build import Built

DISTRIBUTIONS = ("debian",)


def add_image(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verb."""
    image = commands.add_parser(
        "image",
        help="build root disks to boot guests from",
        description="Build root disks to boot guests from.",
        allow_abbrev=False,
    )
    actions = image.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    build = actions.add_parser(
        "build",
        help="build a root disk from a distribution's packages",
        description="Build a root disk from the packages of this host's distribution: fetched by its package client, "
        "put in place here, and configured by dpkg in a guest, so that neither root nor any tool for it is needed. "
        "Packages are kept; another image fetches only what it has more. The disk appears when it is whole.",
        allow_abbrev=False,
    )
    build.add_argument("distribution", choices=DISTRIBUTIONS, help="what to build")
    build.add_argument(
        "-o", "--output", metavar="STACK", required=True,
        help="the disk to make: a file such as root.img or root.qcow2, or layers of storage from the bottom up",
    )  # fmt: skip
    build.add_argument("--size", metavar="SIZE", default="2G", help="the disk's size (default: 2G)")
    build.add_argument(
        "--include", metavar="PACKAGE,...", action="append", default=[], help="packages to install besides"
    )
    build.add_argument("--hostname", metavar="NAME", default="debian", help="the system's name (default: debian)")
    build.add_argument(
        "--root-password", metavar="PASSWORD|@FILE", default="",
        help="root's password, or the file that has it, which no list of processes shows (default: none, so that "
        "'root' is all there is to type)",
    )  # fmt: skip
    build.add_argument(
        "--ssh", action="store_true",
        help="include openssh-server, and let root in with your public keys (~/.ssh/*.pub): see 'xenia ssh'",
    )  # fmt: skip
    build.add_argument(
        "--ssh-key", metavar="FILE", action="append", default=[], help="the same with the public keys in a file"
    )
    build.add_argument("--mirror", metavar="URL", help="where its apt finds packages (default: where this host's does)")
    build.add_argument("--force", action="store_true", help="take the place of a file that exists")
    build.add_argument("--json", action="store_true", help="print JSON")
    build.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")


def image(options: argparse.Namespace, voice: Voice) -> int:
    """Carry out one action and return the exit status."""
    from xenia.toolstack.config.machine import parse_size
    from xenia.toolstack.image.build import build
    from xenia.toolstack.image.config import ImageConfig

    logging.getLogger("xenia").addHandler(VoiceHandler(voice))
    config = ImageConfig(
        output=options.output,
        size=parse_size(options.size),
        include=tuple(name for text in options.include for name in text.split(",") if name),
        hostname=options.hostname,
        root_password=_password(options.root_password),
        replace=options.force,
        ssh_keys=_keys(options),
        mirror=options.mirror,
    )
    built = build(config, voice)
    voice.clear()
    if options.json:
        print(json.dumps(asdict(built), indent=2))
    else:
        voice.say(_summary(built))
    return ExitStatus.OK


def _keys(options: argparse.Namespace) -> tuple[str, ...]:
    from xenia.toolstack.image.network import own_keys, read_keys

    keys = [key for path in options.ssh_key for key in read_keys(Path(path))]
    return (*keys, *(own_keys(Path.home()) if options.ssh else ()))


def _summary(built: Built) -> str:
    minutes, seconds = divmod(round(built.seconds), 60)
    took = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    return f"{built.image}: {len(built.packages)} packages, built in {took}; boot it: xenia run --root {built.image}"


def _password(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text().removesuffix("\n")
    except OSError as error:
        raise ConfigError(f"cannot read the password in {text[1:]}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"what is in {text[1:]} is no text, and no password") from None
