"""The grammar of xl's verbs."""

from __future__ import annotations

import argparse
from argparse import SUPPRESS
from typing import Any

from xenia.cli.arguments import add_json, checked, number, seconds

DOMAIN_VERBS = (
    "list", "vcpu-list", "vm-list", "uptime", "info", "claims", "domid", "domname", "top", "console", "destroy",
    "shutdown", "reboot", "pause", "unpause", "rename", "sysrq", "trigger", "config-update",
    "network-attach", "network-detach", "network-list",
)  # fmt: skip
_DOMAIN = "DOMAIN"  # the metavar of arguments that name a domain: see cli/completion


def add_domains(commands: argparse._SubParsersAction[Any]) -> None:
    """All of them."""
    _add_create(commands)
    _add_looks(commands)
    _add_lives(commands)
    _add_cards(commands)


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
    create.add_argument("-F", dest="foreground", action="store_true", help="stay until the domain has ended for good")
    for option in ("-e", "-d"):
        create.add_argument(option, dest=f"xl_{option[1]}", action="store_true", help=SUPPRESS)
    create.add_argument("-V", "--vncviewer", action="store_true", help=SUPPRESS)
    create.add_argument("-A", "--vncviewer-autopass", dest="vncviewer", action="store_true", help=SUPPRESS)
    create.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")


def _add_looks(commands: argparse._SubParsersAction[Any]) -> None:
    """What only looks."""
    listing = _add(commands, "list", "list domains, and guests of xenia run", "Columns and letters are those of xl.")
    _add_domain(listing, nargs="*")
    listing.add_argument("-l", "--long", action="store_true", help="print how each is configured, as JSON")
    listing.add_argument("-v", "--verbose", action="store_true", help="print UUIDs and reasons of an end, too")
    listing.add_argument("-Z", "--context", action="store_true", help="print security labels, which are none")
    listing.add_argument("-c", "--cpupool", action="store_true", help="print which pool of processors they are in")
    listing.add_argument("-n", "--numa", action="store_true", help="print which NUMA nodes their memory is of")
    claims = _add(commands, "claims", "list what domains have claimed of memory", "Columns are those of xl.")
    vcpus = _add(commands, "vcpu-list", "list the vcpus of domains")
    _add_domain(vcpus, nargs="*")
    uptime = _add(commands, "uptime", "say how long domains have been there")
    _add_domain(uptime, nargs="*")
    uptime.add_argument("-s", dest="short", action="store_true", help="in the short form")
    vms = _add(commands, "vm-list", "list domains by their UUIDs")
    info = _add(commands, "info", "say what host and machine there are")
    info.add_argument("name", metavar="NAME", nargs="?", help="only what is called so: free_memory, say")
    info.add_argument("-n", "--numa", action="store_true", help="print the NUMA topology, too")
    domid = _add(commands, "domid", "print the number of a domain")
    domid.add_argument("domain", metavar=_DOMAIN, help="the domain's name")
    domname = _add(commands, "domname", "print the name of a domain")
    domname.add_argument("domid", metavar="NUMBER", help="the domain's number")
    top = _add(commands, "top", "show live what domains take of the host", "q leaves it.")
    top.add_argument("-b", "--batch", action="store_true", help="print lines instead; so it does where no terminal is")
    top.add_argument("-d", "--delay", metavar="SECONDS", type=checked(seconds), default=3.0, help="between two looks")
    top.add_argument("-i", "--iterations", metavar="N", type=checked(number), help="how many looks")
    for parser in (listing, claims, vcpus, uptime, vms, info, domid, domname, top):
        add_json(parser)


def _add_cards(commands: argparse._SubParsersAction[Any]) -> None:
    """xl's words for network cards; `xenia net` has more."""
    attach = _add(commands, "network-attach", "plug a network card into a domain", "Prints its name.")
    _add_domain(attach)
    attach.add_argument("words", metavar="KEY=VALUE", nargs="*", help="as in vif= of xl.cfg, or 'xenia run --net'")
    detach = _add(commands, "network-detach", "take a network card out of a domain")
    _add_domain(detach)
    detach.add_argument("card", metavar="CARD", help="its number, MAC or name")
    listing = _add(commands, "network-list", "list the network cards of domains")
    _add_domain(listing, nargs="+")
    for parser in (attach, listing):
        add_json(parser)


def _add_lives(commands: argparse._SubParsersAction[Any]) -> None:
    """What changes a domain's life."""
    console = _add(
        commands, "console", "attach to a domain's console", "Ctrl-] leaves it; others may be attached, too."
    )
    _add_domain(console)
    console.add_argument("-t", dest="type", metavar="TYPE", help="the type of console: pv, the only one there is")
    console.add_argument("-n", dest="number", metavar="N", type=checked(number), help="its number: 0")
    destroy = _add(commands, "destroy", "end a domain where it stands")
    _add_domain(destroy)
    destroy.add_argument("-f", dest="force", action="store_true", help="taken for xl's sake")
    for name, what in (("shutdown", "ask a domain to power off"), ("reboot", "ask a domain to reboot")):
        parser = _add(commands, name, what)
        _add_domain(parser, nargs="?")
        parser.add_argument("-a", "--all", action="store_true", help="all domains of the daemon")
        parser.add_argument("-w", "--wait", action="store_true", help="wait until it has ended")
        parser.add_argument("-F", dest="fallback", action="store_true", help="taken for xl's sake: PV guests need none")
    _add_domain(_add(commands, "pause", "let a domain not go on"))
    _add_domain(_add(commands, "unpause", "let a paused domain go on"))
    rename = _add(commands, "rename", "give a domain another name")
    _add_domain(rename)
    rename.add_argument("name", metavar="NAME", help="the new one")
    sysrq = _add(commands, "sysrq", "press a key of a domain's magic SysRq")
    _add_domain(sysrq)
    sysrq.add_argument("letter", metavar="LETTER", help="the key: t, say")
    trigger = _add(commands, "trigger", "send a domain a trigger")
    _add_domain(trigger)
    trigger.add_argument("trigger", metavar="nmi|reset|init|power|sleep|s3resume", help="which; a PV guest takes nmi")
    trigger.add_argument("vcpu", metavar="VCPU", nargs="?", type=checked(number), default=0, help="whose (default: 0)")
    update = _add(commands, "config-update", "change what becomes of a domain when it ends", "That is all it changes.")
    _add_domain(update)
    update.add_argument("words", metavar="FILE|KEY=VALUE", nargs="*", help="as for create")
    update.add_argument("-f", "--defconfig", metavar="PATH", help="the configuration's file, likewise")
