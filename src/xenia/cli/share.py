"""`xenia share`: folders of the host's in a guest that runs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from typing import Any

from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import print_json, printable
from xenia.cli.voice import Voice
from xenia.errors import ConfigError

Options = argparse.Namespace
Answer = tuple[object, Iterable[str]]

_GUEST_HELP = "the guest's name or number"
_TOLD = ("name", "number", "path", "mount", "read_only", "cow", "state", "fault", "requests", "answers")


def add_share(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verb."""
    share = commands.add_parser(
        "share",
        help="share folders with running guests, and list them",
        description="Share folders of this host's with guests that run. What a guest begins with is said to 'xenia run "
        "--share', or in its configuration (p9).",
        allow_abbrev=False,
    )
    actions = share.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    def add(name: str, what: str, description: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(
            name, help=what, description=description, allow_abbrev=False
        )
        parser.add_argument("--json", action="store_true", help="print JSON")
        return parser

    attach = add(
        "attach", "share a folder with a running guest",
        "Share a folder with a guest that runs. Its agent mounts it; prints its tag, and where it is.",
    )  # fmt: skip
    attach.add_argument("guest", metavar="GUEST", help=_GUEST_HELP)
    attach.add_argument(
        "folder",
        metavar="DIR[:MOUNT][:ro]",
        help="the folder, or xl's words: tag=TAG,path=DIR,security_model=none, which the guest mounts itself",
    )
    detach = add(
        "detach", "share a folder no more",
        "Take a folder away from a guest that runs. Its agent unmounts it first, where nothing there uses it.",
    )  # fmt: skip
    detach.add_argument("guest", metavar="GUEST", help=_GUEST_HELP)
    detach.add_argument("folder", metavar="TAG", help="its tag, or where it is, here or in the guest")
    detach.add_argument(
        "-f", "--force", action="store_true", help="do not ask the guest: what it still does there fails"
    )
    listing = add("list", "list shared folders", "List the folders that running guests share.")
    listing.add_argument("guest", metavar="GUEST", nargs="?", help=f"{_GUEST_HELP} (default: all)")


def share(options: Options, voice: Voice) -> int:
    """Carry out one action and return the exit status."""
    answer, lines = _ACTIONS[options.action](options, voice)
    if options.json:
        print_json(answer)
    else:
        for line in lines:
            print(printable(line))
    return ExitStatus.OK


def _attach(options: Options, voice: Voice) -> Answer:
    from xenia.toolstack.control import mounts, remote
    from xenia.toolstack.control.client import find_one

    place = find_one(options.guest)
    name = remote.attach(str(place.number), "share", options.folder)
    share = next((one for one in place.ask("statistics").get("shares", []) if one["name"] == name), None)
    if share is None:
        raise ConfigError(f"{name} was detached at once")
    folder, why = share["mount"], ""
    if folder is not None:
        voice.busy(f"waiting for the guest to mount {name}")
        why = mounts.mount(place, name, folder, read_only=share["read_only"])
        voice.clear()
    if why:
        voice.warn(f"the guest has not mounted {name} at {folder}: {why}")
    if folder is None or why:
        voice.say(f"in the guest: mount -t 9p -o {mounts.OPTIONS} {name} DIRECTORY")
        folder = None
    return {"name": name, "mount": folder}, [name if folder is None else f"{name} at {folder}"]


def _detach(options: Options, voice: Voice) -> Answer:
    from xenia.toolstack.control import mounts, remote
    from xenia.toolstack.control.client import find_one
    from xenia.toolstack.guest.verbs import DetachDevice

    place = find_one(options.guest)
    found = _meant(place.ask("statistics").get("shares", []), options.folder)
    voice.busy(f"waiting for the guest to let go of {found['name']}")
    try:
        if not options.force:
            mounts.unmount(place, found["name"])
        remote.call(str(place.number), DetachDevice("share", found["name"]))
    finally:
        voice.clear()
    return {"name": found["name"]}, []


def _meant(shares: list[dict[str, Any]], word: str) -> dict[str, Any]:
    """The one of that tag, or else of that folder on the host, or else at that place in the guest."""
    for key, meant in (("name", word), ("path", os.path.abspath(os.path.expanduser(word))), ("mount", word)):
        found = [share for share in shares if share[key] == meant]
        if len(found) > 1:
            tags = " or ".join(share["name"] for share in found)
            raise ConfigError(f"'{word}' is shared more than once: say {tags}")
        if found:
            return found[0]
    known = ", ".join(share["name"] for share in shares)
    raise ConfigError(f"the guest has no shared folder '{word}' ({f'there are {known}' if shares else 'it has none'})")


def _list(options: Options, voice: Voice) -> Answer:
    from xenia.toolstack.control import remote
    from xenia.toolstack.guest.verbs import Statistics

    guests, silent = remote.call_all(Statistics(), options.guest)
    for line in silent:
        voice.error(line)
    found = [
        {"guest": one["name"], **{key: each[key] for key in _TOLD}} for one in guests for each in one.get("shares", [])
    ]
    return found, [
        f"{each['guest']:16} {each['name']:10} {_kind(each):4} {each['state']:12} {each['path']}"
        + (f" at {each['mount']}" if each["mount"] else "")
        for each in found
    ]


def _kind(each: dict[str, Any]) -> str:
    return "cow" if each["cow"] else "ro" if each["read_only"] else "rw"


_ACTIONS: dict[str, Callable[[Options, Voice], Answer]] = {"attach": _attach, "detach": _detach, "list": _list}
