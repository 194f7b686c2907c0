"""What the host limits this process to, looked at before a guest runs: later there is nobody to tell."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from xenia.errors import ConfigError
from xenia.toolstack.config.machine import MIB, MachineConfig
from xenia.toolstack.machine.machine import Machine

# What a guest takes that runs.  A disk has up to four queues, and each an event channel and a thread.
_DESCRIPTORS, _DISK_DESCRIPTORS = 24, 9
_THREADS, _DISK_THREADS = 8, 7
# The translator's code and tables; and what the C library sets aside for some threads of its own accord.
_TRANSLATOR = 128 * MIB
_ARENAS = 4 * 64 * MIB
_DEFAULT_STACK = 8 * MIB
_NO_LIMIT = 1 << 60  # what cgroup v1 says for none, and more


def check_limits(config: MachineConfig) -> None:
    """ConfigError where this process may not have what the guest will need, with the limit that is in the way."""
    _check_descriptors(len(config.disks))
    _check_address_space(config)


def _check_descriptors(nr_disks: int) -> None:
    needed = len(os.listdir("/proc/self/fd")) + _DESCRIPTORS + _DISK_DESCRIPTORS * nr_disks
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise ConfigError(f"{hard} open files are allowed, and {needed} are needed: raise the limit (ulimit -n)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _check_address_space(config: MachineConfig) -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
    stack = _DEFAULT_STACK if stack == resource.RLIM_INFINITY else stack
    machine = config.machine_memory or Machine.memory_for(config.most_memory)
    needed = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    needed += machine + _TRANSLATOR + _ARENAS + stack * (_THREADS + _DISK_THREADS * len(config.disks))
    if limit < needed:
        raise ConfigError(
            f"{limit // MIB} MiB of address space are allowed, and {-(-needed // MIB)} are needed: "
            "raise the limit (ulimit -v), or give the guest less with --memory"
        )


def cgroup_limit(root: Path = Path("/")) -> int | None:
    """Bytes of memory that the cgroup of this process, of version 1 or 2, may have in all; None without a limit."""
    limits = [limit for directory, name in _cgroups(root) if (limit := _number(directory / name)) is not None]
    return min(limits, default=None)


def cgroup_room(root: Path = Path("/")) -> int | None:
    """Bytes of memory that the cgroup of this process leaves it now; None where it has no limit."""
    used = {"memory.max": "memory.current", "memory.limit_in_bytes": "memory.usage_in_bytes"}
    room = [
        max(0, limit - (_number(directory / used[name]) or 0))
        for directory, name in _cgroups(root)
        if (limit := _number(directory / name)) is not None
    ]
    return min(room, default=None)


def _cgroups(root: Path) -> list[tuple[Path, str]]:
    """The directories of the cgroup and of those that it is in, with the file that has the limit."""
    found = [(root / "sys/fs/cgroup", "memory.max"), (root / "sys/fs/cgroup/memory", "memory.limit_in_bytes")]
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            base, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        found += [(base.joinpath(*parts[:depth]), name) for depth in range(1, len(parts) + 1)]
    return found


def _number(path: Path) -> int | None:
    try:
        number = int(path.read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None
    return number if number < _NO_LIMIT else None
