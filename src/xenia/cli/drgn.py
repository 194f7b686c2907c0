"""`xenia drgn`: drgn on a guest that runs, or is paused."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Any

from xenia.cli.arguments import places
from xenia.cli.exit_status import ExitStatus
from xenia.cli.voice import Voice
from xenia.errors import ConfigError

USAGE = "xenia drgn [option ...] GUEST [SCRIPT [argument ...]]"
_VALUED = ("-e", "--symbols")
_NO_DRGN = "there is no drgn here: pip install drgn (0.3 or newer), in the Python that runs xenia"


def command_begins(arguments: list[str]) -> int | None:
    """Where the script stands, whose arguments are its own; None: nowhere.

    arguments   behind `xenia`, `drgn` first
    """
    _, second = (*places(arguments, _VALUED), None, None)[:2]
    return second


def add_drgn(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verb."""
    parser = commands.add_parser(
        "drgn",
        help="look into a guest's kernel with drgn",
        usage=USAGE,
        description="Start drgn on the Linux kernel of a guest that runs or is paused: its prompt, a script with its "
        "arguments, or one line. Types and symbols are those that the kernel has in its own memory, so no debug "
        "package is needed. The guest goes on meanwhile unless it is paused, and does not notice.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "-e", dest="code", metavar="CODE", default=None, help="run this, with 'prog' and drgn's helpers"
    )
    parser.add_argument("--symbols", metavar="FILE", default=None, help="the kernel's vmlinux with debug information")
    parser.add_argument("guest", metavar="GUEST", help="its name or number")


def drgn(options: argparse.Namespace, voice: Voice) -> int:
    """Carry it out; the script's own status where one was run."""
    for file in (*options.arguments[:1], options.symbols):
        if file is not None and not os.access(file, os.R_OK):
            raise ConfigError(f"{file}: there is no such file that can be read")
    try:
        from xenia.toolstack.symbols.drgn_program import kernel_program
    except ImportError:
        raise ConfigError(_NO_DRGN) from None
    from pathlib import Path

    from xenia.cli.gdb import memory_stream
    from xenia.toolstack.control.client import find_one
    from xenia.toolstack.debug.remote_memory import RemoteMemory

    place = find_one(options.guest)
    paused = bool(place.ask("domain")["paused"])
    with RemoteMemory(lambda: memory_stream(place)) as memory:
        symbols = None if options.symbols is None else Path(options.symbols)
        try:
            program = kernel_program(memory, is_live=not paused, debug_info=symbols, progress=voice.progress)
        finally:
            voice.clear()
        try:
            _use(program, options)
        except SystemExit as ended:
            if isinstance(ended.code, str):
                print(ended.code, file=sys.stderr)
                return ExitStatus.PROBLEM
            raise
        except Exception:  # of what the operator wrote
            import traceback

            traceback.print_exc()
            return ExitStatus.PROBLEM
    return ExitStatus.OK


def _use(program: Any, options: argparse.Namespace) -> None:
    import runpy

    from drgn import set_default_prog
    from drgn.cli import run_interactive

    set_default_prog(program)
    if options.arguments:
        script = options.arguments[0]
        sys.argv = list(options.arguments)
        sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
        runpy.run_path(script, init_globals={"prog": program}, run_name="__main__")
    elif options.code is not None:
        exec("from drgn import *\nfrom drgn.helpers.common import *\nfrom drgn.helpers.linux import *\n" + options.code,
             {"prog": program, "__name__": "__main__"})  # fmt: skip
    else:
        ends = signal.signal(signal.SIGINT, signal.default_int_handler)  # a line of the prompt's, and not the prompt
        try:
            run_interactive(program)
        finally:
            signal.signal(signal.SIGINT, ends)
