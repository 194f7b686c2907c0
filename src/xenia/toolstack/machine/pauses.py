"""Whether a domain's vcpus may run: an operator pauses it, and Xenia holds it for a while for itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from xenia.hypervisor import life
from xenia.hypervisor.domain import DomainHandle


class Pauses:
    """Of one domain."""

    def __init__(self, handle: DomainHandle) -> None:
        self._handle = handle
        self._lock = threading.Lock()
        self._wanted = False
        self._nr_held = 0

    @property
    def stands(self) -> bool:
        """Whether none runs, for whoever wants that."""
        return self._wanted or self._nr_held > 0

    def pause(self) -> None:
        """None runs when it returns, until `unpause`."""
        with self._lock:
            self._wanted = True
            life.pause(self._handle)

    def unpause(self) -> None:
        """They go on; as soon as nobody holds them."""
        with self._lock:
            self._wanted = False
            self._go_on()

    @contextmanager
    def held(self) -> Iterator[None]:
        """None runs meanwhile, whatever an operator says.  Afterwards they do as he said last."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    def hold(self) -> None:
        """None runs when it returns, whatever an operator says, until it was released as often as it was held."""
        with self._lock:
            self._nr_held += 1
            life.pause(self._handle)

    def release(self) -> None:
        """They go on as the operator said last; as soon as nobody else holds them."""
        with self._lock:
            self._nr_held -= 1
            self._go_on()

    def _go_on(self) -> None:
        if not self._wanted and not self._nr_held:
            life.unpause(self._handle)
