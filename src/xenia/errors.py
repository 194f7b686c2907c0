"""What can go wrong, by whose fault it is.

A guest's fault is answered inside the compiled core, with a negative Xen errno or with the crash of that domain alone;
it reaches Python as `XenError` or `DomainCrash`.  The operator's fault is a `ConfigError`.  Ours is a `HypervisorBug`,
which nothing below the command line catches.
"""

from __future__ import annotations

import errno


class XenError(Exception):
    """A request that Xen's ABI refuses, with the number of public/errno.h (positive)."""

    def __init__(self, errno: int, message: str = "") -> None:
        super().__init__(message or f"Xen errno {errno}")
        self.errno = errno


class GuestFault(Exception):
    """Reaching into a guest's memory failed: nothing is mapped at `va`, or not for that kind of `access`."""

    def __init__(self, va: int, access: str) -> None:
        super().__init__(f"guest address {va:#x}: {access} fault")
        self.va = va
        self.access = access


class DomainCrash(Exception):
    """The domain was crashed by Xen for a fault of its own; `report` holds its registers and stack, line by line."""

    def __init__(self, reason: str, report: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.report = report


class ConfigError(Exception):
    """What the operator asked for cannot be had.  Its text is one line that says what to do about it."""


class HypervisorBug(Exception):
    """An invariant of Xenia does not hold: our fault, never the guest's nor the operator's."""


# What a host runs out of, and who sets the limit.
_LIMITS = {
    errno.EMFILE: "ulimit -n",
    errno.ENFILE: "fs.file-max",
    errno.ENOMEM: "ulimit -v, or the memory itself",
    errno.EAGAIN: "ulimit -u, or the cgroup's pids.max",
}


def refusal_of_host(error: BaseException) -> ConfigError | None:
    """What the host has refused, where it has run out of something; None where `error` says something else."""
    what = None
    if isinstance(error, MemoryError):
        what = f"Cannot allocate memory ({_LIMITS[errno.ENOMEM]})"
    elif isinstance(error, OSError) and error.errno in _LIMITS:
        what = f"{error.strerror} ({_LIMITS[error.errno]})"
    elif isinstance(error, RuntimeError) and "new thread" in str(error):  # Python's own words
        what = f"no more threads ({_LIMITS[errno.EAGAIN]})"
    return ConfigError(f"the host refuses what is needed: {what}") if what is not None else None
