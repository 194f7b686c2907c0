"""A disk of one domain that another domain serves: a driver domain, whose kernel has the backend.

The toolstack's part is the keys of both ends, as xl writes them for `backend=DOMAIN`, and to take them away again.
What the two domains then do with grants and events is between them.

Somebody has to tell the backend which device it is, in the key physical-device.  In Xen that is a hotplug script in the
driver domain, which looks the node up.  Here the toolstack writes the number itself, where the node's name gives it or
the operator does; with `script` it is left to the driver domain, as in Xen.

When the driver domain is gone, its backend has left requests behind that nobody would ever answer: a caretaker takes
its place (`caretaker.py`).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from xenia.abi.xenbus import XenbusState
from xenia.errors import ConfigError
from xenia.foreign.foreign import Foreign
from xenia.toolstack.config.device import Backing, DeviceConfig
from xenia.toolstack.devices.caretaker import Caretaker
from xenia.toolstack.devices.device import Device, DeviceState, Site
from xenia.toolstack.devices.disk import place
from xenia.toolstack.devices.physical_device import physical_device
from xenia.xenbus.attachment import Address, make_directories, remove_all, state_at
from xenia.xenstore.client import Client, Keys, Subscription

_PATIENCE = 5.0  # seconds that a backend may take to let go of what a dead domain granted it

_SECTORS = re.compile("[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class ServedDiskConfig(DeviceConfig):
    """A block device of a driver domain, and how the guest sees it.

    driver      the number of the domain that serves it
    params      the path of the device's node there
    name        the virtual device: xvda, hdc, ...; None: the first xvd that is free
    number      the device's number there as MAJOR:MINOR, where it does not follow from the node's name
    script      the hotplug script that finds the number there; nothing is done here then
    """

    kind = "served-disk"

    driver: int
    params: str
    name: str | None = None
    read_only: bool = False
    cdrom: bool = False
    number: str | None = None
    script: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def type(self) -> str:
        """The key device-type."""
        return "cdrom" if self.cdrom else "disk"

    def backend_keys(self) -> dict[str, str]:
        """What the backend is told about the device.  ConfigError where its number is not known."""
        writable = not self.read_only and not self.cdrom
        keys = {
            "device-type": self.type,
            "removable": str(int(self.cdrom)),
            "bootable": "1",
            "type": "phy",
            "params": self.params,
            "mode": "w" if writable else "r",
            "discard-enable": str(int(writable)),
        }
        if self.script is not None:
            return {**keys, "script": self.script}
        number = physical_device(self.params, self.number)
        return {**keys, "physical-device": number, "hotplug-status": "connected"}


def parse(words: str) -> ServedDiskConfig:
    """See kinds.Module.  A driver domain is there for programs only."""
    raise ConfigError(f"the disk '{words}': a disk of a driver domain has no words yet")


def read(values: Mapping[str, Any]) -> ServedDiskConfig:
    """See kinds.Module."""
    return ServedDiskConfig(**values)


def plug(site: Site, config: ServedDiskConfig, behind: Backing) -> ServedDisk:
    """See kinds.Module."""
    driver = site.driver(config.driver)
    config.backend_keys()  # which may be refused
    name, device = place(site, config.name)
    disk = ServedDisk(
        site.store_client(),
        replace(config, name=name),
        Address("vbd", site.domid, device, driver.domid),
        lambda: site.foreign_to(config.driver),
        behind,
        is_served=lambda: driver.runs,
    )
    driver.serve(disk)
    return disk


def resume(site: Site, state: DeviceState, behind: Backing) -> ServedDisk:
    """See kinds.Module.  What its backend has of the guest cannot be had again."""
    raise ConfigError("a disk of a driver domain does not go on in another domain")


class ServedDisk(Device):
    """A disk that is plugged into a domain and served by another."""

    config: ServedDiskConfig

    def __init__(
        self,
        client: Client,
        config: ServedDiskConfig,
        address: Address,
        foreign: Callable[[], Foreign],
        behind: Backing,
        *,
        is_served: Callable[[], bool],
    ) -> None:
        """Plug it in, under the name in its configuration.

        foreign         makes the guest as the driver domain's backend sees it
        is_served       whether the driver domain runs
        """
        self.config = config
        self.address = address
        self.behind = behind
        self._client = client
        self._foreign = foreign
        self._is_served = is_served
        self._ending = threading.Lock()  # held by who takes it away, or puts a caretaker there
        self._changed = threading.Condition()
        self._state = XenbusState.INITIALISING
        self._sectors = 0
        self._leaving = False
        self._keep = False  # whether another domain is to have it
        self._removed = False
        self._caretaker: Caretaker | None = None
        frontend = {"virtual-device": str(address.device), "device-type": config.type}
        backend = {"dev": self.name, **config.backend_keys()}
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
        return self._caretaker.attachment.state if self._caretaker is not None else self._state

    @property
    def removed(self) -> bool:
        """Whether the device is gone, and its keys with it."""
        return self._caretaker.attachment.removed if self._caretaker is not None else self._removed

    @property
    def statistics(self) -> dict[str, Any]:
        """What it is, as plain data; what it has done is known to the driver domain."""
        state = self.state.name.lower()
        return {"name": self.name, "state": state, "driver": self.config.driver, "params": self.config.params}

    def wait(self, state: XenbusState, timeout: float | None = None) -> bool:
        """See Device.wait."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._state is state or self._removed or self._caretaker is not None, timeout
            )
            return self._state is state

    def unplug(self, timeout: float | None = None) -> bool:
        """Ask both domains to let go of it, and remove it once they have; answers whether they did within `timeout`
        seconds."""
        if self._caretaker is None:
            self._leaving = True
            if not self._client.atomically(self._go_offline):
                self._remove()  # it never came as far as that anybody had to let go
            with self._changed:
                self._changed.wait_for(lambda: self._removed or self._caretaker is not None, timeout)
        caretaker = self._caretaker
        if caretaker is None:
            return self._removed
        if not caretaker.attachment.wait_removed(timeout):
            return False
        caretaker.close()
        return True

    def remove(self, *, keep: bool = False) -> None:
        """The domain it is plugged into is gone, or never answers: take it away.  The backend lets go of what it mapped
        first, where it can.  Again does nothing."""
        with self._ending:
            self._keep = keep
            if self._caretaker is not None:
                self._caretaker.close()
            elif not self._removed:
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
            if watch is None:
                return
            self.behind.close()
            try:
                watch.close()
                caretaker = Caretaker(self._client, self.address, self._foreign(), self._sectors)
            except BaseException:
                self._forget()
                raise
            with self._changed:
                self._caretaker = caretaker
                self._changed.notify_all()

    # --- Keys

    def _go_offline(self, keys: Keys) -> bool:
        """Ask for the end, as xl does; whether there is a connection to end."""
        path = self.address.backend_path
        state = state_at(keys, path)
        if state is XenbusState.CONNECTED:
            keys.write(f"{path}/state", str(int(XenbusState.CLOSING)))
        if state in (XenbusState.CONNECTED, XenbusState.CLOSING):
            keys.write(f"{path}/online", "0")
            return True
        return False

    def _close_frontend(self, keys: Keys) -> bool:
        """Say for a frontend that says nothing any more that it closed; whether the backend has something of it."""
        path = self.address.backend_path
        if state_at(keys, path) not in (XenbusState.INIT_WAIT, XenbusState.CONNECTED, XenbusState.CLOSING):
            return False
        keys.write(f"{path}/online", "0")
        keys.write(f"{self.address.frontend_path}/state", str(int(XenbusState.CLOSED)))
        return True

    def _on_change(self, _: str) -> None:
        """The backend's state is another one.  On the store's thread."""
        state = state_at(self._client, self.address.backend_path)
        sectors = _SECTORS.fullmatch(self._client.get(f"{self.address.backend_path}/sectors") or "")
        if sectors is not None:
            self._sectors = int(sectors[0])
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
