"""A device of a guest that a backend of ours serves, in this process."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence

from xenia.abi.xenbus import XenbusState
from xenia.persist import Persistent, State
from xenia.toolstack.devices.device import Device, DeviceState
from xenia.xenbus.attachment import Attachment
from xenia.xenbus.directories import Address
from xenia.xenstore.client import Client


def published(client: Client, address: Address, wanted: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Numbers that a frontend has published, by the first of the keys for each that it has; none: no frontend."""
    found: dict[str, int] = {}
    for name, keys in wanted.items():
        for key in keys:
            value = client.get(f"{address.frontend_path}/{key}")
            if value is not None and value.isdecimal():
                found.setdefault(name, int(value))
    return found


class AttachedDevice(Device):
    """A device whose backend is on the bus, from `attached` on."""

    def __init__(self, backend: Persistent[State]) -> None:
        self._backend = backend
        self._closing = threading.Lock()
        self._closed = False

    def attached(self, attachment: Attachment) -> None:
        """It was plugged in so."""
        self._attachment = attachment

    @property
    def attachment(self) -> Attachment:
        """The device on the bus."""
        return self._attachment

    @property
    def state(self) -> XenbusState:
        """See Device.state."""
        return self._attachment.state

    @property
    def removed(self) -> bool:
        """See Device.removed: what it stands on serves it no more."""
        return self._closed

    def wait(self, state: XenbusState, timeout: float | None = None) -> bool:
        """See Device.wait."""
        return self._attachment.wait(state, timeout)

    def unplug(self, timeout: float | None = None) -> bool:
        """Ask the guest to let go of it, and close it once it has; answers whether it did within `timeout` seconds."""
        try:
            self._attachment.unplug()
            if not self._attachment.wait_removed(timeout):
                return False
        except Exception:
            self.remove()  # a fault of ours: it is over
            raise
        self._close()
        return True

    def suspend(self) -> DeviceState:
        """See Device.suspend."""
        attachment = self._attachment.suspend()
        state = DeviceState.of(self.config, attachment, self._backend.save())
        self._close(keep=True)
        return state

    def _close(self, keep: bool = False) -> None:
        with self._closing:
            if not self._closed:
                self._closed = True
                self._let_go(keep)

    @abstractmethod
    def _let_go(self, keep: bool) -> None:
        """The guest has: give back what served it, and what it stands on unless that is kept.  Once."""
