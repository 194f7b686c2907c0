"""A stream link that connects again when its peer went."""

from __future__ import annotations

import os
import threading

from xenia.jail.jail import is_jailed
from xenia.machine.thread import HostThread
from xenia.net import sockets
from xenia.net.stream import StreamLink

FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0  # seconds between two tries


class ReconnectingLink(StreamLink):
    """A link to whoever listens at a place (sockets.py).  In a jail, where nothing is connected, it has one peer."""

    def __init__(self, descriptor: int, place: str, *, vnet: bool = False) -> None:
        super().__init__(descriptor, vnet=vnet)
        self._place = place
        self._lock = threading.Lock()  # a connection is taken up, or the link closed
        self._closed = threading.Event()
        if not is_jailed():
            self.on_carrier(self._changed)

    def close(self) -> None:
        with self._lock:
            self._closed.set()
        super().close()

    def _changed(self, up: bool) -> None:
        if not up:
            HostThread(self._connect, "link again", kind=None).start()

    def _connect(self) -> None:
        wait = FIRST_WAIT
        while not self._closed.wait(wait):
            try:
                descriptor = sockets.connect(self._place)
            except OSError:
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            with self._lock:
                if self._closed.is_set():
                    os.close(descriptor)
                else:
                    self.resume(descriptor)
            return
