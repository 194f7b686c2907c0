"""`xenia gdb`: a debugger on a guest that runs."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from xenia.cli.exit_status import ExitStatus
from xenia.cli.voice import Voice
from xenia.errors import ConfigError

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from xenia.toolstack.control.client import Place

USAGE = "xenia gdb [option ...] [GUEST] [-- gdb's own argument ...]"
_PROGRAMS = ("gdb", "gdb-multiarch")
_PERIOD = 0.2  # seconds between two looks whether the guest is still there


def add_gdb(commands: argparse._SubParsersAction[Any]) -> None:
    """The grammar of the verb."""
    parser = commands.add_parser(
        "gdb",
        help="debug a running guest's kernel with gdb",
        usage=USAGE,
        description="Start gdb on a guest that runs, which stands as long as gdb has it and goes on when it lets go. "
        "Its vcpus are gdb's threads. The guest sees nothing of breakpoints and watchpoints. 'monitor help' in gdb "
        "lists what Xenia itself can tell.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "guest", metavar="GUEST", nargs="?", default="guest", help="its name or number (default: guest)"
    )
    parser.add_argument(
        "--listen", metavar="PORT|unix:PATH", nargs="?", const=True, default=None,
        help="start no gdb, but let debuggers in at a port of the loopback or a unix socket (default: one of the "
        "guest's own), until Ctrl-C",
    )  # fmt: skip
    parser.add_argument(
        "--symbols", metavar="FILE", default=None,
        help="the kernel's vmlinux (default: the symbols that the kernel has in its own memory)",
    )  # fmt: skip


def gdb(options: argparse.Namespace, voice: Voice) -> int:
    """Carry it out; gdb's own status where it was started."""
    import shutil
    import socket

    from xenia.toolstack.control.client import find_one
    from xenia.toolstack.debug.listener import listen

    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if options.listen is None and program is None:
        raise ConfigError("there is no gdb on this host (Debian's package gdb): xenia gdb --listen lets others in")
    if options.symbols is not None and not os.access(options.symbols, os.R_OK):
        raise ConfigError(f"--symbols {options.symbols}: there is no such file that can be read")
    place = find_one(options.guest)
    ours, theirs = socket.socketpair()
    with ours, closing(listen(options.listen if isinstance(options.listen, str) else None, place.name)) as listener:
        with theirs:
            descriptors = [listener.descriptors[0], theirs.fileno(), *listener.descriptors[1:]]
            place.ask("gdb", descriptors=descriptors)
        symbols = options.symbols if options.symbols is not None else _own_symbols(place, voice)
        attach = [
            *(["-ex", f"file {symbols}"] if symbols is not None else []),
            "-ex", f"target remote {listener.place}",
        ]  # fmt: skip
        if options.listen is None:
            assert program is not None
            return _become_parent([program, "-q", *attach, *options.arguments])
        voice.say("Ctrl-C ends it; a debugger comes in by:")
        print(shlex.join([program or "gdb", *attach]), flush=True)
        while place.is_answered():
            time.sleep(_PERIOD)
        voice.say(f"{place} has ended")
    return ExitStatus.OK


def _own_symbols(place: Place, voice: Voice) -> Path | None:
    """A file with those of the kernel's own memory."""
    from xenia.toolstack.debug.remote_memory import RemoteMemory
    from xenia.toolstack.symbols.own import own_symbols

    with RemoteMemory(lambda: memory_stream(place)) as memory:
        try:
            return own_symbols(memory.read, progress=voice.progress)
        except ConfigError as error:
            voice.say(f"no names for addresses: {error}")
            return None
        except Exception as error:  # the guest writes what is read there: no names are no reason not to debug it
            voice.say(f"no names for addresses: what the kernel has of them is damaged ({error!r})")
            return None
        finally:
            voice.clear()


def memory_stream(place: Place) -> socket.socket:
    """A stream at whose other end the guest's memory is served."""
    import socket

    ours, theirs = socket.socketpair()
    try:
        with theirs:
            place.ask("memory-read", descriptors=[theirs.fileno()])
    except BaseException:
        ours.close()
        raise
    return ours


def _become_parent(command: list[str]) -> int:
    """Run it in the foreground; Ctrl-C is its to take."""
    import subprocess

    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        with subprocess.Popen(command, preexec_fn=_default_signals) as process:
            status = process.wait()
            return status if status >= 0 else 128 - status
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
