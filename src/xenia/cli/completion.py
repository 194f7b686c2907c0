"""Completion scripts, written by shtab from the grammar of the command line."""

from __future__ import annotations

import argparse

import shtab

from xenia.cli.parser import FILES, build_parser


def script(shell: str) -> str:
    """The completion script of `xenia` for one of SHELLS."""
    parser = build_parser()
    _mark_files(parser)
    return str(shtab.complete(parser, shell))


def _mark_files(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if action.metavar in FILES:
            # shtab's own attribute on argparse's object
            vars(action)["complete"] = shtab.FILE
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark_files(command)
