"""What the main thread of a network's process waits for: descriptors and times."""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable


class Watch:
    """Calls, each on the thread that runs it."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._calls: dict[int, Callable[[], object]] = {}
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._stopped = False

    def add(self, descriptor: int, call: Callable[[], object]) -> None:
        """Have it called whenever there is something to read, or the end."""
        self._calls[descriptor] = call
        self._poll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """No more."""
        if self._calls.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        """Have it called once, later."""
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._numbers), call))

    def stop(self) -> None:
        """Have `run` return."""
        self._stopped = True

    def run(self) -> None:
        """Wait and call, until it is stopped."""
        while not self._stopped:
            timeout = None if not self._later else max(0.0, self._later[0][0] - time.monotonic())
            for descriptor, _ in self._poll.poll(timeout):
                call = self._calls.get(descriptor)  # one before it may have removed it
                if call is not None and not self._stopped:
                    call()
            while self._later and self._later[0][0] <= time.monotonic() and not self._stopped:
                heapq.heappop(self._later)[2]()
