"""The exit statuses of `xenia`: one table, from which the manual page and docs/exit-statuses.md are written."""

from __future__ import annotations

import signal
from enum import IntEnum


class ExitStatus(IntEnum):
    """What a shell sees in $?.  A command's own status passes through and may be any of 0 to 255."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitStatus:
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "the guest powered off, the command ended with 0, or the console was left with Ctrl-]"
    PROBLEM = (
        1,
        (
            "doctor: something that is needed is missing; inspect: the kernel cannot boot as a PV guest; "
            "disk check: an image is damaged; cp: something was not copied; a verb of xl's: it failed"
        ),
    )
    USAGE = 2, "the request cannot be met: wrong arguments, a file that is missing, memory that is not there"
    SUSPEND = 117, "the guest suspended itself, and nobody is there to resume it"
    JAIL = 118, "the jail stopped a thread of Xenia's at a system call that it never makes; standard error says which"
    LOST = 119, "the guest ended before the command did, so the command's status is not known"
    REBOOT = 120, "the guest asked to reboot, and is not restarted (--on-reboot)"
    CRASH = 121, "Xenia crashed the guest for a fault of its own; registers and stack are on standard error"
    PANIC = 122, "the guest's kernel panicked, or stopped without powering off"
    WATCHDOG = 123, "the guest's watchdog fired"
    TIMEOUT = 124, "the guest had not ended when its time was over (--timeout)"
    BUG = 125, "a fault in Xenia itself"
    SIGHUP = 129, "ended by SIGHUP: the terminal went away"
    SIGINT = 130, "ended by Ctrl-C or SIGINT"
    SIGPIPE = 141, "nobody reads standard output any more"
    SIGTERM = 143, "ended by SIGTERM"


class EndedBySignal(BaseException):
    """The command was ended by a signal; the process ends by it too, once everything is put back.

    Like KeyboardInterrupt no error that anybody would handle.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number
