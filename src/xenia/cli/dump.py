"""`xenia dump-core`: a domain's memory and registers, into a file.  The verb is xl's."""

from __future__ import annotations

import argparse
import os
from typing import Any

from xenia.cli.exit_status import ExitStatus
from xenia.cli.voice import Voice

_PERIOD = 0.1  # seconds between two looks at how far it is
_PAGE = 4096


def add_dump(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verb."""
    parser = commands.add_parser(
        "dump-core",
        help="write a domain's memory and registers into a file",
        description="Write a domain's memory and registers into a file, which crash, drgn or volatility3 reads. "
        "The domain stands still meanwhile.",
        allow_abbrev=False,
    )
    parser.add_argument("domain", metavar="DOMAIN", help="a domain's name or number")
    parser.add_argument("file", metavar="PATH", help="the file: pages of zeros are holes in it")
    parser.add_argument("-C", "--crash", action="store_true", help="crash the domain afterwards")
    parser.add_argument("-L", "--live", action="store_true", help="let it go on meanwhile")
    parser.add_argument(
        "--format", dest="form", metavar="xen|elf", choices=("xen", "elf"), default="xen",
        help="as Xen's tools write it, for crash; or a vmcore, for drgn and volatility3 (default: xen)",
    )  # fmt: skip


def dump(options: argparse.Namespace, voice: Voice) -> int:
    """Carry it out."""
    from xenia.cli.domains import find_domain
    from xenia.toolstack.config.core import open_core
    from xenia.toolstack.control import remote
    from xenia.toolstack.guest.dump_verbs import DumpCore

    place = find_domain(options.domain)
    size = place.ask("statistics")["frames"] * _PAGE
    with open_core(options.file) as descriptor, _Progress(voice, f"dumping {place.name}", descriptor, size):
        remote.call(str(place.number), DumpCore((descriptor,), options.form, options.live, options.crash))
    return ExitStatus.OK


class _Progress:
    """Says how far a file has grown, until it is left."""

    def __init__(self, voice: Voice, what: str, descriptor: int, size: int) -> None:
        import threading

        self._voice, self._what, self._descriptor, self._size = voice, what, descriptor, size
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="progress", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._voice.clear()

    def _look(self) -> None:
        while not self._over.wait(_PERIOD):
            self._voice.progress(self._what, min(os.fstat(self._descriptor).st_size, self._size), self._size)
