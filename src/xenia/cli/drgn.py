"""`xenia drgn`: drgn on a guest that runs, or is paused."""

from __future__ import annotations

import argparse
import os
import socket
import traceback
from pathlib import Path
from typing import Any

from xenia.cli.exit_status import ExitStatus
from xenia.cli.voice import Voice
from xenia.errors import ConfigError

USAGE = "xenia drgn [option ...] GUEST [SCRIPT [argument ...]]"
_NO_DRGN = "there is no drgn here: pip install drgn (0.3 or newer), in the Python that runs xenia"


def add_drgn(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verb."""
    parser = commands.add_parser(
        "drgn",
        help="look into a guest's kernel with drgn",
        usage=USAGE,
        description="Start drgn on the Linux kernel of a guest that runs or is paused: its prompt, a script, or one "
        "line. Types and symbols are those that the kernel has in its own memory, so no debug package is needed. "
        "The guest goes on meanwhile unless it is paused, and does not notice.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "-e", dest="code", metavar="CODE", default=None, help="run this, with 'prog' and drgn's helpers"
    )
    parser.add_argument("--symbols", metavar="FILE", default=None, help="the kernel's vmlinux with debug information")
    parser.add_argument("guest", metavar="GUEST", help="its name or number")
    parser.add_argument("script", metavar="SCRIPT", nargs="?", default=None, help="a script for drgn to run")
    parser.add_argument("arguments", metavar="argument", nargs="*", help="the script's own arguments")


def drgn(options: argparse.Namespace, voice: Voice) -> int:
    """Carry it out."""
    for file in (options.script, options.symbols):
        if file is not None and not os.access(file, os.R_OK):
            raise ConfigError(f"{file}: there is no such file that can be read")
    try:
        from xenia.toolstack.symbols.drgn_program import kernel_program
    except ImportError:
        raise ConfigError(_NO_DRGN) from None
    from xenia.toolstack.control.client import find_one
    from xenia.toolstack.debug.remote_memory import RemoteMemory

    place = find_one(options.guest)
    paused = bool(place.ask("domain")["paused"])
    ours, theirs = socket.socketpair()
    with RemoteMemory(ours) as memory:
        with theirs:
            place.ask("memory-read", descriptors=[theirs.fileno()])
        symbols = None if options.symbols is None else Path(options.symbols)
        try:
            program = kernel_program(memory, is_live=not paused, debug_info=symbols, progress=voice.progress)
        finally:
            voice.clear()
        try:
            _use(program, options)
        except Exception:  # of what the operator wrote
            traceback.print_exc()
            return ExitStatus.PROBLEM
    return ExitStatus.OK


def _use(program: Any, options: argparse.Namespace) -> None:
    import runpy
    import sys

    from drgn import set_default_prog
    from drgn.cli import run_interactive

    set_default_prog(program)
    if options.script is not None:
        sys.argv = [options.script, *options.arguments]
        runpy.run_path(options.script, init_globals={"prog": program}, run_name="__main__")
    elif options.code is not None:
        exec("from drgn import *\nfrom drgn.helpers.common import *\nfrom drgn.helpers.linux import *\n" + options.code,
             {"prog": program, "__name__": "__main__"})  # fmt: skip
    else:
        run_interactive(program)
