"""Compiles the launcher, when the package is built.  Needs only the standard library and a compiler.

The binary's name carries a digest of its source and flags, so a stale one is never taken.
"""

import hashlib
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).with_name("launcher.c")
HEADERS = tuple(sorted(SOURCE.parent.glob("*.h")))
# By this name it finds the interpreter that the package was built for.
INTERPRETER = f"python{sysconfig.get_config_var('VERSION')}{getattr(sys, 'abiflags', '')}"
FLAGS = (
    "-std=gnu11", "-O2", "-Wall", "-Wextra", f'-DPYTHON="{INTERPRETER}"', "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3",
    "-fstack-protector-strong", "-fPIE", "-pie", "-Wl,-z,relro,-z,now,-z,noexecstack", "-Wl,--build-id=none",
)  # fmt: skip


def beside_source() -> Path:
    """Where the binary is that was built from this very source; it need not exist."""
    text = b"".join(path.read_bytes() for path in (*HEADERS, SOURCE))
    return SOURCE.with_name("xenia-" + hashlib.sha256(" ".join(FLAGS).encode() + text).hexdigest()[:16])


def compile_launcher(compiler: str, target: Path, more: Sequence[str] = ("-s",)) -> None:
    """Compile it to `target`."""
    subprocess.run([compiler, *FLAGS, *more, "-o", str(target), str(SOURCE)], check=True)


def build_beside_source(compiler: str | None) -> Path | None:
    """The binary, made where it is not there yet; None where it is not, and there is no compiler."""
    target = beside_source()
    if not target.exists():
        if compiler is None:
            return None
        for stale in SOURCE.parent.glob("xenia-*"):
            stale.unlink()
        compile_launcher(compiler, target)
    return target
