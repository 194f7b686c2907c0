"""Completion scripts, written by shtab from the grammar of the command line."""

from __future__ import annotations

import argparse
import shlex

import shtab

from xenia.cli.parser import FILES, build_parser

GUESTS = ("GUEST", "DOMAIN")  # the metavars of arguments that name a guest that runs
# Where `toolstack.control` has the sockets, each NAME.PROCESS, and `toolstack.service.place` the daemon's domains.
_NAMES = (
    'for d in "$XDG_RUNTIME_DIR/xenia" "${TMPDIR:-/tmp}/xenia-run-$(id -u)"; do ls "$d" 2>/dev/null | '
    "sed -n 's/\\.[0-9][0-9]*$//p'; "
    'grep -o \'"name": "[^"]*"\' "$d/daemon.json" 2>/dev/null | cut -d \'"\' -f 4; done'
)
_PREAMBLE = {
    "bash": f'_xenia_guests() {{\n  compgen -W "$({_NAMES})" -- "$1"\n}}\n',
    "zsh": f'_xenia_guests() {{\n  compadd -- ${{(f)"$({_NAMES})"}}\n}}\n',
    "fish": f"function _xenia_guests\n  sh -c {shlex.quote(_NAMES)}\nend\n",
}
# What completes such an argument: a function that is called, but an expression in fish.
_CALLS = dict.fromkeys(_PREAMBLE, "_xenia_guests") | {"fish": "(_xenia_guests)"}


def script(shell: str) -> str:
    """The completion script of `xenia` for one of SHELLS."""
    parser = build_parser()
    _mark(parser)
    return str(shtab.complete(parser, shell, preamble=_PREAMBLE[shell]))


def _mark(parser: argparse.ArgumentParser) -> None:
    """Say what completes each argument, with shtab's own attribute on argparse's objects."""
    for action in parser._actions:
        if action.metavar in FILES:
            vars(action)["complete"] = shtab.FILE
        if action.metavar in GUESTS:
            vars(action)["complete"] = _CALLS
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark(command)
