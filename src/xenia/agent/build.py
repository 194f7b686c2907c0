"""Compiles the agent, when the package is built or else on first use.  Needs only the standard library and a compiler.

The binary's name carries a digest of its source and flags, so a stale one is never taken.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).with_name("agent.c")
HEADERS = tuple(sorted(SOURCE.parent.glob("*.h")))
FLAGS = (
    "-std=gnu11", "-Os", "-Wall", "-Wextra", "-static", "-nostdlib", "-ffreestanding", "-mgeneral-regs-only",
    "-fno-pic", "-no-pie", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none",
    "-Wl,--build-id=none", "-s",
)  # fmt: skip
# gcc's and clang's "FILE:LINE:COLUMN: error: ...", the assembler's, and what linkers say.
_ERROR = re.compile(r"\b[Ee]rror: |undefined (reference|symbol)|cannot find |cannot open ")
_COMPILERS = ("x86_64-linux-gnu-gcc", "gcc", "cc", "clang")


class CannotCompile(Exception):
    """This host cannot compile the agent; the text is one line that says why."""


def binary_name() -> str:
    """The name of the binary made from this very source."""
    text = b"".join(path.read_bytes() for path in (*HEADERS, SOURCE))
    return "agent-" + hashlib.sha256(" ".join(FLAGS).encode() + text).hexdigest()[:16]


def beside_source() -> Path:
    """Where the binary that comes with the package is; it need not exist."""
    return SOURCE.with_name(binary_name())


def find_compiler() -> str | None:
    """A C compiler that makes x86-64 Linux programs, if this host has one."""
    for path in filter(None, map(shutil.which, _COMPILERS)):
        machine = subprocess.run([path, "-dumpmachine"], capture_output=True, text=True, check=False).stdout
        if machine.startswith(("x86_64", "amd64")) and "linux" in machine:
            return path
    return None


def compile_agent(target: Path, find: Callable[[], str | None] = find_compiler) -> None:
    """Compile the agent to `target`, with the compiler that is found."""
    compiler = find()
    if compiler is None:
        raise CannotCompile("no C compiler for x86-64 Linux (gcc or clang) to build the guest agent with")
    command = [compiler, *FLAGS, "-o", str(target), str(SOURCE)]
    spoken = {**os.environ, "LC_ALL": "C"}
    answer = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=spoken)
    if answer.returncode:
        raise CannotCompile(f"{compiler} cannot build the guest agent: {_first_error(answer.stderr)}")


def _first_error(said: str) -> str:
    """What a compiler, assembler or linker complains of first: before that it says in which file and function that is,
    and what it warns of."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if _ERROR.search(line)), next(iter(lines), "it gives no reason"))


def build_beside_source() -> None:
    """For the package build: make the binary that comes with the package, where a compiler is found."""
    target = beside_source()
    if not target.exists() and find_compiler() is not None:
        for stale in SOURCE.parent.glob("agent-*"):
            stale.unlink()
        compile_agent(target)
