"""A guest in memory, for tests of backends: pages it grants, ports it opens, and the domain as its backend sees it.

Pages lie scattered in the guest's memory, so that nothing can lean on neighbours.  `assert_let_go` fails a test whose
backend kept a mapping or a channel.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final

from xenia.foreign.fault import FrontendFault
from xenia.foreign.foreign import Channel, Foreign, Interface, Mapping, Service
from xenia.foreign.frames import Frames
from xenia.machine.window import Window
from xenia.testing.frames import MemoryFrames

PAGE_SIZE: Final = 4096


class SharedPages:
    """Pages that the guest granted, side by side as the guest sees them."""

    def __init__(self, window: Window, refs: list[int]) -> None:
        self._window = window
        self.memory = memoryview(window)
        self.refs = refs


class GuestPort:
    """The guest's end of an event channel."""

    def __init__(self, number: int, frames: MemoryFrames) -> None:
        self.number = number
        self._frames = frames
        self.to_guest = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.to_backend = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.is_bound = False

    def notify(self) -> None:
        """Send the backend an event."""
        if not self._frames.send(self.number):
            os.eventfd_write(self.to_backend, 1)

    def wait(self, timeout: float) -> bool:
        """Wait for an event of the backend's, and take it; answers whether one came."""
        poll = select.poll()
        poll.register(self.to_guest, select.POLLIN)
        if not poll.poll(timeout * 1000):
            return False
        os.eventfd_read(self.to_guest)
        return True


class MemoryGuest:
    """The guest.  Close it at the end of the test."""

    def __init__(self, domid: int, nr_pages: int = 256, listens: bool = False) -> None:
        self.domid = domid
        self._fd = os.memfd_create(f"guest {domid}", os.MFD_CLOEXEC)
        os.ftruncate(self._fd, nr_pages * PAGE_SIZE)
        # Every second frame downwards, then the others: no two that are handed out in a row are neighbours.
        self._free = [*range(0, nr_pages, 2), *range(1, nr_pages, 2)]
        self._next_ref = count(8)  # public/grant_table.h: the first eight are reserved
        self._grants: dict[int, tuple[int, bool]] = {}
        self._next_port = count(1)
        self._ports: dict[int, GuestPort] = {}
        self.frames = MemoryFrames(self._fd, nr_pages, listens)
        self.charged = 0  # ns
        self.live_mappings: list[object] = []
        self.live_channels: list[object] = []

    def share(self, nr_pages: int = 1, writable: bool = True) -> SharedPages:
        """Grant the backend new pages."""
        frames = [self._free.pop() for _ in range(nr_pages)]
        refs = [next(self._next_ref) for _ in frames]
        for ref, frame in zip(refs, frames, strict=True):
            self._grants[ref] = (frame, writable)
            self.frames.grant(ref, frame, writable)
        return SharedPages(Window(self._fd, frames), refs)

    def end_grants(self, pages: SharedPages) -> None:
        """Take a grant back."""
        for ref in pages.refs:
            del self._grants[ref]
            self.frames.end_grant(ref)

    def open_port(self) -> GuestPort:
        """Allocate an unbound port for the backend."""
        port = GuestPort(next(self._next_port), self.frames)
        self._ports[port.number] = port
        self.frames.open_port(port.number, port.to_guest)
        return port

    def map_frames(self, refs: Sequence[int], writable: bool) -> Window:
        """What granting means: see Foreign.map."""
        frames = []
        for ref in refs:
            frame, may_write = self._grants.get(ref, (-1, False))
            if frame < 0 or (writable and not may_write):
                raise FrontendFault(f"grant reference {ref} is not granted" + (" for writing" if frame >= 0 else ""))
            frames.append(frame)
        return Window(self._fd, frames, writable)

    def bind(self, number: int) -> GuestPort:
        """What binding means: see Foreign.bind."""
        port = self._ports.get(number)
        if port is None or port.is_bound:
            raise FrontendFault(f"port {number} is not unbound")
        port.is_bound = True
        return port

    def assert_let_go(self) -> None:
        """The backend has let go of everything."""
        assert not self.live_mappings, f"{len(self.live_mappings)} mappings of granted pages were kept"
        assert not self.live_channels, f"{len(self.live_channels)} event channels were kept"
        assert not self.frames.held, f"{self.frames.held} granted frames were kept"

    def close(self) -> None:
        for port in self._ports.values():
            os.close(port.to_guest)
            os.close(port.to_backend)
        self._ports.clear()
        self.frames.close()
        os.close(self._fd)


class MemoryForeign(Foreign):
    """A MemoryGuest as its backend sees it."""

    __slots__ = ("_guest",)

    def __init__(self, guest: MemoryGuest) -> None:
        self._guest = guest

    @property
    def domid(self) -> int:
        return self._guest.domid

    @property
    def frames(self) -> Frames:
        return self._guest.frames

    def charge(self, ns: int) -> None:
        self._guest.charged += ns

    def map(self, refs: Sequence[int], writable: bool = True) -> Mapping:
        return _MemoryMapping(self._guest, self._guest.map_frames(refs, writable))

    def bind(self, port: int) -> Channel:
        return _MemoryChannel(self._guest, self._guest.bind(port))

    def interface(self, service: Service) -> Interface:
        raise FrontendFault(f"the domain was built without a {service.name.lower()}")


class _MemoryMapping(Mapping):
    __slots__ = ("_guest", "_memory", "_window")

    def __init__(self, guest: MemoryGuest, window: Window) -> None:
        self._guest = guest
        self._window = window
        self._memory = memoryview(window)
        guest.live_mappings.append(self)

    @property
    def memory(self) -> memoryview:
        return self._memory

    def close(self) -> None:
        if self in self._guest.live_mappings:
            self._memory.release()
            self._window.close()
            self._guest.live_mappings.remove(self)


class _MemoryChannel(Channel):
    __slots__ = ("_guest", "_port")

    def __init__(self, guest: MemoryGuest, port: GuestPort) -> None:
        self._guest = guest
        self._port = port
        guest.live_channels.append(self)

    @property
    def event_fd(self) -> int:
        return self._port.to_backend

    def notify(self) -> None:
        os.eventfd_write(self._port.to_guest, 1)

    def close(self) -> None:
        if self in self._guest.live_channels:
            self._port.is_bound = False
            self._guest.live_channels.remove(self)


class PageForeign(Foreign):
    """A domain that is nothing but a page and a channel, whatever service it is for.

    event_fd    what the domain writes to when it sends an event; it stays the caller's
    notified    called when it is sent one, on any thread
    """

    __slots__ = ("_domid", "_event_fd", "_notified", "_page", "charged")

    def __init__(self, page: bytearray, event_fd: int, notified: Callable[[], object], domid: int = 1) -> None:
        os.set_blocking(event_fd, False)
        self._page = page
        self._event_fd = event_fd
        self._notified = notified
        self._domid = domid
        self.charged = 0  # ns

    @property
    def domid(self) -> int:
        return self._domid

    @property
    def frames(self) -> Frames:
        return Frames()

    def charge(self, ns: int) -> None:
        self.charged += ns

    def map(self, refs: Sequence[int], writable: bool = True) -> Mapping:
        raise FrontendFault("nothing is granted")

    def bind(self, port: int) -> Channel:
        raise FrontendFault(f"port {port} is not unbound")

    def interface(self, service: Service) -> Interface:
        return Interface(_Page(self._page), _Notifier(self._event_fd, self._notified))


class _Page(Mapping):
    __slots__ = ("_memory",)

    def __init__(self, page: bytearray) -> None:
        self._memory = memoryview(page)

    @property
    def memory(self) -> memoryview:
        return self._memory

    def close(self) -> None:
        self._memory.release()


class _Notifier(Channel):
    __slots__ = ("_event_fd", "_notified")

    def __init__(self, event_fd: int, notified: Callable[[], object]) -> None:
        self._event_fd = event_fd
        self._notified = notified

    @property
    def event_fd(self) -> int:
        return self._event_fd

    def notify(self) -> None:
        self._notified()

    def close(self) -> None:
        pass
