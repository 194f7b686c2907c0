"""The grammar of `xenia run`."""

from __future__ import annotations

import argparse
from typing import Any

from xenia.cli.arguments import WithExamples, checked, descriptor, number, seconds
from xenia.storage.size import parse_size
from xenia.toolstack.config.choices import CLOCKS, ENGINES, FLAVOURS, ON_REBOOT
from xenia.toolstack.config.vcpus import parse_vcpus

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
    ("xenia run --kernel 6.12", "another kernel of the distribution's; 'xenia kernel list' shows them"),
    ("xenia run -d --name web --root root.img", "the same in the background; then: xenia exec -it web sh"),
    ("xenia run --kernel demo", "the tiny guest that is built in; needs nothing from outside"),
)


def add_run(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verb."""
    run = commands.add_parser(
        "run",
        help=RUN_HELP,
        usage=RUN_USAGE,
        description=RUN_DESCRIPTION,
        epilog="examples:\n" + "\n".join(f"  {line}\n      {what}" for line, what in RUN_EXAMPLES),
        formatter_class=WithExamples,
        allow_abbrev=False,
    )
    _add_boot(run.add_argument_group("what to boot"))
    machine = run.add_argument_group("the machine")
    _add_machine(machine)
    _add_shares(machine)
    _add_net(machine)
    _add_command(machine)
    _add_ways(machine)
    own = run.add_argument_group("Xenia's own words, on standard error")
    words = own.add_mutually_exclusive_group()
    words.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")
    words.add_argument(
        "-v", "--verbose", action="store_true", help="with a command, show the guest's console on standard error"
    )
    own.add_argument(
        "--status-fd", metavar="FD", type=checked(descriptor), default=None,
        help="write them to this open file instead, and how the run ended, as lines of JSON: for another program",
    )  # fmt: skip


def _add_boot(boot: argparse._ArgumentGroup) -> None:
    boot.add_argument(
        "--kernel", metavar="KERNEL|VERSION",
        help="a bzImage, an ELF file with Xen notes, a version of the distribution's such as 6.12 or 6.1-cloud, which "
        "is fetched once, or 'demo', the built-in guest (default: Debian's newest, fetched once)",
    )  # fmt: skip
    boot.add_argument(
        "--kdir", metavar="DIR",
        help="a folder that a kernel was built in: its bzImage and its modules (default: the current one if it is such "
        "a folder, and neither --kernel nor --flavour is given)",
    )  # fmt: skip
    boot.add_argument(
        "--initrd", metavar="INITRD", help="its initial ramdisk (default: one made by Xenia, with busybox)"
    )
    boot.add_argument(
        "--modules", metavar="DIR|all",
        help="where the modules of your kernel are: an installed tree, or a folder above it (default: beside the "
        "kernel, in its build tree, or in /lib/modules); 'all': whatever the distribution's package of its kernel has, "
        "fetched once, for modprobe in the guest",
    )  # fmt: skip
    boot.add_argument("--append", metavar="ARGS", default="", help="more words for the kernel's command line")
    boot.add_argument(
        "--flavour", choices=FLAVOURS, default=None, help="which of Debian's kernels to fetch (default: amd64)"
    )


def _add_machine(machine: argparse._ArgumentGroup) -> None:
    """Memory and disks."""
    size = checked(parse_size)
    machine.add_argument(
        "--memory", metavar="SIZE", type=size, default=None,
        help="the guest's memory: 64M, 1G, or a bare number of bytes (default: 256M)",
    )  # fmt: skip
    machine.add_argument(
        "--maxmem", metavar="SIZE", type=size, default=None, dest="max_memory",
        help="what the guest can be given while it runs, by 'xenia mem-set' (default: what it has)",
    )  # fmt: skip
    machine.add_argument(
        "--machine-memory", metavar="SIZE", type=size, default=None,
        help="the whole machine's memory, Xen's own included (default: what the guest needs)",
    )  # fmt: skip
    machine.add_argument(
        "--vcpus", metavar="N[,maxvcpus=M]", type=checked(parse_vcpus), default=None,
        help="how many processors the guest has, 1 to 16, and how many it can be given later (default: 1)",
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


def _add_shares(machine: argparse._ArgumentGroup) -> None:
    """Folders of the host's."""
    machine.add_argument(
        "--share", metavar="DIR[:MOUNT][:ro][:disk]", action="append", default=[],
        help="a folder of this host's that the guest sees, at MOUNT or at the same path, and whether it may only read; "
        "again for more. A command starts in the folder that you are in, where the guest sees that. With 'disk' it is "
        "a copy as the folder is now, on a disk, which every kernel can read; what the guest changes there is lost. A "
        r"colon in a name is written \:",
    )  # fmt: skip
    machine.add_argument(
        "--rw-cow", metavar="DIR[:MOUNT]", action="append", default=[],
        help="the same as the guest's own copy: what it changes stays in its memory, and goes with it",
    )  # fmt: skip
    machine.add_argument(
        "--host-root", action="store_true",
        help="the guest has this host's own file system as its root, with all its programs, and what it changes stays "
        "in its memory; /home it may only read, unless it is shared",
    )  # fmt: skip


def _add_net(machine: argparse._ArgumentGroup) -> None:
    """Network cards."""
    machine.add_argument(
        "--net", metavar="LINK[,WORD...]", action="append", default=[],
        help="a network card: user (a network of the guest's own, the default), none, bridge=NAME (one that xenia net "
        "create made), tap=IF, macvtap=IF, nic=IF, socket=PATH, passt and others, with words such as mac=, mtu=, rate= "
        "or delay=20ms, and those of xl.cfg; again for more cards",
    )  # fmt: skip
    machine.add_argument(
        "-p", "--publish", metavar="[ADDRESS:]PORT:GUESTPORT[/udp]", action="append", default=[],
        help="who connects to this port of the host, on 127.0.0.1 unless an address is given, reaches the guest's",
    )  # fmt: skip


def _add_command(machine: argparse._ArgumentGroup) -> None:
    """What a command finds, and how long it may take."""
    machine.add_argument(
        "--env", metavar="NAME[=VALUE]", action="append", default=[],
        help="a variable in the environment of the command or shell; without a value, the one that it has here",
    )  # fmt: skip
    machine.add_argument(
        "--timeout", metavar="SECONDS", type=checked(seconds), default=None,
        help="end a guest that has not ended by then, with status 124",
    )  # fmt: skip
    machine.add_argument("--cwd", metavar="DIR", default=None, help="the folder that the command or shell starts in")
    machine.add_argument(
        "-d", "--detach", action="store_true",
        help="let it run in the background, as a domain of the daemon's, and print its name: see exec, logs and stop",
    )  # fmt: skip
    machine.add_argument("--name", default=None, help="the guest's name (default: guest)")


def _add_ways(machine: argparse._ArgumentGroup) -> None:
    """How the machine behaves."""
    machine.add_argument(
        "--clock", choices=CLOCKS, default="real",
        help="'real' follows the host; 'warped' jumps to the next timer when the guest idles (default: real)",
    )  # fmt: skip
    machine.add_argument(
        "--engine", choices=ENGINES, default=None,
        help="what runs the guest's code: 'emulated'; 'native', which has programs run by the host's own processor "
        "where that pays; or 'auto', that where the host permits it (default: auto)",
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
        "--gdb", metavar="PORT|unix:PATH", nargs="?", const=True, default=None,
        help="let debuggers in at a port of the loopback, or a unix socket (default: one of the guest's own); "
        "'xenia gdb' needs none of it",
    )  # fmt: skip
    machine.add_argument(
        "--gdb-wait", action="store_true", help="the same, and the guest begins when a debugger lets it"
    )
    machine.add_argument(
        "--no-jail", dest="jail", action="store_false",
        help="do not wall this process in: a debugger can look at it, and a guest that breaks out has what you have",
    )  # fmt: skip
