"""A device of one domain that another domain serves: a driver domain, whose kernel has the backend.

The toolstack's part is the keys of both ends, as xl writes them for `backend=DOMAIN`, and to take them away again.
What the two domains then do with grants and events is between them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from xenia.abi.xenbus import XenbusState
from xenia.errors import ConfigError
from xenia.toolstack.config.device import Backing, DeviceConfig
from xenia.toolstack.devices.device import Device, DeviceState
from xenia.xenbus.directories import Address, make_directories, remove_all, state_at
from xenia.xenstore.client import Client, Keys, Subscription

_PATIENCE = 5.0  # seconds that a backend may take to let go of what a dead domain granted it
_CONNECTED = (XenbusState.CONNECTED, XenbusState.RECONFIGURED)  # Linux's netback stays at the latter


class ServedDevice(Device):
    """A device that is plugged into a domain and served by another."""

    def __init__(
        self,
        client: Client,
        config: DeviceConfig,
        address: Address,
        behind: Backing,
        *,
        is_served: Callable[[], bool],
        frontend: Mapping[str, str],
        backend: Mapping[str, str],
    ) -> None:
        """Plug it in, with these keys of both ends.

        is_served       whether the driver domain runs
        """
        self.config = config
        self.address = address
        self.behind = behind
        self._client = client
        self._is_served = is_served
        self._ending = threading.Lock()  # held by who takes it away, or takes the backend's place
        self._changed = threading.Condition()
        self._state = XenbusState.INITIALISING
        self._leaving = False
        self._keep = False  # whether another domain is to have it
        self._removed = False
        self._abandoned = False  # whether somebody took the backend's place
        client.atomically(lambda keys: make_directories(keys, address, frontend, backend))
        try:
            self._watch: Subscription | None = client.watch(f"{address.backend_path}/state", self._on_change)
        except BaseException:
            client.atomically(lambda keys: remove_all(keys, address.frontend_path, address.backend_path))
            raise

    @property
    def device(self) -> int:
        """Its number in the guest."""
        return self.address.device

    @property
    def state(self) -> XenbusState:
        """The state of the backend's end."""
        return self._state

    @property
    def removed(self) -> bool:
        """Whether the device is gone, and its keys with it."""
        return self._removed

    def wait(self, state: XenbusState, timeout: float | None = None) -> bool:
        """See Device.wait."""
        with self._changed:
            self._changed.wait_for(lambda: self._state is state or self._removed or self._abandoned, timeout)
            return self._state is state

    def unplug(self, timeout: float | None = None) -> bool:
        """Ask both domains to let go of it, and remove it once they have; answers whether they did within `timeout`
        seconds."""
        self._leaving = True
        if not self._client.atomically(self._go_offline):
            self._remove()  # it never came as far as that anybody had to let go
        with self._changed:
            self._changed.wait_for(lambda: self._removed or self._abandoned, timeout)
        return self._removed

    def remove(self, *, keep: bool = False) -> None:
        """The domain it is plugged into is gone, or never answers: take it away.  The backend lets go of what it mapped
        first, where it can.  Again does nothing."""
        with self._ending:
            self._keep = keep
            self._take_away()

    def _take_away(self) -> None:
        if not self._removed:
            self._leaving = True
            if self._client.atomically(self._close_frontend) and self._is_served():
                self._wait_removed(_PATIENCE)
            self._remove()
            self._wait_removed(_PATIENCE)  # where the store's thread was first

    def suspend(self) -> DeviceState:
        """See Device.suspend."""
        raise ConfigError(f"{self.name} is served by a driver domain, and cannot go on in another domain: detach it")

    def abandon(self) -> None:
        """See Served.abandon: tell the frontend."""
        with self._ending:
            watch = self._end_watch()
            if watch is not None:
                self._take_over(watch)

    def _take_over(self, watch: Subscription) -> None:
        """The backend is gone.  The device is, too, unless somebody takes its place."""
        try:
            watch.close()
        finally:
            self._forget()

    # --- Keys

    def _go_offline(self, keys: Keys) -> bool:
        """Ask for the end, as xl does; whether there is a connection to end."""
        path = self.address.backend_path
        state = state_at(keys, path)
        if state in _CONNECTED:
            keys.write(f"{path}/state", str(int(XenbusState.CLOSING)))
        if state in (*_CONNECTED, XenbusState.CLOSING):
            keys.write(f"{path}/online", "0")
            return True
        return False

    def _close_frontend(self, keys: Keys) -> bool:
        """Say for a frontend that says nothing any more that it closed; whether the backend has something of it."""
        path = self.address.backend_path
        if state_at(keys, path) not in (XenbusState.INIT_WAIT, *_CONNECTED, XenbusState.CLOSING):
            return False
        keys.write(f"{path}/online", "0")
        keys.write(f"{self.address.frontend_path}/state", str(int(XenbusState.CLOSED)))
        return True

    def _on_change(self, _: str) -> None:
        """The backend's state is another one.  On the store's thread."""
        state = state_at(self._client, self.address.backend_path)
        with self._changed:
            self._state = state
            self._changed.notify_all()
        if self._leaving and state is XenbusState.CLOSED:
            self._remove()

    def _remove(self) -> None:
        watch = self._end_watch()
        if watch is not None:
            try:
                watch.close()
            finally:
                self._forget()

    def _forget(self) -> None:
        if not self._keep:
            self.behind.close()
        address = self.address
        self._client.atomically(lambda keys: remove_all(keys, address.frontend_path, address.backend_path))
        with self._changed:
            self._removed = True
            self._changed.notify_all()

    def _end_watch(self) -> Subscription | None:
        """The watch, to whoever ends this; it is there for one alone."""
        with self._changed:
            watch, self._watch = self._watch, None
        return watch

    def _wait_removed(self, timeout: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._removed, timeout)
