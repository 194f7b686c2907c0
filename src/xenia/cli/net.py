"""`xenia net`: its grammar, and what its actions do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import print_json
from xenia.cli.voice import Voice

_GUEST_HELP = "the guest's name, or its process"
_NETWORK_HELP = "the network's name; or a guest's, for its own network"
_CARD_HELP = "the card: its number, name, MAC, or as Xen calls it, such as vif1.0"


def add_net(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verb."""
    net = commands.add_parser(
        "net",
        help="make and look at networks, plug cards into guests, capture what passes",
        description="Networks of guests: each a process of yours that needs no rights. A guest's own one comes and "
        "goes with it; one that is made here outlives the command, and any guest may join it.",
        allow_abbrev=False,
    )
    actions = net.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    def add(name: str, what: str, description: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(
            name, help=what, description=description, allow_abbrev=False
        )
        return parser

    parsers = [*_add_networks(add), *_add_cards(add)]
    for parser in parsers:
        parser.add_argument("--json", action="store_true", help="print JSON")


def _add_networks(add: Any) -> Sequence[argparse.ArgumentParser]:
    create = add(
        "create", "make a network",
        "Make a network that guests join with 'xenia run --net bridge=NAME'. It goes on until it is deleted. Prints "
        "its name.",
    )  # fmt: skip
    create.add_argument("name", metavar="NAME", help="what it is called")
    create.add_argument("--subnet", metavar="SUBNET", help="its guests' addresses (default: some that no other has)")
    create.add_argument("--no-ipv6", dest="ipv6", action="store_false", help="IPv4 alone")
    create.add_argument("--no-nat", dest="nat", action="store_false", help="its guests reach each other, nobody else")
    create.add_argument("--mtu", metavar="BYTES", help="the largest datagram (default: 1500)")
    create.add_argument(
        "--host", metavar="PORT", action="append", default=[],
        help="a port of the host's loopback that guests reach at host.xenia.internal; again for more",
    )  # fmt: skip
    delete = add("delete", "end a network", "End a network that 'xenia net create' made.")
    delete.add_argument("name", metavar="NAME", help="the network's name")
    delete.add_argument(
        "--force", action="store_true",
        help="also when guests are on it, which lose their carrier, or when it does not answer",
    )  # fmt: skip
    listing = add(
        "list", "list networks and cards",
        "List the networks that run, and the cards of running guests as xl network-list does.",
    )  # fmt: skip
    listing.add_argument("guest", metavar="GUEST", nargs="?", help=f"{_GUEST_HELP} (default: all)")
    show = add("show", "show a network", "Show a network's ports, leases, forwards and counters.")
    show.add_argument("name", metavar="NAME", help=_NETWORK_HELP)
    forward = add(
        "forward", "let a port of the host lead to a guest",
        "Let a port of the host lead to a guest, as -p does. Prints the forward.",
    )  # fmt: skip
    forward.add_argument("name", metavar="NAME", help=_NETWORK_HELP)
    forward.add_argument("forward", metavar="[ADDRESS:]PORT:GUESTPORT[/udp]", help="which port leads where")
    forward.add_argument("--to", metavar="GUEST", help="the guest, by name or address (default: the only one there)")
    forward.add_argument("--remove", action="store_true", help="end that forward instead")
    join = add(
        "join", "join a network with an interface of the host's, or another host",
        "Plug what a card could be plugged into, such as tap=tap0, nic=eth0, vxlan=HOST or socket=listen:PATH, into a "
        "network: its guests and those beyond are on one. Prints the port's number.",
    )  # fmt: skip
    join.add_argument("name", metavar="NAME", help="the network's name")
    join.add_argument("words", metavar="LINK[,OPTION...]", help="what is joined, in the words of 'xenia run --net'")
    join.add_argument("--remove", action="store_true", help="take it out again")
    return create, delete, listing, show, forward, join


def _add_cards(add: Any) -> Sequence[argparse.ArgumentParser]:
    attach = add(
        "attach", "plug a network card into a running guest",
        "Plug a network card into a guest that runs. Prints its name.",
    )  # fmt: skip
    attach.add_argument("guest", metavar="GUEST", help=_GUEST_HELP)
    attach.add_argument(
        "words", metavar="LINK[,WORD...]", nargs="?", default="user",
        help="what it is plugged into, in the words of 'xenia run --net' (default: user)",
    )  # fmt: skip
    detach = add(
        "detach", "take a network card out of a running guest",
        "Ask a guest to let go of a network card, and take it away once it has.",
    )  # fmt: skip
    detach.add_argument("guest", metavar="GUEST", help=_GUEST_HELP)
    detach.add_argument("card", metavar="CARD", help=_CARD_HELP)
    detach.add_argument("--force", action="store_true", help="take it away even when the guest does not let go of it")
    capture = add(
        "capture", "write down what passes a card",
        "Write what passes a card, or a port of a network, as pcapng, until Ctrl-C. A file can be read while it grows.",
    )  # fmt: skip
    capture.add_argument(
        "what", metavar="WHAT",
        help="a card (vif1.0, its MAC), a guest with one card, GUEST/CARD, or NETWORK/PORT as 'net show' numbers them",
    )  # fmt: skip
    capture.add_argument("-o", "--output", metavar="PATH", help="the file (default: standard output)")
    capture.add_argument("--count", metavar="N", help="end after so many frames")
    change = add(
        "set", "change a card's filters, or pull its cable out",
        "Have a card's filters do something else from now on, or put some in: all words of one are said anew, and "
        "WORD=off takes one away. carrier=down pulls the card's cable out, carrier=up puts it in. Prints its name.",
    )  # fmt: skip
    change.add_argument("what", metavar="CARD", help="a card (vif1.0, its MAC), a guest with one card, or GUEST/CARD")
    change.add_argument(
        "words",
        metavar="WORD=VALUE",
        nargs="+",
        help="such as delay=50ms, loss=1%%, delay=off, firewall=RULES or carrier=down",
    )
    return attach, detach, capture, change


def net(options: argparse.Namespace, voice: Voice) -> int:
    """Carry out one action and return the exit status."""
    from xenia.cli import networks

    answer, lines = networks.ACTIONS[options.action](options, voice)
    if options.json:
        print_json(answer)
    else:
        networks.show_lines(lines)
    return ExitStatus.OK
