"""How a domain ends."""

from dataclasses import dataclass
from enum import IntEnum


class Reason(IntEnum):
    """Why a domain ended: SHUTDOWN_* of public/sched.h."""

    POWEROFF = 0
    REBOOT = 1
    SUSPEND = 2
    CRASH = 3
    WATCHDOG = 4
    SOFT_RESET = 5


@dataclass(frozen=True)
class Shutdown:
    """A domain's end: the reason, and for a crash that Xenia ended, what it did."""

    reason: Reason
    detail: str = ""
