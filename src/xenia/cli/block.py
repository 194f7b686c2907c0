"""`xenia block-attach` and its like: the disks of a guest that runs.  The verbs are xl's, and block-resize."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from typing import Any

from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import print_json, printable
from xenia.cli.voice import Voice, rough_size
from xenia.errors import ConfigError

Options = argparse.Namespace
Answer = tuple[object, Iterable[str]]

_GUEST_HELP = "the guest's name or number"
_NAME_HELP = "the disk's name in the guest: xvda, say, or its number"


def add_block(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verbs."""

    def add(name: str, what: str, description: str, nargs: str | None = None) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(
            name, help=what, description=description, allow_abbrev=False
        )
        parser.add_argument("guest", metavar="GUEST", nargs=nargs, help=_GUEST_HELP)
        return parser

    attach = add(
        "block-attach", "plug a disk into a running guest", "Plug a disk into a guest that runs. Prints its name there."
    )
    attach.add_argument(
        "disk", metavar="STACK[,WORD...]", nargs="+", help="the disk, in the words of 'xenia run --disk' or xl's"
    )
    detach = add(
        "block-detach", "take a disk out of a running guest",
        "Ask a guest to let go of a disk, and take it away once it has.",
    )  # fmt: skip
    detach.add_argument("name", metavar="NAME", help=_NAME_HELP)
    detach.add_argument(
        "-f", "--force", action="store_true", help="take it away even when the guest does not let go of it"
    )
    listing = add("block-list", "list running guests' disks", "List the disks of guests that run, as xl does.", "+")
    listing.add_argument("-l", "--long", action="store_true", help="by name, with sizes and layers, instead")
    resize = add(
        "block-resize", "give a running guest's disk another size",
        "Give a disk another size, which the guest sees at once. Prints the size in bytes.",
    )  # fmt: skip
    resize.add_argument("name", metavar="NAME", help=_NAME_HELP)
    resize.add_argument(
        "size", metavar="SIZE", nargs="?", help="the size: 10G, say (default: what the file or device has by now)"
    )
    resize.add_argument("--shrink", action="store_true", help="cut it, and lose what is behind the new end")
    insert = add("cd-insert", "put a disc into a guest's CD drive", "Put a disc into a drive, for the one in it.")
    eject = add("cd-eject", "take the disc out of a guest's CD drive", "Take the disc out of a drive.")
    for parser in (insert, eject):
        parser.add_argument("name", metavar="NAME", help="the drive's name in the guest: xvdc, say, or its number")
    insert.add_argument("target", metavar="PATH", help="the disc's image")
    for parser in (attach, detach, listing, resize):
        parser.add_argument("--json", action="store_true", help="print JSON")


def block(options: Options, voice: Voice) -> int:
    """Carry out one of the verbs."""
    answer, lines = _VERBS[options.verb](options, voice)
    if getattr(options, "json", False):
        print_json(answer)
    else:
        for line in lines:
            print(printable(line))
    return ExitStatus.OK


def _attach(options: Options, voice: Voice) -> Answer:
    from xenia.cli.domains import find_domain
    from xenia.storage.folder import telling
    from xenia.toolstack.control import remote

    with telling(voice.progress):
        name = remote.attach(str(find_domain(options.guest).number), "disk", ",".join(options.disk))
    voice.clear()
    return {"name": name}, [name]


def _detach(options: Options, voice: Voice) -> Answer:
    name = _take_out(options, voice, force=options.force)["name"]
    return {"name": name}, []


def _take_out(options: Options, voice: Voice, *, force: bool = False, drive: bool = False) -> dict[str, Any]:
    """The disk that is no longer there."""
    from xenia.cli.devices import disk_of
    from xenia.cli.domains import find_domain
    from xenia.toolstack.control import remote
    from xenia.toolstack.guest.verbs import DetachDevice

    place = find_domain(options.guest)
    disk = dict(disk_of(place, options.name))
    if drive and not disk["cdrom"]:
        raise ConfigError(f"Device {options.name} is no CD drive.")
    voice.busy(f"waiting for the guest to let go of {disk['name']}")
    try:
        remote.call(str(place.number), DetachDevice("disk", disk["name"], force=force))
    finally:
        voice.clear()
    return disk


def _change_disc(options: Options, voice: Voice) -> Answer:
    """The guest gets another drive under the same name, so it keeps nothing of what was on the disc before."""
    from xenia.cli.domains import find_domain
    from xenia.toolstack.control import remote

    target = getattr(options, "target", "")
    guest = str(find_domain(options.guest).number)
    if target and not os.path.exists(target):
        raise ConfigError(f"Cannot stat file: {target}")
    name = _take_out(options, voice, drive=True)["name"]
    try:
        remote.attach(guest, "disk", f"vdev={name},access=r,devtype=cdrom,target={target}")
    except ConfigError:
        if target:
            remote.attach(guest, "disk", f"vdev={name},access=r,devtype=cdrom,target=")
        raise
    return {"name": name}, []


def _resize(options: Options, _: Voice) -> Answer:
    from xenia.cli.devices import disk_of
    from xenia.cli.domains import find_domain
    from xenia.toolstack.config.machine import parse_size
    from xenia.toolstack.control import remote
    from xenia.toolstack.guest.verbs import ResizeDisk

    place = find_domain(options.guest)
    name = disk_of(place, options.name)["name"]
    wanted = None if options.size is None else parse_size(options.size)
    size = remote.call(str(place.number), ResizeDisk(name, wanted, options.shrink))
    return {"name": name, "size": size}, [str(size)]


def _list(options: Options, voice: Voice) -> Answer:
    """As with xl, a domain that is not there is told, and no failure."""
    from xenia.cli.devices import disk_lines
    from xenia.cli.domains import find_domain

    found = []
    for guest in options.guest:
        try:
            said = find_domain(guest).ask("statistics")
        except ConfigError as error:
            voice.error(str(error))
            continue
        found += [{**disk, "domid": said["domid"]} for disk in said["disks"]]
    told = ("name", "number", "domid", "size", "cdrom", "state", "backend_path", "event_channel", "ring_ref")
    answer = [
        {**{key: disk[key] for key in told if key in disk}, "layers": [layer["layer"] for layer in disk["layers"]]}
        for disk in found
    ]
    if options.long:
        return answer, [
            f"{disk['name']:6} {rough_size(disk['size']):>6}  {disk['state']:12} {' over '.join(disk['layers'])}"
            for disk in answer
        ]
    return answer, disk_lines(found)


_VERBS: dict[str, Callable[[Options, Voice], Answer]] = {
    "block-attach": _attach, "block-detach": _detach, "block-list": _list, "block-resize": _resize,
    "cd-insert": _change_disc, "cd-eject": _change_disc,
}  # fmt: skip
