"""Puts what is compiled in a wheel of Xenia beside the sources that it was compiled from, for hosts without a compiler.

    python3 scripts/unpack_wheel.py WHEEL SRC

Refuses a wheel for another Python, or one that was made from other sources.
"""

from __future__ import annotations

import sys
import sysconfig
import zipfile
from pathlib import Path

SOURCES = {".pyx", ".pxd", ".c", ".h"}


def main(wheel: Path, target: Path) -> int:
    try:
        with zipfile.ZipFile(wheel) as archive:
            files = {name: archive.read(name) for name in archive.namelist() if inside(name)}
    except (OSError, zipfile.BadZipFile) as error:
        return refuse(f"cannot read {wheel}: {error}")
    differs = [name for name, data in files.items() if Path(name).suffix in SOURCES and not same(target / name, data)]
    if differs:
        return refuse(f"{wheel} was made from other sources: {differs[0]} differs")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    compiled = [name for name in files if name.endswith(".so")]
    if not all(name.endswith(suffix) for name in compiled):
        return refuse(f"{wheel} is for another Python: its modules do not end in {suffix}")
    for name in compiled + [name for name in files if is_program(Path(name))]:
        (target / name).write_bytes(files[name])
    return 0


def inside(name: str) -> bool:
    return name.startswith("xenia/") and ".." not in Path(name).parts


def same(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() == data


def is_program(path: Path) -> bool:
    """The guest's agent and the built-in guest."""
    return path.parent.name in ("agent", "guests") and path.suffix == ""


def refuse(why: str) -> int:
    print(f"xenia: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
