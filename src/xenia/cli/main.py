"""`xenia`: reads the arguments, calls the toolstack, and ends with a status that tells what happened."""

from __future__ import annotations

import argparse
import gc
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from xenia.cli.domain_grammar import DOMAIN_VERBS
from xenia.cli.drgn import command_begins as drgn_begins
from xenia.cli.exec import command_begins as exec_begins
from xenia.cli.exit_status import EndedBySignal, ExitStatus
from xenia.cli.parser import build_parser
from xenia.cli.signals import fill_standard_descriptors, raise_the_first
from xenia.cli.ssh import command_begins as ssh_begins
from xenia.cli.voice import Voice
from xenia.errors import ConfigError, refusal_of_host

# Verbs that a command for the guest goes with; of some of them behind the guest's name, too.
_WITH_COMMAND = ("run", "ssh", "exec", "gdb", "drgn")
_COMMAND_BEGINS = {"ssh": ssh_begins, "exec": exec_begins, "drgn": drgn_begins}


def main() -> NoReturn:
    """The process `xenia`."""
    gc.set_threshold(10_000)  # imports make many objects, and no garbage
    fill_standard_descriptors()
    raise_the_first()
    try:
        status = command(sys.argv[1:])
    except EndedBySignal as ended:
        die_by(ended.number)
    except SystemExit as ended:  # argparse's way to end after --help and complaints
        status = ended.code if isinstance(ended.code, int) else 0
    # Nothing may be left to write when the interpreter ends: it would complain in its own words.
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        die_by(signal.SIGPIPE)
    except (OSError, ValueError, AttributeError):
        pass  # standard output was closed or full from the start, and has been reported
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    os._exit(status)  # the kernel takes back what is left more quickly than the interpreter, which takes 25 ms


def command(arguments: list[str]) -> int:
    """Carry out one command line and return its exit status.  EndedBySignal where a signal ended it."""
    own, guests = split_command(arguments)
    verb = next((word for word in own if not word.startswith("-")), None)
    names = ["--", *guests] if guests and verb is not None and verb not in _WITH_COMMAND else []
    parser = build_parser()
    options, unknown = parser.parse_known_args([*_joined(own), *names])
    if guests is not None and options.verb not in _WITH_COMMAND and (unknown or not names):
        verbs = ", ".join(f"'{verb}'" for verb in _WITH_COMMAND)
        parser.error(f"'--' and a command go with {verbs} only, not with {options.verb or 'no command at all'}")
    if unknown:
        hint = " (a command for the guest goes after '--')" if options.verb == "run" else ""
        parser.error(f"what is {shlex.quote(unknown[0])}?{hint}")
    if options.only_say and options.verb != "create":
        parser.error("-N goes with create")
    quiet = getattr(options, "quiet", False)
    voice = Voice(quiet=quiet)
    try:
        if getattr(options, "status_fd", None) is not None:
            from xenia.cli.json_voice import JsonVoice

            voice = JsonVoice(options.status_fd, quiet=quiet)
        return dispatch(parser, options, [] if names else guests or [], voice)
    except ConfigError as error:
        voice.error(str(error))
        return ExitStatus.USAGE
    except EndedBySignal as ended:
        voice.clear()
        voice.say(f"ended by {ended.number.name}")
        raise
    except BrokenPipeError:
        raise EndedBySignal(signal.SIGPIPE) from None
    except Exception as error:
        refusal = refusal_of_host(error) or _refusal_of_build(error)
        if refusal is None:
            return fault(voice)
        voice.error(str(refusal))
        return ExitStatus.USAGE


def _refusal_of_build(error: Exception) -> ConfigError | None:
    """Where `error` may be what an answer of the daemon's has made that is of another build of Xenia."""
    client = sys.modules.get("xenia.toolstack.control.client")
    if client is None or not isinstance(error, (KeyError, TypeError, ValueError, IndexError, AttributeError)):
        return None
    line = client.other_build() if client.has_answered() else None
    return None if line is None else ConfigError(line)


def fault(voice: Voice) -> int:
    """Say what went wrong in Xenia itself, in the course of handling it."""
    import traceback

    voice.clear()
    voice.plain(traceback.format_exc().rstrip())
    voice.error("this is a fault in Xenia, not in your guest; please report it with the lines above")
    return ExitStatus.BUG


def _joined(arguments: list[str]) -> list[str]:
    """`--memory -64M` as one word: argparse would take its value for an option."""
    joined: list[str] = []
    for argument in arguments:
        if re.match(r"-\d", argument) and joined and re.fullmatch(r"--[a-z-]+", joined[-1]):
            argument = f"{joined.pop()}={argument}"
        joined.append(argument)
    return joined


def split_command(arguments: list[str]) -> tuple[list[str], list[str] | None]:
    """Our own arguments, and the guest's command: what follows the first `--` (None without one); of some verbs what
    follows the guest's name.  Where no command is asked for, `--` ends the options."""
    if arguments and arguments[0] in _COMMAND_BEGINS:
        begins = _COMMAND_BEGINS[arguments[0]](arguments)
        if begins is not None and "--" not in arguments[:begins]:
            return arguments[:begins], arguments[begins:]
    if "--" not in arguments:
        return arguments, None
    cut = arguments.index("--")
    return arguments[:cut], arguments[cut + 1 :]


def dispatch(parser: argparse.ArgumentParser, options: argparse.Namespace, guests: list[str], voice: Voice) -> int:
    """Call the verb's own function; they import what they need, so that `--help` stays quick."""
    match options.verb:
        case "run":
            from xenia.cli.run import run

            return run(options, guests, voice)
        case "doctor":
            from xenia.cli.reports import doctor

            return doctor(options.json)
        case "inspect":
            from xenia.cli.reports import inspect

            return inspect(options.kernel, options.json)
        case "hypercalls":
            from xenia.cli.reports import hypercalls

            return hypercalls(options.json)
        case "ssh":
            from xenia.cli.ssh import ssh

            ssh(options, guests, voice)
        case "logs" | "wait" | "stop":
            from xenia.cli import background

            verb: Callable[[argparse.Namespace, Voice], int] = getattr(background, options.verb)
            return verb(options, voice)
        case "exec":
            from xenia.cli.exec import run_command

            return run_command(options, guests, voice)
        case "stats":
            from xenia.cli.stats import stats

            return stats(options.guest, options.json, voice)
        case "dmesg":
            from xenia.cli.stats import dmesg

            return dmesg(options.guest, options.json, voice, clear=options.clear)
        case "completion":
            from xenia.cli.completion import script

            print(script(options.shell))
            return ExitStatus.OK
    if options.verb in _CARRY_OUT:
        options.arguments = guests
        module = _CARRY_OUT[options.verb]
        function: Callable[[argparse.Namespace, Voice], int] = getattr(import_module(f"xenia.cli.{module}"), module)
        try:
            return function(options, voice)
        except ConfigError as error:
            if options.verb in _XENIAS_OWN:
                raise
            voice.error(str(error))  # and status 1, as in xl
            return ExitStatus.PROBLEM
    is_asked = options.verb == "help"
    parser.print_help(sys.stdout if is_asked else sys.stderr)
    return ExitStatus.OK if is_asked else ExitStatus.USAGE


# Of the following: no verbs of xl's.
_XENIAS_OWN = ("gdb", "drgn", "daemon", "disk", "image", "kernel", "net", "share", "cp")
# By verb: the module of `cli` with the function of its name that carries it out.
_CARRY_OUT = {
    "gdb": "gdb", "drgn": "drgn", "create": "create", "daemon": "daemon", "disk": "disk", "image": "image",
    "kernel": "kernel", "net": "net", "share": "share", "cp": "cp",
    **dict.fromkeys(("block-attach", "block-detach", "block-list", "block-resize", "cd-insert", "cd-eject"), "block"),
    **dict.fromkeys(("mem-set", "mem-max"), "memory"),
    "vcpu-set": "vcpu", "dump-core": "dump", **dict.fromkeys(("vcpu-pin", "sched-credit2", "cpupool-list"), "sched"),
    **dict.fromkeys(DOMAIN_VERBS, "domains"),
}  # fmt: skip


def die_by(number: signal.Signals) -> NoReturn:
    """End this process by the signal itself, so that a shell sees what happened (and stops its loop at Ctrl-C)."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)  # nothing more goes to a reader that left
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)
