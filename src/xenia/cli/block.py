"""`xenia block-attach` and its like: the disks of a guest that runs.  The verbs are xl's, and block-resize."""

from __future__ import annotations

import argparse
import json
from typing import Any

from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import printable
from xenia.cli.voice import Voice, rough_size

_GUEST_HELP = "the guest's name, or its process"
_NAME_HELP = "the disk's name in the guest: xvda, say"


def add_block(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verbs."""

    def add(name: str, what: str, description: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(
            name, help=what, description=description, allow_abbrev=False
        )
        parser.add_argument("guest", metavar="GUEST", help=_GUEST_HELP)
        return parser

    attach = add(
        "block-attach", "plug a disk into a running guest", "Plug a disk into a guest that runs. Prints its name there."
    )
    attach.add_argument("disk", metavar="STACK[,WORD...]", help="the disk, in the words of 'xenia run --disk'")
    detach = add(
        "block-detach", "take a disk out of a running guest",
        "Ask a guest to let go of a disk, and take it away once it has.",
    )  # fmt: skip
    detach.add_argument("name", metavar="NAME", help=_NAME_HELP)
    detach.add_argument("--force", action="store_true", help="take it away even when the guest does not let go of it")
    listing = add("block-list", "list a running guest's disks", "List the disks of a guest that runs.")
    resize = add(
        "block-resize", "give a running guest's disk another size",
        "Give a disk another size, which the guest sees at once. Prints the size in bytes.",
    )  # fmt: skip
    resize.add_argument("name", metavar="NAME", help=_NAME_HELP)
    resize.add_argument(
        "size", metavar="SIZE", nargs="?", help="the size: 10G, say (default: what the file or device has by now)"
    )
    resize.add_argument("--shrink", action="store_true", help="cut it, and lose what is behind the new end")
    for parser in (attach, detach, listing, resize):
        parser.add_argument("--json", action="store_true", help="print JSON")


def block(options: argparse.Namespace, voice: Voice) -> int:
    """Carry out one of the verbs."""
    from xenia.toolstack.config.machine import parse_size
    from xenia.toolstack.control import remote
    from xenia.toolstack.guest.verbs import DetachDevice, ResizeDisk

    answer: dict[str, object] | list[dict[str, Any]]
    lines: list[str] = []
    match options.verb:
        case "block-attach":
            name = remote.attach(options.guest, "disk", options.disk)
            answer, lines = {"name": name}, [name]
        case "block-detach":
            voice.busy(f"waiting for the guest to let go of {options.name}")
            remote.call(options.guest, DetachDevice("disk", options.name, force=options.force))
            voice.clear()
            answer = {"name": options.name}
        case "block-resize":
            wanted = None if options.size is None else parse_size(options.size)
            size = remote.call(options.guest, ResizeDisk(options.name, wanted, options.shrink))
            answer, lines = {"name": options.name, "size": size}, [str(size)]
        case _:
            disks = [disk for guest in remote.statistics(options.guest) for disk in guest["disks"]]
            answer = [
                {"name": disk["name"], "size": disk["size"], "state": disk["state"],
                 "layers": [layer["layer"] for layer in disk["layers"]]}
                for disk in disks
            ]  # fmt: skip
            lines = [
                f"{disk['name']:6} {rough_size(disk['size']):>6}  {disk['state']:12} {' over '.join(disk['layers'])}"
                for disk in answer
            ]
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        for line in lines:
            print(printable(line))
    return ExitStatus.OK
