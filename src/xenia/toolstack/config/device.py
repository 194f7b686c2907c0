"""What an operator asks for of a device, whatever kind it is: checked words, which the toolstack can act on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

MOST_DESCRIPTORS = 253  # that one message to another process carries (SCM_MAX_FD)


class Backing(Protocol):
    """What a device stands on, open: a disk's layers, say."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""

    def close(self) -> None:
        """Give it back.  OSError or ConfigError where that does not go cleanly."""


class NoBacking:
    """Of a device that stands on nothing of the host's."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        """Nothing is given back, but the device is over."""
        self.closed = True


class DeviceConfig(ABC):
    """One device.  Its subclasses are frozen dataclasses of plain data, with a `name`.

    kind    the row of toolstack/devices/kinds.py that it belongs to
    """

    __slots__ = ()

    kind: ClassVar[str]

    @property
    @abstractmethod
    def name(self) -> str | None:
        """What the device is called in the guest; None: the first name that is free."""

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """The same by name, as plain data: what the class is made of again."""

    def open(self) -> Backing:
        """Open what it stands on.  ConfigError."""
        return NoBacking()

    def within(self, folder: Path) -> Self:
        """The same for a process in another folder than this one, which names begin in."""
        return self

    def among(self, ask: Callable[[], Mapping[str, Any]]) -> Self:
        """The same for one guest, where that makes a difference.  `ask` gives its statistics, and by `macs` addresses
        that others have."""
        return self

    @contextmanager
    def opened(self) -> Iterator[tuple[Self, list[tuple[str, int]]]]:
        """All that it needs of the host, by name, opened and locked; for another process, see storage/door.py's
        `handed`.  MOST_DESCRIPTORS at the most.  Before that the device, with what was found there.  ConfigError."""
        yield self, []
