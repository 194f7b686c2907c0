"""What a copy of a folder leaves out, of file systems that are mounted in it: the kernel's own, and of a guest the
host's folders."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

MADE_UP = (
    "proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs", "selinuxfs", "smackfs", "bpf",
    "binfmt_misc", "fusectl", "nfsd", "rpc_pipefs", "xenfs", "resctrl",
)  # fmt: skip
"""Types whose files the kernel makes up as they are read: how long one is nobody knows before."""
OTHERS = ("devtmpfs", "devpts", "mqueue", "hugetlbfs", "pstore", "efivarfs", "nsfs", "9p")
"""Further ones that are left out, but where they are asked for by name.  Xenia's shares are of the last one."""

_TOLD = re.compile(r"mounted: (\S+) (/.*)")
_OCTAL = re.compile(r"\\([0-7]{3})")


def told(line: str) -> tuple[str, str] | None:
    """A path and the type of what is mounted there, of a line of copy_out.sh's or of a list of mounts."""
    found = _TOLD.fullmatch(line)
    return None if found is None else (_OCTAL.sub(lambda octal: chr(int(octal[1], 8)), found[2]), found[1])


def words(passed_over: Mapping[str, str]) -> list[str]:
    """What was left out, in a line for each kind."""
    own = [path for path, kind in passed_over.items() if kind != "9p"]
    shared = [path for path in passed_over if path not in own]
    return [
        f"left out {what}: {', '.join(paths)}"
        for what, paths in (("what the kernel makes up", own), ("folders of the host's", shared)) if paths
    ]  # fmt: skip


def made_up_here(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Where such are mounted in a folder of this host's, as paths below it, and their types."""
    inside = os.path.realpath(folder).rstrip("/")
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
            lines = [line.split(" ") for line in mounts]
    except OSError:
        return {}
    mounted = (told(f"mounted: {kind} {place}") for _, place, kind, *_ in lines)
    return {
        place.removeprefix(f"{inside}/"): kind
        for place, kind in filter(None, mounted)
        if place.startswith(f"{inside}/") and kind in (*MADE_UP, *OTHERS) and kind != "9p"
    }
