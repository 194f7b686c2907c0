"""The grammar of the command line.  The manual page and the shell completions are written from it."""

from __future__ import annotations

import argparse
from typing import Any

from xenia.cli.arguments import Parser, ShowVersion, add_json
from xenia.cli.background import add_background
from xenia.cli.block import add_block
from xenia.cli.cp import add_cp
from xenia.cli.daemon import add_daemon
from xenia.cli.disk import add_disk
from xenia.cli.domain_grammar import add_domains
from xenia.cli.drgn import add_drgn
from xenia.cli.dump import add_dump
from xenia.cli.exec import add_exec
from xenia.cli.gdb import add_gdb
from xenia.cli.image import add_image
from xenia.cli.kernel import add_kernel
from xenia.cli.memory import add_memory
from xenia.cli.net import add_net
from xenia.cli.run_options import add_run
from xenia.cli.sched import add_sched
from xenia.cli.share import add_share
from xenia.cli.ssh import add_ssh
from xenia.cli.vcpu import add_vcpu

SHELLS = ("bash", "zsh", "fish")
# metavars of arguments that are file names
FILES = ("KERNEL", "INITRD", "PATH", "STACK", "STACK[,WORD...]", "STACK[,ro]", "DISK", "TARGET", "ARCHIVE")


def build_parser() -> Parser:
    """The parser of `xenia`.  What follows `--` is taken out before it sees the arguments."""
    parser = Parser(
        prog="xenia",
        description="Boot stock Linux kernels as Xen PV guests inside an unprivileged process: no /dev/kvm, no root.",
        epilog="'xenia COMMAND --help' tells more about a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version and exit")
    for option in ("-v", "-f", "-t", "-T"):  # xl's, which change what it says of itself
        parser.add_argument(option, dest=f"xl_{option[1]}", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-N", dest="only_say", action="store_true", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands", dest="verb", metavar="COMMAND", parser_class=Parser)
    add_run(commands)
    add_domains(commands)
    add_daemon(commands)
    _add_reports(commands)
    add_disk(commands)
    add_image(commands)
    add_kernel(commands)
    add_block(commands)
    add_memory(commands)
    add_vcpu(commands)
    add_sched(commands)
    add_dump(commands)
    add_gdb(commands)
    add_drgn(commands)
    add_net(commands)
    add_share(commands)
    add_exec(commands)
    add_cp(commands)
    add_background(commands)
    add_ssh(commands)
    _add_looks(commands)
    _add_completion(commands)
    _add_help(commands)
    return parser


def _add_reports(commands: argparse._SubParsersAction[Any]) -> None:
    """What is said of the host, a kernel and Xenia itself."""
    doctor = commands.add_parser(
        "doctor",
        help="say what this host offers and lacks",
        description="Say what this host offers and lacks, one line each. Ends with 1 when something needed is missing.",
        allow_abbrev=False,
    )
    add_json(doctor)
    inspect = commands.add_parser(
        "inspect",
        help="say what a kernel image is, and whether it can boot",
        description="Say how a kernel image is packed, what its Xen notes ask for, and whether it can boot as a PV "
        "guest. Ends with 1 when it cannot.",
        allow_abbrev=False,
    )
    inspect.add_argument("kernel", metavar="KERNEL", help="a bzImage or an ELF file")
    add_json(inspect)
    hypercalls = commands.add_parser(
        "hypercalls",
        help="list the hypercalls and how far each is supported",
        description="List every hypercall of the ABI and how far Xenia supports it.",
        allow_abbrev=False,
    )
    add_json(hypercalls)


def _add_looks(commands: argparse._SubParsersAction[Any]) -> None:
    """What is said of guests that run."""
    stats = commands.add_parser(
        "stats",
        help="show what running guests, their disks and network cards have done",
        description="Show what the guests that you run have done: hypercalls; for each network card what it sent, "
        "received and dropped; for each disk its requests, how many came together in a batch, and what its layers made "
        "of them.",
        allow_abbrev=False,
    )
    stats.add_argument("guest", metavar="GUEST", nargs="?", help="a guest's name, or its process (default: all)")
    add_json(stats)
    dmesg = commands.add_parser(
        "dmesg",
        help="show the hypervisor's log of running guests",
        description="Show the hypervisor's log, as xl dmesg does: what guests wrote with CONSOLEIO_write (their "
        "console is what they write to its ring), how they ended, and the registers of those that were crashed. The "
        "newest 256 KiB are kept, as long as the guest's xenia runs.",
        allow_abbrev=False,
    )
    dmesg.add_argument("guest", metavar="GUEST", nargs="?", help="a guest's name, or its process (default: all)")
    dmesg.add_argument("-c", "--clear", action="store_true", help="forget it when it has been shown")
    add_json(dmesg)


def _add_help(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser("help", help="list the commands", description="List the commands.", allow_abbrev=False)
    parser.add_argument("--long", action="store_true", help="taken for xl's sake: it is the same list")


def _add_completion(commands: argparse._SubParsersAction[Any]) -> None:
    completion = commands.add_parser(
        "completion",
        help="print a completion script for a shell",
        description='Print a completion script: eval "$(xenia completion bash)"',
        allow_abbrev=False,
    )
    completion.add_argument("shell", choices=SHELLS, help="the shell to complete in")
