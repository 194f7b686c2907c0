"""The grammar of the command line.  The manual page and the shell completions are written from it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from xenia.cli.block import add_block
from xenia.cli.disk import add_disk
from xenia.cli.image import add_image
from xenia.errors import ConfigError
from xenia.toolstack.config.machine import CLOCKS, FLAVOURS, ON_REBOOT, parse_size

T = TypeVar("T")

SHELLS = ("bash", "zsh", "fish")
# metavars of arguments that are file names
FILES = ("KERNEL", "INITRD", "PATH", "STACK", "STACK[,WORD...]", "STACK[,ro]", "DISK", "TARGET")

RUN_USAGE = "xenia run [option ...] [-- command [argument ...]]"
RUN_HELP = "boot a Linux kernel as a paravirtualised guest"
RUN_DESCRIPTION = """\
Boot a stock Linux kernel as a Xen PV guest inside this process, and attach its console.

Without a kernel, Debian's is fetched with the package manager's client and kept. With a command, the guest runs it:
standard input, output, error and the exit status pass through, so that a guest stands in a shell pipeline. On a
terminal Ctrl-] leaves the console and ends the guest."""
RUN_EXAMPLES = (
    ("xenia run", "a shell in Debian's kernel"),
    ("xenia run -- uname -a", "one command; its output and status pass through"),
    ("tar c src | xenia run --memory 512M -- md5sum | cut -c1-32", "a guest in a pipeline"),
    ("xenia run --kernel vmlinuz --initrd initrd.img --append 'panic=-1'", "a kernel and an initrd of your own"),
    ("xenia run --root root.img", "a system on a disk, such as one that xenia image build makes"),
    ("xenia run --kernel demo", "the tiny guest that is built in; needs nothing from outside"),
)


class Parser(argparse.ArgumentParser):
    """Complains in one line, without the usage, and exits with 2."""

    def error(self, message: str) -> NoReturn:
        if unknown := re.match(r"argument COMMAND: invalid choice: ('.*?') \(", message):
            message = f"there is no command {unknown[1]}"
        self.exit(2, f"{self.prog}: {message} (see '{self.prog} --help')\n")


def checked(read: Callable[[str], T]) -> Callable[[str], T]:
    """`read` as argparse wants it: a ConfigError becomes a complaint that names the option."""

    def argument(text: str) -> T:
        try:
            return read(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    argument.__name__ = read.__name__
    return argument


def number(text: str) -> int:
    """A whole number of at least zero, decimal or 0x."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise ConfigError(f"'{text}' is not a whole number from 0 to 2^64-1")
    return value


def seconds(text: str) -> float:
    """A time in seconds, more than zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e9:
        raise ConfigError(f"'{text}' is not a time: write seconds, such as 30 or 0.5")
    return value


def build_parser() -> Parser:
    """The parser of `xenia`.  What follows `--` is taken out before it sees the arguments."""
    parser = Parser(
        prog="xenia",
        description="Boot stock Linux kernels as Xen PV guests inside an unprivileged process: no /dev/kvm, no root.",
        epilog="'xenia COMMAND --help' tells more about a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", dest="verb", metavar="COMMAND", parser_class=Parser)
    _add_run(commands)
    doctor = commands.add_parser(
        "doctor",
        help="say what this host offers and lacks",
        description="Say what this host offers and lacks, one line each. Ends with 1 when something needed is missing.",
        allow_abbrev=False,
    )
    _add_json(doctor)
    inspect = commands.add_parser(
        "inspect",
        help="say what a kernel image is, and whether it can boot",
        description="Say how a kernel image is packed, what its Xen notes ask for, and whether it can boot as a PV "
        "guest. Ends with 1 when it cannot.",
        allow_abbrev=False,
    )
    inspect.add_argument("kernel", metavar="KERNEL", help="a bzImage or an ELF file")
    _add_json(inspect)
    hypercalls = commands.add_parser(
        "hypercalls",
        help="list the hypercalls and how far each is supported",
        description="List every hypercall of the ABI and how far Xenia supports it.",
        allow_abbrev=False,
    )
    _add_json(hypercalls)
    add_disk(commands)
    add_image(commands)
    add_block(commands)
    stats = commands.add_parser(
        "stats",
        help="show what running guests and their disks have done",
        description="Show what the guests that you run have done: hypercalls, and for each disk its requests, how many "
        "came together in a batch, and what its layers made of them.",
        allow_abbrev=False,
    )
    stats.add_argument("guest", metavar="GUEST", nargs="?", help="a guest's name, or its process (default: all)")
    _add_json(stats)
    dmesg = commands.add_parser(
        "dmesg",
        help="show the hypervisor's log of running guests",
        description="Show the hypervisor's log, as xl dmesg does: what guests wrote with CONSOLEIO_write (their "
        "console is what they write to its ring), how they ended, and the registers of those that were crashed. The "
        "newest 256 KiB are kept, as long as the guest's xenia runs.",
        allow_abbrev=False,
    )
    dmesg.add_argument("guest", metavar="GUEST", nargs="?", help="a guest's name, or its process (default: all)")
    _add_json(dmesg)
    completion = commands.add_parser(
        "completion",
        help="print a completion script for a shell",
        description='Print a completion script: eval "$(xenia completion bash)"',
        allow_abbrev=False,
    )
    completion.add_argument("shell", choices=SHELLS, help="the shell to complete in")
    return parser


def _add_run(commands: argparse._SubParsersAction[Parser]) -> None:
    run = commands.add_parser(
        "run",
        help=RUN_HELP,
        usage=RUN_USAGE,
        description=RUN_DESCRIPTION,
        epilog="examples:\n" + "\n".join(f"  {line}\n      {what}" for line, what in RUN_EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    boot = run.add_argument_group("what to boot")
    boot.add_argument(
        "--kernel", metavar="KERNEL",
        help="a bzImage, an ELF file with Xen notes, or 'demo', the built-in guest (default: Debian's, fetched once)",
    )  # fmt: skip
    boot.add_argument(
        "--initrd", metavar="INITRD", help="its initial ramdisk (default: one made by Xenia, with busybox)"
    )
    boot.add_argument(
        "--modules", metavar="DIR",
        help="where the modules of your kernel are (default: beside it, in its build tree, or in /lib/modules)",
    )  # fmt: skip
    boot.add_argument("--append", metavar="ARGS", default="", help="more words for the kernel's command line")
    boot.add_argument(
        "--flavour", choices=FLAVOURS, default=None, help="which of Debian's kernels to fetch (default: amd64)"
    )
    machine = run.add_argument_group("the machine")
    size = checked(parse_size)
    machine.add_argument(
        "--memory", metavar="SIZE", type=size, default=None,
        help="the guest's memory: 64M, 1G, or a bare number of bytes (default: 256M)",
    )  # fmt: skip
    machine.add_argument(
        "--machine-memory", metavar="SIZE", type=size, default=None,
        help="the whole machine's memory, Xen's own included (default: what the guest needs)",
    )  # fmt: skip
    machine.add_argument(
        "--disk", metavar="STACK[,WORD...]", action="append", default=[],
        help="a disk, xvda, xvdb and so on: a file, or layers of storage from the bottom up; words such as ro, cdrom "
        "or vdev=xvdc say how the guest sees it, and so do those of xl.cfg",
    )  # fmt: skip
    machine.add_argument(
        "--root", metavar="STACK[,ro]",
        help="a disk to boot from: it comes first, as xvda, with root=/dev/xvda on the kernel's command line",
    )  # fmt: skip
    machine.add_argument(
        "--env", metavar="NAME[=VALUE]", action="append", default=[],
        help="a variable in the environment of the command or shell; without a value, the one that it has here",
    )  # fmt: skip
    machine.add_argument(
        "--timeout", metavar="SECONDS", type=checked(seconds), default=None,
        help="end a guest that has not ended by then, with status 124",
    )  # fmt: skip
    machine.add_argument("--cwd", metavar="DIR", default=None, help="the folder that the command or shell starts in")
    machine.add_argument("--name", default=None, help="the guest's name (default: guest)")
    machine.add_argument(
        "--clock", choices=CLOCKS, default="real",
        help="'real' follows the host; 'warped' jumps to the next timer when the guest idles (default: real)",
    )  # fmt: skip
    machine.add_argument(
        "--on-reboot", choices=ON_REBOOT, default=None,
        help="what becomes of a guest that reboots (default: restart on a terminal, end elsewhere)",
    )  # fmt: skip
    machine.add_argument(
        "--scatter", metavar="SEED", type=checked(number), default=None,
        help="give the guest machine frames in a shuffled order, the same one for the same SEED",
    )  # fmt: skip
    machine.add_argument(
        "--xenstore", metavar="PATH", nargs="?", const=True, default=None,
        help="let xenstore-ls and other clients reach the guest's xenstore on a unix socket: at PATH, or where they "
        "look for it by themselves",
    )  # fmt: skip
    machine.add_argument(
        "--no-jail", dest="jail", action="store_false",
        help="do not wall this process in: a debugger can look at it, and a guest that breaks out has what you have",
    )  # fmt: skip
    words = run.add_argument_group("Xenia's own words, on standard error").add_mutually_exclusive_group()
    words.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")
    words.add_argument(
        "-v", "--verbose", action="store_true", help="with a command, show the guest's console on standard error"
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


class ShowVersion(argparse.Action):
    """--version, which alone pays for looking the package up."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib import metadata

        try:
            version = metadata.version("xenia")
        except metadata.PackageNotFoundError:
            version = "(from its source tree, not installed)"
        print(f"xenia {version}")
        parser.exit()
