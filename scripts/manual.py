"""Writes the manual page docs/xenia.1 from the grammar of the command line and the table of exit statuses.

Usage:
    python scripts/manual.py > docs/xenia.1
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from xenia.cli.exit_status import ExitStatus
from xenia.cli.parser import build_parser
from xenia.cli.run_options import RUN_EXAMPLES

ENVIRONMENT = {
    "NO_COLOR": "When set and not empty, no colours.",
    "XENSTORED_PATH": "Where clients of xenstore look for its socket, and where run --xenstore makes it; without it, "
    "socket in the folder XENSTORED_RUNDIR, or in /run/xenstored.",
    "XDG_CACHE_HOME": "What was fetched and built is kept in its folder xenia; without it, in ~/.cache/xenia.",
}


def roff(text: str) -> str:
    """Text as roff takes it literally."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\n".join("\\&" + line if line.startswith(".") else line for line in text.splitlines())


def sentence(text: str) -> str:
    """Text with a capital letter at its beginning."""
    return roff(text[:1].upper() + text[1:])


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by name; a command's actions stand for it."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, verb in action.choices.items():
                actions = {f"{name} {own}": below for own, below in commands(verb).items()}
                found.update(actions or {name: verb})
    return found


def tag(action: argparse.Action) -> str:
    """An argument as one writes it: names in bold, the value in italics."""
    value = ""
    if action.nargs != 0:
        value = "|".join(map(str, action.choices)) if action.choices else str(action.metavar or action.dest.upper())
    if not action.option_strings:
        return f"\\fI{roff(value)}\\fR"
    names = ", ".join(f"\\fB{roff(name)}\\fR" for name in action.option_strings)
    if action.nargs == "?":
        return f"{names} [\\fI{roff(value)}\\fR]"
    return f"{names} \\fI{roff(value)}\\fR" if value else names


def arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The arguments of one command as tagged paragraphs, group by group."""
    for group in parser._action_groups:
        listed = [action for action in group._group_actions if not isinstance(action, argparse._SubParsersAction)]
        if listed and group.title not in ("options", "positional arguments"):
            yield f".PP\n{sentence(group.title or '')}:"
        for action in listed:
            if action.help != argparse.SUPPRESS:
                yield f".TP\n{tag(action)}\n{sentence(action.help or '')}."


def synopsis(name: str, parser: argparse.ArgumentParser) -> str:
    """One line that says how the command is written."""
    words = " ".join(parser.format_usage().split()).removeprefix("usage: ").removeprefix(f"xenia {name}")
    return f".B xenia {name}\n{roff(words.strip())}"


def manual() -> str:
    """The whole page."""
    parser = build_parser()
    verbs = commands(parser)
    lines = ['.TH XENIA 1 "" "Xenia" "User Commands"', ".SH NAME"]
    lines += [r"xenia \- boot stock Linux kernels as Xen PV guests inside an unprivileged process", ".SH SYNOPSIS"]
    for name, verb in verbs.items():
        lines += [synopsis(name, verb), ".br"]
    lines[-1] = ".SH DESCRIPTION"
    lines.append(roff(parser.description or ""))
    lines += list(arguments(parser))
    lines.append(".SH COMMANDS")
    for name, verb in verbs.items():
        lines.append(f".SS {name}")
        lines.append(roff(verb.description or "").replace("\n\n", "\n.PP\n"))
        lines += list(arguments(verb))
    lines.append(".SH EXIT STATUS")
    lines.append(roff("With a command for the guest, the command's own status passes through. Otherwise, and besides:"))
    for status in ExitStatus:
        lines.append(f".TP\n.B {status.value}\n{sentence(status.meaning)}.")
    lines.append(".SH ENVIRONMENT")
    for variable, what in ENVIRONMENT.items():
        lines.append(f".TP\n.B {variable}\n{roff(what)}")
    lines.append(".SH EXAMPLES")
    for line, what in RUN_EXAMPLES:
        lines.append(f".TP\n.B {roff(line)}\n{sentence(what)}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(manual(), end="")
