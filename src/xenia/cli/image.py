"""`xenia image`: its grammar, and what it prints."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import print_json
from xenia.cli.voice import Voice
from xenia.errors import ConfigError

if TYPE_CHECKING:
    from xenia.toolstack.image.build import Built
    from xenia.toolstack.image.oci import BuiltContainer

DISTRIBUTIONS = ("debian",)
_LONGEST = 60  # characters of a command
_FOR_PACKAGES = ("include", "hostname", "root_password", "ssh", "ssh_key", "mirror")  # options, by name


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
        help="build a root disk from a distribution's packages, or from a container image",
        description="Build a root disk from the packages of this host's distribution: fetched by its package client, "
        "put in place here, and configured by dpkg in a guest, so that neither root nor any tool for it is needed. "
        "Packages are kept; another image fetches only what it has more. Or, with --from, from a container image in an "
        "archive: 'xenia run --root' runs its entrypoint then. The disk appears when it is whole.",
        allow_abbrev=False,
    )
    build.add_argument("distribution", choices=DISTRIBUTIONS, nargs="?", help="what to build")
    build.add_argument(
        "--from", metavar="ARCHIVE", dest="archive",
        help="a container image instead, as docker save, podman save or skopeo copy left it: a docker-archive, an OCI "
        "archive or layout",
    )  # fmt: skip
    build.add_argument("--tag", metavar="NAME", help="which image, where the archive has several")
    build.add_argument(
        "-o", "--output", metavar="STACK", required=True,
        help="the disk to make: a file such as root.img or root.qcow2, or layers of storage from the bottom up",
    )  # fmt: skip
    build.add_argument(
        "--size", metavar="SIZE", help="the disk's size (default: 2G, or twice what a container image takes)"
    )
    build.add_argument(
        "--include", metavar="PACKAGE,...", action="append", default=[], help="packages to install besides"
    )
    build.add_argument("--hostname", metavar="NAME", help="the system's name (default: debian)")
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
    from xenia.cli.log_voice import tell_what_is_logged

    tell_what_is_logged(voice)
    if (options.archive is None) == (options.distribution is None):
        raise ConfigError("say what to build: a distribution (debian), or a container image (--from ARCHIVE)")
    built: Built | BuiltContainer
    if options.archive is None:
        built = _from_packages(options, voice)
        what = f"{len(built.packages)} packages"
    else:
        built = _from_container(options, voice)
        layers = f"{built.layers} layer{'s' if built.layers != 1 else ''}"
        runs = shlex.join(built.command)
        runs = runs if len(runs) <= _LONGEST else f"{runs[:_LONGEST]}..."
        what = f"{built.files} files of {layers}, to run {runs}"
    voice.clear()
    if options.json:
        from dataclasses import asdict

        print_json(asdict(built))
    else:
        voice.say(f"{built.image}: {what}, built in {_took(built.seconds)}; boot it: xenia run --root {built.image}")
    return ExitStatus.OK


def _from_packages(options: argparse.Namespace, voice: Voice) -> Built:
    from xenia.toolstack.config.machine import parse_size
    from xenia.toolstack.image.build import build
    from xenia.toolstack.image.config import DEFAULT_SIZE, ImageConfig

    if options.tag is not None:
        raise ConfigError("--tag goes with --from")
    config = ImageConfig(
        output=options.output,
        size=parse_size(options.size) if options.size is not None else DEFAULT_SIZE,
        include=tuple(name for text in options.include for name in text.split(",") if name),
        hostname=options.hostname if options.hostname is not None else DISTRIBUTIONS[0],
        root_password=_password(options.root_password),
        replace=options.force,
        ssh_keys=_keys(options),
        mirror=options.mirror,
    )
    return build(config, voice)


def _from_container(options: argparse.Namespace, voice: Voice) -> BuiltContainer:
    from pathlib import Path

    from xenia.toolstack.config.machine import parse_size
    from xenia.toolstack.image.oci import ContainerConfig, build_container

    for name in _FOR_PACKAGES:
        if getattr(options, name):
            raise ConfigError(f"--{name.replace('_', '-')} goes with a distribution, not with --from")
    config = ContainerConfig(
        archive=Path(options.archive),
        output=options.output,
        size=parse_size(options.size) if options.size is not None else None,
        tag=options.tag,
        replace=options.force,
    )
    return build_container(config, voice)


def _keys(options: argparse.Namespace) -> tuple[str, ...]:
    from pathlib import Path

    from xenia.toolstack.image.network import own_keys, read_keys

    keys = [key for path in options.ssh_key for key in read_keys(Path(path))]
    return (*keys, *(own_keys(Path.home()) if options.ssh else ()))


def _took(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _password(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        with open(text[1:]) as file:
            return file.read().removesuffix("\n")
    except OSError as error:
        raise ConfigError(f"cannot read the password in {text[1:]}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"what is in {text[1:]} is no text, and no password") from None
