"""Puts what is compiled in a wheel of Xenia where a compiler would have put it, for hosts without one: modules and
programs beside the sources that they were compiled from, and the command `xenia` into a folder of programs.

    python3 scripts/unpack_wheel.py WHEEL SRC BIN

Refuses a wheel for another Python, or one that was made from other sources.
"""

from __future__ import annotations

import sys
import sysconfig
import zipfile
from pathlib import Path

SOURCES = {".pyx", ".pxd", ".c", ".h"}


def main(wheel: Path, target: Path, programs: Path) -> int:
    try:
        with zipfile.ZipFile(wheel) as archive:
            files = {name: archive.read(name) for name in archive.namelist() if inside(name)}
            commands = [archive.read(name) for name in archive.namelist() if name.endswith(".data/scripts/xenia")]
    except (OSError, zipfile.BadZipFile) as error:
        return refuse(f"cannot read {wheel}: {error}")
    differs = [name for name, data in files.items() if Path(name).suffix in SOURCES and not same(target / name, data)]
    if differs:
        return refuse(f"{wheel} was made from other sources: {differs[0]} differs")
    if not commands:
        return refuse(f"{wheel} was made from other sources: it has no launcher")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    compiled = [name for name in files if name.endswith(".so")]
    if not all(name.endswith(suffix) for name in compiled):
        return refuse(f"{wheel} is for another Python: its modules do not end in {suffix}")
    for name in compiled + [name for name in files if is_program(Path(name))]:
        (target / name).write_bytes(files[name])
    new = programs / "xenia.new"
    new.write_bytes(commands[0])
    new.chmod(0o755)
    new.replace(programs / "xenia")
    return 0


def inside(name: str) -> bool:
    return name.startswith("xenia/") and ".." not in Path(name).parts


def same(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() == data


def is_program(path: Path) -> bool:
    """The guest's agent, the stubs and the built-in guest."""
    return path.parent.name in ("agent", "native", "guests") and path.suffix == ""


def refuse(why: str) -> int:
    print(f"xenia: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4])))
