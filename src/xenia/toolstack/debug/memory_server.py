"""A domain's memory for a process that looks at it from outside: what it asks for at a socket, until it has gone."""

from __future__ import annotations

import logging
import socket
import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

from xenia.errors import ConfigError, GuestFault
from xenia.hypervisor.dump import GONE, copy_frames, own_frames
from xenia.toolstack.debug.remote_memory import ANSWER, MOST, REQUEST, What
from xenia.toolstack.machine.core import vmcoreinfo

if TYPE_CHECKING:
    from xenia.toolstack.machine.domain import Domain

_log = logging.getLogger(__name__)

_PAGE: Final = 4096
_PERIOD: Final = 1.0  # seconds from one list of a domain's frames to the next: it is long work


class MemoryServer:
    """Answers one client, on a thread of its own; the client and the guest's next life are nothing to it."""

    def __init__(self, client: socket.socket, find_domain: Callable[[], Domain | None]) -> None:
        """client   is the server's own: a stream"""
        self._client = client
        self._find = find_domain
        self._frames: tuple[array[int], array[int]] = (array("Q"), array("Q"))
        self._listed: float | None = None

    def start(self) -> None:
        """Begin; it ends when the client goes."""
        threading.Thread(target=self._serve, name="memory", daemon=True).start()

    def _serve(self) -> None:
        with self._client, suppress(OSError):
            self._client.setblocking(True)
            while len(asked := self._client.recv(REQUEST.size, socket.MSG_WAITALL)) == REQUEST.size:
                try:
                    data = self._answer(*REQUEST.unpack(asked))
                except (ConfigError, GuestFault):
                    data = b""
                except Exception:
                    _log.exception("a domain's memory could not be read")
                    return
                self._client.sendall(ANSWER.pack(len(data)) + data)

    def _answer(self, what: int, address: int, size: int) -> bytes:
        domain = self._find()
        if domain is None or domain.destroyed:
            return b""
        size = min(size, MOST, (1 << 64) - address)
        if what == What.VIRTUAL:
            try:
                return domain.memory.read(address, size)
            except GuestFault as fault:
                return domain.memory.read(address, fault.va - address)
        if what == What.PHYSICAL:
            return self._physical(domain, address, size)
        return vmcoreinfo(domain.handle) if what == What.VMCOREINFO else b""

    def _physical(self, domain: Domain, address: int, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            place = address + len(found)
            page = self._page(domain, place // _PAGE)
            if page is None:
                break
            found += page[place % _PAGE :][: size - len(found)]
        return bytes(found)

    def _page(self, domain: Domain, pfn: int) -> bytes | None:
        """A page as it is now; None where the domain has none of that number, or has it since less than a second."""
        page = bytearray(_PAGE)
        for known in (True, False):
            if not known and not self._list(domain):
                break
            pfns, mfns = self._frames
            at = bisect_left(pfns, pfn)
            if at < len(pfns) and pfns[at] == pfn:
                one, other = array("Q", [pfn]), array("Q", [mfns[at]])
                if copy_frames(domain.handle, one, other, 0, page, True)[0] != GONE:
                    return bytes(page)
        return None

    def _list(self, domain: Domain) -> bool:
        """Learn its frames anew, unless that was done just now."""
        now = monotonic()
        if self._listed is not None and now < self._listed + _PERIOD:
            return False
        self._frames, self._listed = own_frames(domain.handle), now
        return True
