"""How a domain ends."""

from __future__ import annotations

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
    """A domain's end.

    reason  why; CRASH also where the guest gave a number that has no name
    detail  what it did, where Xenia crashed it
    code    the number that it gave, any of 0 to 255
    halted  it asked for nothing: its last vcpu went down (VCPUOP_down), which counts as POWEROFF, or sleeps and can
            be woken by nothing, which counts as SUSPEND
    """

    reason: Reason
    detail: str = ""
    code: int = -1
    halted: bool = False

    @classmethod
    def of(cls, code: int, detail: str = "", *, halted: bool = False) -> Shutdown:
        """The end that the guest's number stands for."""
        known = code in Reason.__members__.values()
        return cls(Reason(code) if known else Reason.CRASH, detail, code, halted)
