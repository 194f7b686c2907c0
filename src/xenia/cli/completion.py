"""Completion scripts, written by shtab from the grammar of the command line."""

from __future__ import annotations

import argparse
import shlex

import shtab

from xenia.cli.kernel import CACHED, VERSION
from xenia.cli.parser import FILES, build_parser

FOLDERS = ("kdir", "modules")  # arguments that are folders of this host's
GUESTS = ("GUEST", "DOMAIN")  # the metavars of arguments that name a guest that runs
# Where `toolstack.control` has the sockets, each NAME.PROCESS, and `toolstack.service.place` the daemon's domains.
_NAMES = (
    'for d in "$XDG_RUNTIME_DIR/xenia" "${TMPDIR:-/tmp}/xenia-run-$(id -u)"; do ls "$d" 2>/dev/null | '
    "sed -n 's/\\.[0-9][0-9]*$//p'; "
    'grep -o \'"name": "[^"]*"\' "$d/daemon.json" 2>/dev/null | cut -d \'"\' -f 4; done'
)
# Where `toolstack.provision.kernels` has the kernels.
_CACHED = 'ls "${XDG_CACHE_HOME:-$HOME/.cache}/xenia/kernels" 2>/dev/null | sed -n "/^[0-9]/p"'
_VERSIONS = (
    f"{_CACHED}; apt-cache pkgnames linux-image- 2>/dev/null | "
    "sed -n 's/^linux-image-\\([0-9].*\\)$/\\1/p' | grep -v -e '-dbg$' -e '-unsigned$' -e '-template$'"
)
_LISTS = {"guests": _NAMES, "cached_kernels": _CACHED, "kernel_versions": _VERSIONS}


def _preamble(shell: str) -> str:
    """The functions that list what there is, and one that lists files as well."""
    lists = {
        name: {
            "bash": f'compgen -W "$({command})" -- "$1"',
            "zsh": f'compadd -- ${{(f)"$({command})"}}',
            "fish": f"sh -c {shlex.quote(command)}",
        }[shell]
        for name, command in _LISTS.items()
    }
    files = {"bash": 'compgen -f -- "$1"', "zsh": "_files", "fish": "__fish_complete_path"}[shell]
    lists["kernel_or_file"] = f"{files}; {lists['cached_kernels']}"
    head, end = ("function _xenia_{}\n", "end") if shell == "fish" else ("_xenia_{}() {{\n", "}")
    return "".join(f"{head.format(name)}  {body}\n{end}\n" for name, body in lists.items())


# By metavar: what completes such an argument.
_FUNCTIONS = {
    **dict.fromkeys(GUESTS, "guests"),
    VERSION: "kernel_versions", CACHED: "cached_kernels", "KERNEL|VERSION": "kernel_or_file",
}  # fmt: skip


def script(shell: str) -> str:
    """The completion script of `xenia` for one of SHELLS."""
    parser = build_parser()
    _mark(parser)
    return str(shtab.complete(parser, shell, preamble=_preamble(shell)))


def _mark(parser: argparse.ArgumentParser) -> None:
    """Say what completes each argument, with shtab's own attribute on argparse's objects."""
    for action in parser._actions:
        if action.metavar in FILES:
            vars(action)["complete"] = shtab.FILE
        if action.dest in FOLDERS:
            vars(action)["complete"] = shtab.DIRECTORY
        if isinstance(action.metavar, str) and action.metavar in _FUNCTIONS:
            name = f"_xenia_{_FUNCTIONS[action.metavar]}"
            vars(action)["complete"] = {"bash": name, "zsh": name, "fish": f"({name})"}
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark(command)
