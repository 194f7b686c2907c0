"""The signals that end the command, and the standard streams that it may lack: what `xenia` sees to first of all."""

from __future__ import annotations

import os
import signal
from types import FrameType

from xenia.cli.exit_status import EndedBySignal

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _First:
    """A handler for all signals that end the process."""

    def __init__(self) -> None:
        self.ended = False

    def __call__(self, number: int, _: FrameType | None) -> None:
        if not self.ended:
            self.ended = True
            raise EndedBySignal(signal.Signals(number))


def raise_the_first() -> None:
    """From now on the first signal that ends the process raises EndedBySignal on the main thread, and those that follow
    do nothing: what is put back on the way out is put back whole, and the last word is said."""
    first = _First()
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # for us alone, as nohup does: it stays so
            signal.signal(number, first)


def raise_no_more() -> None:
    """The first was heard of in another way: from now on all do nothing."""
    for number in _ENDING:
        handler = signal.getsignal(number)
        if isinstance(handler, _First):
            handler.ended = True


def fill_standard_descriptors() -> None:
    """Where 0, 1 or 2 is closed, the next file that is opened would take its place."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return
        os.set_inheritable(descriptor, True)
