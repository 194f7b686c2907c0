"""How much of the host domains take, from one look to the next: what xentop shows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

Summary = Mapping[str, Any]


class Usage:
    """Remembers the last look, so that the next can tell what was used since."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}
        self._at: float | None = None

    def look(self, rows: Iterable[Summary], now: float | None = None) -> dict[int, float]:
        """By a domain's number, hundredths of one processor that it had since the last look; 0 at the first."""
        now = time.monotonic() if now is None else now
        passed = None if self._at is None else now - self._at
        found, seen = {}, {}
        for row in rows:
            number, used = row["number"], row["cpu_time"]
            before = self._last.get(number, used)
            found[number] = max(0.0, used - before) / passed * 100 if passed else 0.0
            seen[number] = used
        self._last, self._at = seen, now
        return found
