"""Compiles the program of stubs, when the package is built.  Needs only the standard library and a compiler.

The binary's name carries a digest of its source and flags, so a stale one is never taken.
"""

import hashlib
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("stub.c")
HEADERS = tuple(SOURCE.with_name(name) for name in ("calls.h", "filters.h", "stub.h"))
FLAGS = (
    "-std=gnu11", "-O2", "-Wall", "-Wextra", "-static", "-nostdlib", "-ffreestanding", "-mgeneral-regs-only", "-fPIC",
    "-fvisibility=hidden", "-no-pie", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none",
    "-Wl,-Ttext-segment=0x500000000000", "-Wl,-z,noexecstack", "-Wl,--build-id=none", "-s",
)  # fmt: skip
_COMPILERS = ("x86_64-linux-gnu-gcc", "gcc", "cc", "clang")


def beside_source() -> Path:
    """Where the binary that comes with the package is; it need not exist."""
    text = b"".join(path.read_bytes() for path in (*HEADERS, SOURCE))
    return SOURCE.with_name("stub-" + hashlib.sha256(" ".join(FLAGS).encode() + text).hexdigest()[:16])


def _compiler() -> str | None:
    for path in filter(None, map(shutil.which, _COMPILERS)):
        machine = subprocess.run([path, "-dumpmachine"], capture_output=True, text=True, check=False).stdout
        if machine.startswith(("x86_64", "amd64")) and "linux" in machine:
            return path
    return None


def build_beside_source() -> None:
    """For the package build: make the binary that comes with the package, where a compiler is found."""
    target, compiler = beside_source(), _compiler()
    if not target.exists() and compiler is not None:
        for stale in SOURCE.parent.glob("stub-*"):
            stale.unlink()
        subprocess.run([compiler, *FLAGS, "-o", str(target), str(SOURCE)], check=True)
