"""The processes in which this one's guests run user code, as the host has them."""

from __future__ import annotations

import os
from pathlib import Path


def _fields(process: int) -> list[str]:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def parent(process: int) -> int:
    """Its number."""
    return int(_fields(process)[1])


def stubs() -> set[int]:
    """Of this process's, all that have two threads: the makers' makers are its children."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if _fields(int(name))[17] == "2" and parent(parent(parent(int(name)))) == os.getpid():
                found.add(int(name))
        except OSError:
            continue
    return found


def exists(process: int) -> bool:
    """Whether it is there, or has not been waited for."""
    return Path(f"/proc/{process}").exists()
