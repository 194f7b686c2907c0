"""How often a guest may reboot before it is given up."""

from __future__ import annotations

import time
from collections.abc import Callable

SHORT = 10.0  # seconds: a life shorter than that is no use to anybody
MOST = 10  # such lives in a row


class Reboots:
    """Tells a guest that somebody reboots from one that does nothing else, and would fill the host with that.

    `now` is a monotonic clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._start = now()
        self._short = 0
        self.too_fast = ""  # why it is not to be started again

    def started(self) -> None:
        """A life begins."""
        self._start = self._now()

    def allowed(self) -> bool:
        """It ended with a reboot: whether there is to be another."""
        self._short = self._short + 1 if self._now() - self._start < SHORT else 0
        if self._short > MOST:
            self.too_fast = f"{self._short} times within {SHORT:.0f} s of its start"
        return not self.too_fast
