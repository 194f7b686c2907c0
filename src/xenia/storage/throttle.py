"""Holds a disk to so many bytes and requests a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

from xenia.storage.buffers import Buffers
from xenia.storage.layer import Extent, Filter, Layer


class Bucket:
    """Fills at `rate` units a second and holds a burst's worth of them."""

    def __init__(self, rate: int, now: Callable[[], float], burst: float = 0.1) -> None:
        self._rate = rate
        self._burst = rate * burst
        self._now = now
        self._level = self._burst
        self._filled_at = now()

    def take(self, amount: float) -> float:
        """Take the amount out; seconds to wait until it was there."""
        now = self._now()
        self._level = min(self._burst, self._level + (now - self._filled_at) * self._rate) - amount
        self._filled_at = now
        return max(0.0, -self._level / self._rate)


class Throttle(Filter):
    """Delays requests so that the rates are kept in the mean."""

    name: ClassVar[str] = "throttle"

    def __init__(
        self,
        lower: Layer,
        bytes_rate: int = 0,
        request_rate: int = 0,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Rates are per second; 0 sets no limit."""
        super().__init__(lower)
        self._bytes = Bucket(bytes_rate, now) if bytes_rate else None
        self._requests = Bucket(request_rate, now) if request_rate else None
        self._lock = threading.Lock()
        self._sleep = sleep

    def _read(self, buffers: Buffers, offset: int, length: int) -> None:
        self._wait(length)
        self.lower.preadv(buffers, offset)

    def _write(self, buffers: Buffers, offset: int, length: int) -> None:
        self._wait(length)
        self.lower.pwritev(buffers, offset)

    def _discard(self, offset: int, length: int, secure: bool) -> None:
        self._wait(0)
        self.lower.discard(offset, length, secure)

    def _write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        self._wait(0)
        self.lower.write_zeroes(offset, length, unmap)

    def _extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self.lower.extents(offset, length)

    def _wait(self, length: int) -> None:
        with self._lock:
            wait = self._bytes.take(length) if self._bytes else 0.0
            if self._requests:
                wait = max(wait, self._requests.take(1))
        if wait:
            self._sleep(wait)
