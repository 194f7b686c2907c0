"""`xenia vcpu-set`: the vcpus of a guest that runs, as xl's."""

from __future__ import annotations

import argparse
from typing import Any

from xenia.cli.arguments import add_json, checked, number
from xenia.cli.exit_status import ExitStatus
from xenia.cli.printable import print_json
from xenia.cli.voice import Voice


def add_vcpu(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verb."""
    vcpu_set = commands.add_parser(
        "vcpu-set",
        help="give a running guest more vcpus, or fewer",
        description="Ask a guest that runs to use so many vcpus, up to its maxvcpus.  It brings others up, or takes "
        "them down, soon.",
        allow_abbrev=False,
    )
    vcpu_set.add_argument("guest", metavar="GUEST", help="the guest's name, or its process")
    vcpu_set.add_argument("vcpus", metavar="N", type=checked(number), help="how many")
    vcpu_set.add_argument("-i", "--ignore-host", action="store_true", help="for xl's sake")
    add_json(vcpu_set)


def vcpu(options: argparse.Namespace, voice: Voice) -> int:
    """Carry it out."""
    from xenia.cli.domains import find_domain
    from xenia.toolstack.control import remote
    from xenia.toolstack.guest.vcpu_verbs import SetVcpus

    vcpus = remote.call(str(find_domain(options.guest).number), SetVcpus(options.vcpus))
    if options.json:
        print_json({"vcpus": vcpus}, indent=None)
    return ExitStatus.OK
