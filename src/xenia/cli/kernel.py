"""`xenia kernel`: its grammar, and what it prints."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from xenia.cli.arguments import add_json
from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import print_json, printable
from xenia.cli.voice import Voice, rough_size
from xenia.errors import ConfigError

if TYPE_CHECKING:
    from xenia.toolstack.provision.kernels import Kernels, Offer

VERSION = "VERSION"  # the metavar of a kernel's version: see cli/completion
CACHED = "CACHED"  # of one that is in the cache


def add_kernel(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verb."""
    kernel = commands.add_parser(
        "kernel",
        help="list, fetch and remove the distribution's kernels",
        description="List, fetch and remove the kernels of this host's distribution that guests boot from.",
        allow_abbrev=False,
    )
    actions = kernel.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    def add(name: str, what: str, more: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}. {more}", allow_abbrev=False
        )
        add_json(parser)
        return parser

    listing = add(
        "list", "list the kernels that there are",
        "Those in the cache with what they take of the disk, and the newest of each series and flavour that the host's "
        "package sources have. The one that 'xenia run' takes by itself is marked with *.",
    )  # fmt: skip
    listing.add_argument("--all", action="store_true", help="all that the package sources have, not the newest only")
    listing.add_argument("--cached", action="store_true", help="only those in the cache, without asking anybody")
    fetch = add(
        "fetch", "fetch a kernel with the package manager's client, and keep it",
        "Of several the newest. Nothing is installed, and what is there already is not fetched again.",
    )  # fmt: skip
    fetch.add_argument(
        "version", metavar=VERSION, nargs="?",
        help="such as 6.12, 6.1-cloud or 6.1.0-9-amd64 (default: the one that 'xenia run' takes, made new)",
    )  # fmt: skip
    fetch.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")
    rm = add("rm", "remove kernels from the cache", "Not those that a running guest was booted from.")
    rm.add_argument("versions", metavar=CACHED, nargs="+", help="a version that means one of them")


def kernel(options: argparse.Namespace, voice: Voice) -> int:
    """Carry out one action and return the exit status."""
    from xenia.toolstack.provision.cache import Cache
    from xenia.toolstack.provision.kernels import Kernels
    from xenia.toolstack.provision.packages import PackageClient

    cache = Cache()
    kernels = Kernels(cache, PackageClient(cache, voice.progress), voice.progress)
    match options.action:
        case "list":
            _list(options, kernels, voice)
        case "fetch":
            _fetch(options, kernels, voice)
        case "rm":
            _remove(options, kernels)
    return ExitStatus.OK


def _list(options: argparse.Namespace, kernels: Kernels, voice: Voice) -> None:
    try:
        voice.busy("asking the package client")
        offers = kernels.offers(look=not options.cached)
    except ConfigError as error:
        voice.warn(f"{error}: only what is in the cache is listed")
        offers = kernels.offers(look=False)
    voice.clear()
    if not options.all:
        newest = {(offer.release.series, offer.release.flavour): offer for offer in offers if offer.download}
        offers = [offer for offer in offers if offer.kernel is not None or offer in newest.values()]
    if options.json:
        print_json([_as_dict(offer) for offer in offers])
        return
    for line in _lines(offers):
        print(printable(line))


def _as_dict(offer: Offer) -> dict[str, Any]:
    return {
        "release": str(offer.release), "flavour": offer.release.flavour, "package": offer.package,
        "cached": offer.kernel is not None, "usual": offer.is_usual, "disk_bytes": offer.disk,
        "download_bytes": offer.download,
    }  # fmt: skip


def _lines(offers: Sequence[Offer]) -> Iterator[str]:
    if not offers:
        yield "no kernels ('xenia kernel fetch' fetches one)"
        return
    rows = [("  RELEASE", "PACKAGE", "ON DISK", "TO FETCH")]
    for offer in offers:
        rows.append((
            f"{'*' if offer.is_usual else ' '} {offer.release}", offer.package or "-",
            rough_size(offer.disk) if offer.disk else "-",
            rough_size(offer.download) if offer.download and not offer.disk else "-",
        ))  # fmt: skip
    widths = [max(len(row[at]) for row in rows) for at in range(4)]
    for release, package, disk, download in rows:
        yield f"{release:<{widths[0]}}  {package:<{widths[1]}}  {disk:>{widths[2]}}  {download:>{widths[3]}}"


def _fetch(options: argparse.Namespace, kernels: Kernels, voice: Voice) -> None:
    if options.version is None:
        found, is_new = kernels.renew()
    else:
        found, is_new = kernels.fetch(options.version)
    voice.clear()
    if options.json:
        print_json({"release": found.release, "image": str(found.image), "fetched": is_new})
    else:
        voice.say(
            f"{found.release} {'is fetched' if is_new else 'is there already'}; boot it: "
            f"xenia run{'' if options.version is None else f' --kernel {options.version}'}"
        )


def _remove(options: argparse.Namespace, kernels: Kernels) -> None:
    removed = [kernels.remove(version) for version in options.versions]
    if options.json:
        print_json([{"release": release, "freed_bytes": freed} for release, freed in removed])
        return
    for release, freed in removed:
        print(f"{release}: removed, {rough_size(freed)}")
