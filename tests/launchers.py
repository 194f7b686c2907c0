"""Launchers, compiled from the source that is there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from xenia.agent.build import find_compiler
from xenia.launcher.build import INTERPRETER, compile_launcher

SOURCE = Path(__file__).parents[1] / "src"


def build_launcher(folder: Path, *flags: str) -> Path:
    """One, in a folder with an interpreter that writes down its arguments."""
    if (compiler := find_compiler()) is None:
        pytest.skip("no C compiler to build the launcher with")
    program = folder / "xenia"
    compile_launcher(compiler, program, ["-Werror", *flags])
    interpreter = folder / INTERPRETER
    interpreter.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >>"{folder}/starts"\nPYTHONPATH="{SOURCE}" exec "{sys.executable}" "$@"\n'
    )
    interpreter.chmod(0o755)
    return program
