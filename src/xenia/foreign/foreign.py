"""A domain as a backend sees it: memory it granted, event channels it offers, and what it was built with.

This is a backend's whole environment.  `hypervisor/foreign.pyx` has a running domain behind it, `xenia.testing` one in
memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from enum import Enum, auto

from xenia.foreign.frames import Frames


class Mapping(ABC):
    """Frames of the domain, mapped side by side in the order they were named."""

    __slots__ = ()

    @property
    @abstractmethod
    def memory(self) -> memoryview:
        """The frames; the guest may change what is in them at any moment.  Views of it end before `close`."""

    @abstractmethod
    def close(self) -> None:
        """Unmap the frames, so that the guest may end their grants.  Closing again does nothing."""


class Channel(ABC):
    """An inter-domain event channel, bound."""

    __slots__ = ()

    @property
    @abstractmethod
    def event_fd(self) -> int:
        """An eventfd, readable after the domain sent an event."""

    @abstractmethod
    def notify(self) -> None:
        """Send the domain an event; on any thread."""

    @abstractmethod
    def close(self) -> None:
        """Close the channel's nearer end.  Closing again does nothing."""


class Service(Enum):
    """What domain 0 serves each domain from its start: struct start_info names a page and a port for each."""

    CONSOLE = auto()
    STORE = auto()


class Interface:
    """A page shared with the domain and the channel that goes with it, both in use until `close`."""

    __slots__ = ("_channel", "_mapping")

    def __init__(self, mapping: Mapping, channel: Channel) -> None:
        self._mapping = mapping
        self._channel = channel

    @property
    def page(self) -> memoryview:
        """See Mapping.memory."""
        return self._mapping.memory

    @property
    def event_fd(self) -> int:
        """See Channel.event_fd."""
        return self._channel.event_fd

    def notify(self) -> None:
        """See Channel.notify."""
        self._channel.notify()

    def close(self) -> None:
        """Let go of both.  Closing again does nothing."""
        with ExitStack() as stack:
            stack.callback(self._mapping.close)
            stack.callback(self._channel.close)


class Foreign(ABC):
    """One domain."""

    __slots__ = ()

    @property
    @abstractmethod
    def domid(self) -> int: ...

    @property
    @abstractmethod
    def frames(self) -> Frames:
        """The same for compiled backends."""

    @abstractmethod
    def charge(self, ns: int) -> None:
        """So long a thread that serves the domain has run for it: it counts as the domain's time.  On any thread."""

    @abstractmethod
    def map(self, refs: Sequence[int], writable: bool = True) -> Mapping:
        """Map frames by their grant references (GNTTABOP_map_grant_ref).

        Raises FrontendFault where one is not granted to us, or not for writing.
        """

    @abstractmethod
    def bind(self, port: int) -> Channel:
        """Bind an unbound port that the domain allocated for us (EVTCHNOP_bind_interdomain).

        Raises FrontendFault where there is none such.
        """

    @abstractmethod
    def interface(self, service: Service) -> Interface:
        """The page and the channel that the domain was built with for a service; one user has them at a time.

        Raises FrontendFault where the domain closed the channel, or somebody has it.
        """
