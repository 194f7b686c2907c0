"""What a card is plugged into, open: the way from the card to its network."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from xenia.machine.errand import Errand
from xenia.net.layers.capture import Capture
from xenia.net.layers.stack import change, counts_of
from xenia.net.layers.words import LayerSpec, OffSpec
from xenia.net.link import Link
from xenia.net.service.client import NetworkClient
from xenia.net.thread import LinkThread
from xenia.toolstack.releases import Releases

_log = logging.getLogger(__name__)


class Cable:
    """A port, what lies behind it, and who serves that.  It outlives the card: a guest that reboots has the same one.

    port        where the card is plugged in
    network     the process behind it, where that is the cable's own and ends with it
    """

    def __init__(
        self,
        port: Capture,
        link: Link | None = None,
        network: NetworkClient | None = None,
        at_end: Callable[[], object] | None = None,
    ) -> None:
        """link    what frames come from, where a thread has to wait for them
        at_end  called when it is closed
        """
        self.port = port
        self.network = network
        self._link = link
        self._at_end = at_end
        self._thread: LinkThread | None = None
        self._on_carrier: Callable[[bool], object] | None = None
        self._pulled = self._cut = False
        self._telling = threading.Lock()
        self._closed = False

    def begin(self, on_carrier: Callable[[bool], object]) -> None:
        """Bring frames from now on, on a thread of its own, and say whether there is a carrier, which takes somebody at
        the other end: now, and whenever that changes, until `pause`.  OSError: the host gives no thread."""
        self._on_carrier = on_carrier
        if self._link is not None and self._thread is None:
            thread = LinkThread()
            self._link.on_carrier(self._turned)
            thread.add(self._link)
            self._thread = thread
        self._tell()

    @property
    def errand(self) -> Errand | None:
        """What idle vcpus of the card's domain may do for it, from `begin` to `close`; None: nothing."""
        return self._thread.loop if self._thread is not None else None

    def pause(self) -> None:
        """No card is plugged in, and nobody is told of the carrier."""
        self._on_carrier = None

    def pull(self, out: bool) -> None:
        """Pull the cable out, or put it in again.  While it is out there is no carrier, whoever is at the other end,
        whatever card is plugged in."""
        self._pulled = out
        self._tell()

    def cut(self) -> None:
        """What it leads to is no longer there: there is no carrier any more."""
        self._cut = True
        self._tell()

    def _turned(self, up: bool) -> None:
        if not up and self._on_carrier is not None and self._link is not None:
            _log.warning("a network card lost its carrier: %s", self._link.reason)
        self._tell()

    def _tell(self) -> None:
        with self._telling:  # who comes last tells what is true by then
            if (on_carrier := self._on_carrier) is not None:
                on_carrier(not self._pulled and not self._cut and (self._link is None or self._link.carrier))

    def capture(self, descriptor: int) -> None:
        """Write what passes the card there, as pcapng, until nobody reads it.  The descriptor is the cable's from now
        on; ConfigError, and it is the caller's still, where somebody does so already."""
        self.port.start(descriptor)

    def change(self, specs: Iterable[LayerSpec | OffSpec]) -> None:
        """Have the layers do what these say from now on.  ConfigError where there can be no such."""
        change(self.port, specs)

    def end_capture(self) -> None:
        """Write no more.  Again does nothing."""
        self.port.stop()

    @property
    def layers(self) -> list[dict[str, Any]]:
        """What each layer between the card and the link has done, the card's end first."""
        return counts_of(self.port)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def statistics(self) -> dict[str, Any]:
        """What passed, as plain data."""
        return dict(self._link.statistics) if self._link is not None else {}

    def close(self) -> None:
        """Let go of the network.  Again does nothing.  Precondition: no card is plugged in."""
        if self._closed:
            return
        self._closed = True
        with Releases() as releases:
            releases.do(self.port.close)
            if self._thread is not None:
                releases.do(self._thread.close)
            if self.network is not None:
                releases.do(self.network.close)
            if self._at_end is not None:
                releases.do(self._at_end)
