"""A device of a domain, whatever kind it is, and what it has of the domain that it is plugged into.

A kind of devices is a module here and a row of `kinds.KINDS`; nothing else knows which kinds there are.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from xenia.abi.xenbus import XenbusState
from xenia.errors import ConfigError
from xenia.foreign.foreign import Foreign
from xenia.persist import Encoded, State, decode, encode
from xenia.toolstack.config.device import Backing, DeviceConfig
from xenia.toolstack.config.values import Given, given, instance, seconds
from xenia.xenbus.directories import Address
from xenia.xenbus.persist import AttachmentState
from xenia.xenstore.client import Client

S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class DeviceState(State):
    """A device that goes on in another domain, with its frontend connected: see `Domain.resume_device`.  What it stands
    on is not in it, and its keys are the store's.

    config      DeviceConfig.as_dict, with the name that it has
    backend     the backend's own state, of a kind that only the device's module knows: what persist.encode makes of it,
                as JSON, and its bytes
    """

    kind: str
    config: dict[str, Any]
    attachment: AttachmentState
    backend: str
    blobs: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, config: DeviceConfig, attachment: AttachmentState, backend: State) -> DeviceState:
        """Put one together."""
        document, blobs = encode(backend)
        return cls(config.kind, config.as_dict(), attachment, json.dumps(document), blobs)

    def backend_of(self, kind: type[S]) -> S:
        """The backend's own state.  ConfigError where it is no such one."""
        try:
            document = json.loads(self.backend)
        except ValueError:
            raise ConfigError(f"the saved state of a {self.kind} is damaged") from None
        return decode(kind, Encoded(document, self.blobs))


class Device(Given, ABC):
    """A device that was plugged into a domain."""

    config: DeviceConfig  # as it was asked for, with the name that it has
    address: Address
    behind: Backing  # what it stands on, which is its own to close, and is closed where it was taken away for good

    @property
    def kind(self) -> str:
        """Its row of KINDS."""
        return self.config.kind

    @property
    def name(self) -> str:
        """What it is called in the guest."""
        assert self.config.name is not None
        return self.config.name

    def is_called(self, name: str) -> bool:
        """Whether an operator means it by that."""
        return name == self.name

    @property
    @abstractmethod
    def state(self) -> XenbusState:
        """The state of the backend's end."""

    @property
    @abstractmethod
    def removed(self) -> bool:
        """Whether it was unplugged or removed."""

    @property
    @abstractmethod
    def statistics(self) -> dict[str, Any]:
        """What it is and has done, as plain data that JSON can say; `name` and `state` are in it."""

    @abstractmethod
    @given(state=instance(XenbusState, "a XenbusState"), timeout=seconds)
    def wait(self, state: XenbusState, timeout: float | None = None) -> bool:
        """Wait until the backend's end is in a state, or the device removed; answers whether it is in that state."""

    @abstractmethod
    @given(timeout=seconds)
    def unplug(self, timeout: float | None = None) -> bool:
        """Ask the guest to let go of it, and remove it once it has; answers whether it did within `timeout` seconds."""

    @abstractmethod
    def remove(self, *, keep: bool = False) -> None:
        """Take it away, whatever the guest does.  Again does nothing.

        keep   leave what it stands on open: it is the caller's from now on, see `close_behind`

        ConfigError where that did not close cleanly, with everything given back.
        """

    def close_behind(self) -> None:
        """Close what a device stands on that was removed without it.  ConfigError, naming the device, where that does
        not go cleanly."""
        self.behind.close()

    @abstractmethod
    def suspend(self) -> DeviceState:
        """Serve it no more, and let go of everything of the guest's, which does not hear of it.  The device is over
        (`removed`), and goes on as the one that is made of this state and of `behind`, which stays open.

        Preconditions: it is not removed, and the domain does not run.  ConfigError where such a device cannot go on.
        """


class Driver(Protocol):
    """A domain that serves devices to others."""

    @property
    def domid(self) -> int: ...

    @property
    def runs(self) -> bool:
        """Whether it can still answer."""

    def serve(self, device: Served) -> None:
        """It serves this device from now on: `abandon` is called when it is gone."""


class Served(Protocol):
    """A device that a driver domain serves."""

    @property
    def removed(self) -> bool: ...

    def abandon(self) -> None:
        """The driver domain is gone, with everything that was its own.

        Precondition: the store and the hypervisor have forgotten that domain.
        """


class Site(Protocol):
    """The domain that a device is plugged into, as the device sees it."""

    @property
    def domid(self) -> int: ...

    @property
    def name(self) -> str:
        """What the guest is called."""

    @property
    def driver_domain(self) -> bool:
        """Whether it serves devices itself."""

    @property
    def devices(self) -> Sequence[Device]:
        """What is plugged in; those that were removed may be among them."""

    @property
    def neighbours(self) -> Sequence[Device]:
        """What is plugged into the other domains of its machine."""

    @property
    def foreign(self) -> Foreign:
        """The domain as a backend in domain 0 sees it."""

    def foreign_to(self, driver: int) -> Foreign:
        """The domain as a backend in that domain sees it."""

    def store_client(self) -> Client:
        """The domain's client of the store, which ends with it."""

    def driver(self, domid: int) -> Driver:
        """The driver domain of that number.  ConfigError where there is none."""
