"""`xenia disk`: its grammar, and what it prints."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import print_json, printable
from xenia.cli.voice import Voice, rough_size
from xenia.errors import ConfigError

if TYPE_CHECKING:
    from xenia.storage.checkpoint import Named
    from xenia.toolstack.disks.disk import Checked

DISK_HELP = "the layers from the bottom up, such as root.qcow2 or file:data.img,crypt:key=@key"


def add_disk(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verb."""
    disk = commands.add_parser(
        "disk",
        help="make, look at, copy and check disks, and go back to their checkpoints",
        description="Work on disks: stacks of layers such as qcow2, encryption, copy-on-write and checkpoints.",
        allow_abbrev=False,
    )
    actions = disk.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    def add(name: str, what: str, description: str, disk_help: str = DISK_HELP) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(
            name, help=what, description=description, allow_abbrev=False
        )
        parser.add_argument("disk", metavar="DISK", help=disk_help)
        return parser

    create = add("create", "make a disk", "Make a disk. What is below an overlay has to be there already.")
    create.add_argument("--size", metavar="SIZE", help="its size: 10G, 0.5G, 512M, or a bare number of bytes")
    create.add_argument("--force", action="store_true", help="take the place of a file that exists")
    info = add("info", "say what a disk is", "Say what a disk is, layer by layer from the top.")
    convert = add(
        "convert", "copy a disk into a new one", "Make the disk TARGET and copy the contents of DISK to it. Zeroes "
        "take no space where the target can leave them out.",
    )  # fmt: skip
    convert.add_argument("target", metavar="TARGET", help="the new disk, in the same words")
    convert.add_argument("--force", action="store_true", help="take the place of a file that exists")
    convert.add_argument("--no-backing", action="store_true", help="refuse images that are based on other files")
    check = add(
        "check", "look for damage in a disk's images", "Look for damage in the images of a disk. Ends with 1 when "
        "there is some that is not repaired.",
    )  # fmt: skip
    check.add_argument("--repair", action="store_true", help="put right what can be")
    checkpoint = add(
        "checkpoint", "name a disk's state, to go back to it", "Give the state of a disk with a layer 'checkpoint' a "
        "name. Without a name, list those there are.",
    )  # fmt: skip
    checkpoint.add_argument("name", metavar="NAME", nargs="?", help="a new name")
    checkpoint.add_argument("--forget", metavar="NAME", help="give up the checkpoint of that name instead")
    rollback = add("rollback", "go back to a checkpoint", "Go back to a checkpoint. The other ones stay.")
    rollback.add_argument("name", metavar="NAME", help="the checkpoint's name")
    for parser in (create, info, convert, check, checkpoint, rollback):
        parser.add_argument("--json", action="store_true", help="print JSON")


def disk(options: argparse.Namespace, voice: Voice) -> int:
    """Carry out one action and return the exit status."""
    from xenia.cli.log_voice import tell_what_is_logged
    from xenia.storage.folder import telling

    tell_what_is_logged(voice)
    with telling(voice.progress):
        return _carry_out(options, voice)


def _carry_out(options: argparse.Namespace, voice: Voice) -> int:
    from dataclasses import asdict

    from xenia.toolstack.config.machine import parse_size
    from xenia.toolstack.disks import disk as toolstack

    text: str = options.disk
    match options.action:
        case "create":
            size = None if options.size is None else parse_size(options.size)
            toolstack.create(text, size, options.force)
            if options.json:
                print_json({"disk": text, "created": True})
        case "info":
            found = toolstack.describe(text)
            voice.clear()
            if options.json:
                print_json(found)
            else:
                _print(_info_lines(found))
        case "convert":
            copied = toolstack.convert(text, options.target, options.force, voice.progress, not options.no_backing)
            voice.clear()
            if options.json:
                print_json({"disk": text, "target": options.target, "copied": copied})
            else:
                voice.say(f"copied {rough_size(copied)} of data")
        case "check":
            checked = toolstack.check(text, options.repair, voice.progress)
            voice.clear()
            sound = all(one.sound for one in checked)
            if options.json:
                print_json({"sound": sound, "images": [asdict(one) for one in checked]})
            else:
                _print([line for one in checked for line in _check_lines(one)] or ["no images, nothing to check"])
            return ExitStatus.OK if sound else ExitStatus.PROBLEM
        case "checkpoint" if options.name is None and options.forget is None:
            names = toolstack.checkpoints(text)
            if options.json:
                print_json([asdict(one) for one in names])
            else:
                _print(map(_checkpoint_line, names))
        case "checkpoint":
            if options.name is not None and options.forget is not None:
                raise ConfigError("either a new name or --forget, not both")
            if options.forget is not None:
                toolstack.forget(text, options.forget)
            else:
                toolstack.checkpoint(text, options.name)
            if options.json:
                print_json({"disk": text, "checkpoint": options.name, "forgotten": options.forget})
        case "rollback":
            toolstack.rollback(text, options.name)
            if options.json:
                print_json({"disk": text, "checkpoint": options.name})
    return ExitStatus.OK


def _info_lines(found: dict[str, Any]) -> Iterable[str]:
    yield f"{found['disk']}: {rough_size(found['size'])} ({found['size']} bytes)"
    for layer in found["layers"]:
        details = []
        for key, value in layer.items():
            if key in ("layer", "size") or value in (None, []):
                continue
            if key == "checkpoints":
                value = [f"{one['name']}{'*' if one['current'] else ''}" for one in value]
            text = ", ".join(value) if isinstance(value, list) else str(value)
            details.append(f"{key.replace('_', ' ')} {text}")
        yield f"  {layer['layer']:10} {rough_size(layer['size']):>6}  {'; '.join(details)}".rstrip()


def _check_lines(one: Checked) -> Iterable[str]:
    state = "sound" if one.sound else f"damaged in {one.error_count} places"
    notes = [f"{one.leaks} clusters used by nobody"] if one.leaks else []
    if one.repaired:
        notes.append("repaired")
    yield f"{one.image}: {state}, {one.clusters} clusters" + "".join(f", {note}" for note in notes)
    for error in one.errors:
        yield f"  {error}"


def _checkpoint_line(one: Named) -> str:
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.made))
    return f"{'*' if one.current else ' '} {one.name}  {made}" + (f"  after {one.parent}" if one.parent else "")


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(printable(line))
