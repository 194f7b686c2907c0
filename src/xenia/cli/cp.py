"""`xenia cp`: files between this host and a guest that runs."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from xenia.cli.arguments import add_json
from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import print_json
from xenia.cli.voice import Voice, rough_size
from xenia.errors import ConfigError

if TYPE_CHECKING:  # loaded when something is copied
    from pathlib import Path

    from xenia.toolstack.commands.extraction import Copied

_REDRAWN = 0.2  # seconds
_SPARE = 256 << 20  # bytes that what passes through the cache leaves free there


def add_cp(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verb."""
    parser = commands.add_parser(
        "cp",
        help="copy files into a running guest, out of it, or between two",
        usage="xenia cp [-r] [-u USER] SOURCE ... TARGET    where GUEST:PATH is in a guest, and - a tar archive",
        description="Copy files into a guest that runs, out of it, or between two, with modes and times. A file is "
        "there under its name once all of it is. It needs what 'xenia exec' does, and a tar in the guest. With - for "
        "the source, a tar archive on standard input is unpacked in a folder of the guest; with - for the target, the "
        "guest writes one to standard output.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "paths", metavar="PATH", nargs="+",
        help="a file, GUEST:PATH, or -; the last is the target. In a guest a PATH begins at its root (/), also without "
        "a slash before it",
    )  # fmt: skip
    parser.add_argument("-r", "--recursive", action="store_true", help="copy folders, with all that is in them")
    parser.add_argument(
        "-u", "--user", metavar="USER[:GROUP]", default="root", help="who reads and writes there (default: root)"
    )
    add_json(parser)


def cp(options: argparse.Namespace, voice: Voice) -> int:
    """Carry it out."""
    from xenia.toolstack.commands.process import CommandLost

    if len(options.paths) < 2:
        raise ConfigError("cp needs at least one source, and a target")
    places = [_split(path) for path in options.paths]
    *sources, (guest, target) = places
    if guest is None and not any(name for name, _ in sources):
        raise ConfigError("none of these is in a guest: GUEST:PATH is")
    if "-" in options.paths:
        return _stream(options, places, voice)
    shown = _Shown(voice)
    try:
        done = [_copy(options, name, files, guest, target, shown) for name, files in _grouped(sources)]
    except CommandLost as lost:
        voice.clear()
        voice.error(str(lost))
        return ExitStatus.LOST
    finally:
        voice.clear()
    status = _tell(done, voice)
    if options.json:
        said = {key: sum(getattr(one, key) for one in done) for key in ("files", "bytes", "nr_left_out")}
        left_out = [what for one in done for what in one.left_out]
        passed_over = [path for one in done for path in one.passed_over]
        print_json({**said, "left_out": left_out, "passed_over": passed_over})
    return status


def _tell(done: Sequence[Copied], voice: Voice) -> ExitStatus:
    """Say what was not copied."""
    from xenia.toolstack.commands.mounts import words

    for one in done:
        for line in words(one.passed_over):
            voice.say(line)
        for what in one.left_out:
            voice.warn(f"not copied: {what}")
        if more := one.nr_left_out - len(one.left_out):
            voice.warn(f"not copied: {more} more")
    return ExitStatus.PROBLEM if any(one.nr_left_out for one in done) else ExitStatus.OK


def _split(path: str) -> tuple[str | None, str]:
    """(guest, path there), or (None, path) where it is of this host's: as ever, that has a slash before a colon."""
    name, colon, rest = path.partition(":")
    return (name, rest or "/") if colon and name and "/" not in name else (None, path)


def _grouped(sources: list[tuple[str | None, str]]) -> list[tuple[str | None, list[str]]]:
    """Files of this host's together; a guest's each for itself."""
    ours = [path for name, path in sources if name is None]
    theirs: list[tuple[str | None, list[str]]] = [(name, [path]) for name, path in sources if name is not None]
    return ([(None, ours)] if ours else []) + theirs


def _copy(
    options: argparse.Namespace, source: str | None, paths: list[str], guest: str | None, target: str, shown: _Shown
) -> Copied:
    from xenia.toolstack.commands.copy import copy_in, copy_out
    from xenia.toolstack.control.client import find_one
    from xenia.toolstack.provision.cache import Cache

    how = {"recursive": options.recursive, "user": options.user}
    several = len(options.paths) > 2
    if source is None:
        if guest is None:
            raise ConfigError(f"{paths[0]}: neither this nor the target is in a guest")
        into = f"{target.rstrip('/')}/" if several else target
        return copy_in(find_one(guest).starter, paths, into, **how, progress=shown.at(f"{guest}:{target}"))
    if guest is None:
        if several and not os.path.isdir(target):
            raise ConfigError(f"{target}: no such folder")
        return copy_out(find_one(source).starter, paths[0], target, **how, progress=shown.at(f"{source}:{paths[0]}"))
    there = find_one(guest)
    with Cache().scratch_directory() as between:
        progress = _bounded(between, shown.at(f"{source}:{paths[0]}"))
        out = copy_out(find_one(source).starter, paths[0], between, **how, progress=progress)
        is_inner = paths[0].rstrip("/").endswith("/.") or not paths[0].rstrip("/")
        files = [f"{between}/."] if is_inner else sorted(between.iterdir())
        into = f"{target.rstrip('/')}/" if several else target
        copied = copy_in(there.starter, files, into, **how, progress=shown.at(f"{guest}:{target}"))
    copied.come_from(out)
    return copied


def _bounded(folder: Path, progress: Callable[[int], object]) -> Callable[[int], object]:
    """The same progress, which ends with ConfigError where what is copied into a folder leaves no room for others."""

    def look(count: int) -> None:
        free = os.statvfs(folder)
        if free.f_bavail * free.f_frsize < _SPARE:
            raise ConfigError(
                f"{folder.parent}: less than {_SPARE >> 20}M is free there, where files pass from guest to guest: set "
                "XDG_CACHE_HOME"
            )
        progress(count)

    return look


def _stream(options: argparse.Namespace, places: list[tuple[str | None, str]], voice: Voice) -> int:
    from xenia.toolstack.commands.copy import stream_in, stream_out
    from xenia.toolstack.control.client import find_one

    if len(places) != 2 or options.json:
        raise ConfigError("a tar archive (-) is one source or the target, and nothing else goes with it")
    (source, path), (guest, target) = places
    if guest is not None:
        if os.isatty(0):
            raise ConfigError("a tar archive is not typed: standard input is a terminal")
        stream_in(find_one(guest).starter, target, 0, options.user)
    elif source is not None:
        if os.isatty(1):
            raise ConfigError("a tar archive is nothing to look at: standard output is a terminal")
        return _tell([stream_out(find_one(source).starter, path, 1, options.user)], voice)
    return ExitStatus.OK


class _Shown:
    """How far it is, on a terminal."""

    def __init__(self, voice: Voice) -> None:
        self._voice, self._drawn = voice, 0.0

    def at(self, what: str) -> Callable[[int], object]:
        """Is called with how many bytes of that have been copied."""

        def show(count: int) -> None:
            if (now := time.monotonic()) - self._drawn > _REDRAWN:
                self._drawn = now
                self._voice.busy(what, f": {rough_size(count)}")

        return show
