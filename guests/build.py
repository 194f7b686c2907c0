"""Builds the tiny PV guests: freestanding C for x86-64, with the host's compiler where that targets x86-64.

    python guests/build.py            ilwaco into src/xenia/guests, everything else into guests/out
    python guests/build.py NAME...    only these

The package build calls `build_embedded`, which is the part an installed Xenia needs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUTPUT = HERE / "out"
EMBEDDED = HERE.parent / "src" / "xenia" / "guests"
CANDIDATES = ("x86_64-linux-gnu-gcc", "cc", "gcc", "clang")
FLAGS = (
    *("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-builtin-printf"),
    *("-mcmodel=kernel", "-mno-red-zone", "-mgeneral-regs-only", "-fno-stack-protector", "-fcf-protection=none"),
    *("-fno-strict-aliasing", "-fno-pic", "-fno-pie", "-fno-asynchronous-unwind-tables"),
    *("-nostdlib", "-static", "-no-pie", "-s"),
    *("-Wl,--build-id=none", "-Wl,-z,max-page-size=4096", "-Wl,-z,noexecstack"),
)


class NoCompiler(Exception):
    """There is no C compiler here that makes x86-64 code."""


def compiler() -> str:
    """The C compiler for x86-64: $XENIA_GUEST_CC, or the first candidate whose target is x86-64."""
    named = os.environ.get("XENIA_GUEST_CC")
    for name in (named,) if named else CANDIDATES:
        path = shutil.which(name)
        if path is None:
            continue
        target = subprocess.run([path, "-dumpmachine"], capture_output=True, text=True, check=False).stdout
        if target.startswith(("x86_64", "amd64")):
            return path
    tried = named or ", ".join(CANDIDATES)
    raise NoCompiler(f"tiny guests need a C compiler for x86-64 (tried {tried}); set XENIA_GUEST_CC")


def programs() -> dict[str, list[Path]]:
    """Every guest by name, with its own sources: a folder with main in it, or a file under behaviours/."""
    found = {name: sorted((HERE / name).glob("*.c")) for name in ("ilwaco", "oracle", "micro")}
    common = sorted((HERE / "frontend").glob("*.c"))
    found.update({name: sorted((HERE / name).glob("*.c")) + common for name in ("blkfront", "netfront")})
    found.update({path.stem: [path] for path in sorted((HERE / "behaviours").glob("*.c"))})
    return {name: sources for name, sources in found.items() if sources}


def build(name: str, target: Path) -> Path:
    """Compile and link one guest with the kit; nothing is done where the target is newer than its sources."""
    kit = [*sorted((HERE / "kit").glob("*.c")), HERE / "kit" / "start.S"]
    sources = programs()[name]
    headers = [path for folder in {HERE / "kit", *(source.parent for source in sources)} for path in folder.glob("*.h")]
    inputs = [*kit, *sources, HERE / "kit" / "link.ld", *headers]
    if target.exists() and target.stat().st_mtime > max(path.stat().st_mtime for path in inputs):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler(), *FLAGS, "-I", str(HERE / "kit"), f"-Wl,-T,{HERE / 'kit' / 'link.ld'}", "-o", str(target)]
    subprocess.run([*command, *map(str, sources), *map(str, kit)], check=True)
    return target


def build_embedded() -> Path:
    """The default guest that is shipped inside the package."""
    return build("ilwaco", EMBEDDED / "ilwaco")


def main(names: list[str]) -> int:
    try:
        for name in names or programs():
            print(build_embedded() if name == "ilwaco" else build(name, OUTPUT / name))
    except NoCompiler as missing:
        print(missing, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
