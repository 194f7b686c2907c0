"""A disk of one domain that another domain serves: see served.py.

Somebody has to tell the backend which device it is, in the key physical-device.  In Xen that is a hotplug script in the
driver domain, which looks the node up.  Here the toolstack writes the number itself, where the node's name gives it or
the operator does; with `script` it is left to the driver domain, as in Xen.

When the driver domain is gone, its backend has left requests behind that nobody would ever answer: a caretaker takes
its place (`caretaker.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from xenia.abi.xenbus import XenbusState
from xenia.errors import ConfigError
from xenia.foreign.foreign import Foreign
from xenia.toolstack.config.device import Backing, DeviceConfig
from xenia.toolstack.devices.caretaker import Caretaker
from xenia.toolstack.devices.device import DeviceState, Site
from xenia.toolstack.devices.disk import place
from xenia.toolstack.devices.physical_device import physical_device
from xenia.toolstack.devices.served import ServedDevice
from xenia.xenbus.directories import Address
from xenia.xenstore.client import Client, Subscription

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


class ServedDisk(ServedDevice):
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
        self._foreign = foreign
        self._sectors = 0
        self._caretaker: Caretaker | None = None
        super().__init__(
            client,
            config,
            address,
            behind,
            is_served=is_served,
            frontend={"virtual-device": str(address.device), "device-type": config.type},
            backend={"dev": config.name or "", **config.backend_keys()},
        )

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

    def unplug(self, timeout: float | None = None) -> bool:
        """See ServedDevice.unplug."""
        if self._caretaker is None and super().unplug(timeout):
            return True
        caretaker = self._caretaker
        if caretaker is None:
            return self._removed
        if not caretaker.attachment.wait_removed(timeout):
            return False
        caretaker.close()
        return True

    def _take_away(self) -> None:
        if self._caretaker is not None:
            self._caretaker.close()
        else:
            super()._take_away()

    def _take_over(self, watch: Subscription) -> None:
        self.behind.close()
        try:
            watch.close()
            caretaker = Caretaker(self._client, self.address, self._foreign(), self._sectors)
        except BaseException:
            self._forget()
            raise
        with self._changed:
            self._caretaker = caretaker
            self._abandoned = True
            self._changed.notify_all()

    def _on_change(self, path: str) -> None:
        sectors = _SECTORS.fullmatch(self._client.get(f"{self.address.backend_path}/sectors") or "")
        if sectors is not None:
            self._sectors = int(sectors[0])
        super()._on_change(path)
