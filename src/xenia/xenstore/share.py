"""How much of the server's time one domain may take.

The store has one thread, and a request may cost a hundred times what another does, so it is time that is shared out and
not requests: a domain that asks without end is served for BURST seconds, and from then on for RATE of the time, while
all others are served at once.  (xenstored limits what a domain writes, to the same end.)
"""

from __future__ import annotations

from typing import ClassVar


class Share:
    """One domain's account, in seconds."""

    RATE: ClassVar = 0.25  # earned in a second
    BURST: ClassVar = 0.5  # saved at most

    def __init__(self) -> None:
        self._saved = self.BURST
        self._counted_at = 0.0

    def spend(self, seconds: float, now: float) -> None:
        """It was served for so long, until `now`."""
        earned = (now - self._counted_at) * self.RATE
        self._saved = min(self._saved + earned, self.BURST) - seconds
        self._counted_at = now

    def rest(self) -> float:
        """For how long it is not to be served now, 0 if it is."""
        return max(0.0, -self._saved / self.RATE)
