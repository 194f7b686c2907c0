"""What this host offers and lacks, as values: a list of checks, each with what to do if it failed."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from xenia.agent import build
from xenia.errors import ConfigError, HypervisorBug
from xenia.toolstack.config.machine import MachineConfig
from xenia.toolstack.machine.limits import cgroup_limit, cgroup_room
from xenia.toolstack.provision import slirp
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.inspect import inspect_kernel
from xenia.toolstack.provision.packages import PackageClient

if TYPE_CHECKING:
    from xenia.jail.jail import Walls

MINIMUM_PYTHON = (3, 11)
COMFORTABLE_MEMORY = 512 << 20


class Status(StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"  # something will not work, or not well
    FAIL = "fail"  # Xenia cannot run


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and what to do about it ("" if nothing)."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


def exit_status(checks: Iterable[Check]) -> int:
    """1 if any check failed, else 0."""
    return int(any(check.status is Status.FAIL for check in checks))


def examine(cache: Cache, boot: Path = Path("/boot")) -> list[Check]:
    """Look at this host."""
    return [
        check_python(),
        check_engine(),
        check_native(),
        check_jail(),
        check_user(),
        check_memory(),
        check_cache(cache),
        check_package_client(),
        check_network(cache),
        check_compiler(),
        *check_kernels(cache, boot),
        check_terminal(),
    ]


def check_python() -> Check:
    """Whether this Python is new enough."""
    version = platform.python_version()
    detail = f"{platform.python_implementation()} {version}, {platform.machine()}"
    if sys.version_info[:2] < MINIMUM_PYTHON:
        return Check("python", Status.FAIL, detail, "install Python {}.{} or newer".format(*MINIMUM_PYTHON))
    return Check("python", Status.OK, detail)


def check_engine(self_test: Callable[[], str] | None = None) -> Check:
    """Whether the compiled core is there, and its engine is as this build expects it."""
    try:
        from xenia.hypervisor.machine import engine_self_test

        return Check("engine", Status.OK, (self_test or engine_self_test)())
    except (ImportError, HypervisorBug) as fault:
        return Check("engine", Status.FAIL, str(fault), "build Xenia again: pip install --force-reinstall .")


def check_native(self_test: Callable[[str], str] | None = None) -> Check:
    """Whether programs of guests can be run by this host's own processor."""
    try:
        from xenia.hypervisor.machine import engine_self_test

        return Check("native engine", Status.OK, (self_test or engine_self_test)("native"))
    except (ImportError, ConfigError) as lack:
        return Check("native engine", Status.WARN, str(lack), "nothing: guests run without it, on the emulated one")


def check_jail(walls: "Callable[[], Walls] | None" = None) -> Check:
    """Which walls this host gives around the process that runs a guest."""
    try:
        from xenia.jail.jail import walls_of_host
    except ImportError as fault:
        return Check("jail", Status.FAIL, str(fault), "build Xenia again: pip install --force-reinstall .")
    found = (walls or walls_of_host)()
    there = ["no new privileges, no debugger, few resources"]
    if found.filters is not None:
        there.append("filters of system calls")
    if found.landlock:
        there.append(f"Landlock {found.landlock}")
    if found.lacking:
        detail = f"{', '.join(there)}; but {', '.join(found.lacking)}"
        return Check("jail", Status.WARN, detail, "use a newer kernel, or a sandbox that lets Xenia make its own")
    return Check("jail", Status.OK, ", ".join(there))


def check_user(uid: int | None = None) -> Check:
    """Whether whoever breaks out of everything would be root."""
    if (os.geteuid() if uid is None else uid) == 0:
        return Check("user", Status.WARN, "root", "become an ordinary user: nothing here needs more")
    return Check("user", Status.OK, "an ordinary one")


def check_memory() -> Check:
    """How much memory guests can have."""
    available = available_memory()
    if available is None:
        return Check("memory", Status.WARN, "cannot tell how much is available", "mount /proc")
    detail = f"{available >> 20} MB available"
    if available < COMFORTABLE_MEMORY:
        return Check("memory", Status.WARN, detail, "free some, or give guests less with --memory")
    limit = cgroup_limit()
    if limit is not None and limit < MachineConfig().memory:
        detail = f"the cgroup allows {limit >> 20} MiB in all, less than a guest has"
        return Check("memory", Status.WARN, detail, "raise its limit, or give guests less with --memory")
    return Check("memory", Status.OK, detail)


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that could be used now: what /proc/meminfo says, or the cgroup if that allows less; None if unknown."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        fields = {key: value for key, _, value in (line.partition(":") for line in lines)}
        available = int(fields["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return None
    room = cgroup_room(root)
    return available if room is None else min(available, room)


def check_cache(cache: Cache) -> Check:
    """Whether the cache can be written."""
    try:
        with cache.locked("doctor"):
            return Check("cache", Status.OK, str(cache.root))
    except ConfigError as error:
        return Check("cache", Status.WARN, str(error), "set XDG_CACHE_HOME to a directory that can be written")


def check_package_client() -> Check:
    """Whether kernels, and the packages of root disks, can be fetched."""
    if PackageClient.available():
        return Check("package client", Status.OK, str(shutil.which("apt-get")))
    remedy = "give a kernel and initrd of your own with --kernel and --initrd"
    return Check("package client", Status.WARN, "no apt-get, so no kernel can be fetched", remedy)


def check_network(cache: Cache, host: Callable[[], Path | None] = slirp.of_host) -> Check:
    """Whether guests reach the world without rights."""
    own = host()
    if own is not None:
        return Check("network", Status.OK, f"libslirp: {own}")
    if slirp.in_cache(cache) is not None:
        return Check("network", Status.OK, f"libslirp: {cache.root / 'slirp'}")
    if PackageClient.available():
        return Check("network", Status.OK, "libslirp: none yet, `xenia run` fetches it")
    return Check("network", Status.WARN, "no libslirp, so guests have no network of their own", "install libslirp0")


def check_compiler() -> Check:
    """Whether the agent that runs in guests is there, or can be compiled."""
    if build.beside_source().exists():
        return Check("guest agent", Status.OK, "built with the package")
    compiler = build.find_compiler()
    if compiler is not None:
        return Check("guest agent", Status.OK, f"to be compiled by {compiler}")
    detail = "it did not come with the package, and no C compiler for x86-64 Linux is here to build it"
    return Check("guest agent", Status.WARN, detail, "install gcc or clang")


def check_kernels(cache: Cache, boot: Path) -> list[Check]:
    """Every kernel found on this host and in the cache, and whether it can boot as a PV guest."""
    paths = [*sorted(boot.glob("vmlinuz-*")), *sorted((cache.root / "kernels").glob("*/vmlinuz"))]
    checks = [_check_kernel(path, cache) for path in paths]
    return checks or [Check("kernel", Status.WARN, "none yet", "`xenia run` fetches one")]


def _check_kernel(path: Path, cache: Cache) -> Check:
    try:
        found = inspect_kernel(path, cache=cache)
    except ConfigError as error:
        return Check("kernel", Status.WARN, str(error), "use another kernel, or become a user who may read it")
    if found.pv_reason is not None:
        detail = f"{path}: cannot boot as a PV guest: {found.pv_reason}"
        return Check("kernel", Status.WARN, detail, "use another kernel")
    needed = (found.memory_needed or 0) >> 20
    return Check("kernel", Status.OK, f"{path}: boots as a PV guest with {needed} MB or more")


def check_terminal() -> Check:
    """What a guest's console will be attached to."""
    if not (os.isatty(0) and os.isatty(1)):
        return Check("terminal", Status.OK, "none: consoles are plain streams")
    size = os.get_terminal_size(1)
    return Check("terminal", Status.OK, f"{os.environ.get('TERM', 'unknown')}, {size.columns} x {size.lines}")
