"""The grammar of xl's verbs."""

from __future__ import annotations

import argparse
from typing import Any

from xenia.cli.arguments import add_json

DOMAIN_VERBS = ("list", "console", "destroy")
_DOMAIN = "DOMAIN"  # the metavar of arguments that name a domain: see cli/completion


def add_domains(commands: argparse._SubParsersAction[Any]) -> None:
    """All of them."""
    _add_create(commands)
    _add_looks(commands)
    _add_lives(commands)


def _add(commands: argparse._SubParsersAction[Any], name: str, what: str, more: str = "") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=what, description=f"{what[0].upper()}{what[1:]}. {more}".strip(), allow_abbrev=False
    )
    return parser


def _add_domain(parser: argparse.ArgumentParser, **more: Any) -> None:
    parser.add_argument("domain", metavar=_DOMAIN, help="a domain's name or number", **more)


def _add_create(commands: argparse._SubParsersAction[Any]) -> None:
    create = _add(commands, "create", "create a domain from a file of xl's, or from KEY=VALUE words")
    create.add_argument(
        "words", metavar="FILE|KEY=VALUE", nargs="*",
        help="a configuration as in xl.cfg(5), and what is to be different from it",
    )  # fmt: skip
    create.add_argument("-f", "--defconfig", metavar="PATH", help="the configuration's file, likewise")
    create.add_argument("-n", "--dryrun", action="store_true", help="print what would be created")
    create.add_argument("-p", dest="paused", action="store_true", help="leave it paused")
    create.add_argument("-c", dest="console", action="store_true", help="attach to its console, which Ctrl-] leaves")
    create.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")


def _add_looks(commands: argparse._SubParsersAction[Any]) -> None:
    """What only looks."""
    listing = _add(commands, "list", "list domains, and guests of xenia run", "Columns and letters are those of xl.")
    _add_domain(listing, nargs="*")
    listing.add_argument("-l", "--long", action="store_true", help="print how each is configured, as JSON")
    listing.add_argument("-v", "--verbose", action="store_true", help="print UUIDs and reasons of an end, too")
    add_json(listing)


def _add_lives(commands: argparse._SubParsersAction[Any]) -> None:
    """What changes a domain's life."""
    _add_domain(_add(commands, "console", "attach to a domain's console", "Ctrl-] leaves it."))
    destroy = _add(commands, "destroy", "end a domain where it stands")
    _add_domain(destroy)
