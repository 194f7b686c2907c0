"""A jail around this process, because the emulator in it runs hostile code.

`enter` closes it, once, for good, and for every thread that is started afterwards: no privileges, no debugger and no
core file, few resources, no files but those that were named (Landlock), and the calls of `kinds.process` alone.
What is open stays open.  Within a jailed process each thread narrows itself further to what its kind needs, and so
does a vcpu's thread in any process.  A host that lacks a wall gives the others.
"""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xenia.errors import ConfigError, HypervisorBug
from xenia.jail import kernel, landlock
from xenia.jail.calls import PROCESSORS, HostProcessor
from xenia.jail.filter import Filter
from xenia.jail.kinds import PROBE, PROBE_ANSWER, Kind, forgiving, process
from xenia.jail.landlock import Right

_SET_DUMPABLE, _SET_NO_NEW_PRIVS = 4, 38  # linux/prctl.h
_LIMITS = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_MSGQUEUE: 0,
    resource.RLIMIT_RTPRIO: 0,
    resource.RLIMIT_NICE: 0,
}


@dataclass(frozen=True)
class Walls:
    """What a host gives.

    landlock    the version of its interface; 0: none
    filters     the processor that filters of system calls are made for; None: none are to be had
    """

    landlock: int
    filters: HostProcessor | None

    @property
    def lacking(self) -> list[str]:
        """What is missing, in words, each with what that means."""
        lacking = []
        if self.filters is None:
            lacking.append("no filters of system calls (seccomp)")
        if not self.landlock:
            lacking.append("any file of yours can be opened (no Landlock)")
        elif self.landlock < landlock.VERSION_OF_TCP:
            lacking.append("TCP is left to the filters (Landlock before version 4)")
        elif self.landlock < landlock.VERSION_OF_SCOPES:
            lacking.append("signals are left to the filters (Landlock before version 6)")
        return lacking


def walls_of_host() -> Walls:
    """Ask the kernel."""
    processor = PROCESSORS.get(os.uname().machine)
    return Walls(kernel.landlock_abi(), processor if kernel.filters_available() else None)


def enter(
    paths: Mapping[Path, Right],
    violation_status: int,
    calls: Filter | None = None,
    descriptors: int = 4096,
    connects: bool = False,
) -> None:
    """Close the jail around this process.  It can still open `paths`; a violation ends it with `violation_status`.

    calls        what all its threads may ask of the kernel (`kinds.process`)
    descriptors  how many it may have
    connects     whether it may listen and connect over TCP, as far as its calls let it

    ConfigError when the host refuses a wall that it says it has.  Precondition: there is no other thread.
    """
    if threading.active_count() > 1:
        raise HypervisorBug("a jail is entered before threads are started")
    walls = walls_of_host()
    kernel.settle_allocator()
    _limit({**_LIMITS, resource.RLIMIT_NOFILE: descriptors})
    try:
        kernel.prctl(_SET_NO_NEW_PRIVS, 1)
        kernel.prctl(_SET_DUMPABLE, 0)
        kernel.drop_capabilities()
        if walls.landlock:
            landlock.restrict(paths, walls.landlock, connects)
        if walls.filters is not None:
            kernel.watch_violations(violation_status, walls.filters.numbers)
            kernel.add_filter((calls or process()).program(walls.filters), kernel.ALL_THREADS)
    except OSError as error:
        raise ConfigError(f"the jail cannot be closed: {error.strerror} (--no-jail does without)") from None


def hold_to(paths: Mapping[Path, Right]) -> None:
    """Have this process, and what it becomes, open nothing but `paths`, where the kernel has Landlock.  OSError."""
    if version := kernel.landlock_abi():
        kernel.prctl(_SET_NO_NEW_PRIVS, 1)
        landlock.restrict(paths, version)


def _limit(limits: Mapping[int, int]) -> None:
    for limit, most in limits.items():
        _, hard = resource.getrlimit(limit)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (least, least))


def is_jailed() -> bool:
    """Whether this process is in a jail with filters."""
    try:
        kernel.prctl(PROBE)
    except OSError as error:
        return error.errno == PROBE_ANSWER
    return False


def confine(kind: Kind) -> None:
    """Narrow this thread to what its kind needs, where the process is jailed."""
    if is_jailed():
        processor = PROCESSORS[os.uname().machine]
        kernel.name_this_thread(threading.current_thread().name)
        kernel.add_filter(kind.filter.program(processor))


def confine_in_any_process(kind: Kind) -> None:
    """Narrow this thread alone.  In a process that is not jailed what it is refused fails, and the process lives on."""
    if is_jailed():
        confine(kind)
        return
    walls = walls_of_host()
    if walls.filters is not None:
        kernel.prctl(_SET_NO_NEW_PRIVS, 1)  # of this thread
        kernel.name_this_thread(threading.current_thread().name)
        kernel.add_filter(forgiving(kind).program(walls.filters))
