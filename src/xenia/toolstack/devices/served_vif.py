"""A network card of one domain that another domain serves: see served.py.  The backend is Linux's xen-netback, which
makes an interface `vifDOMAIN.NUMBER` in the driver domain for it.

Somebody there has to bring that interface up and put it where it belongs: into a bridge, say.  In Xen that is a hotplug
script, which is told `bridge` and says in hotplug-status when it is done.  Here the backend is told at once that it may
connect, so that no script is needed; with `script` that is left to the driver domain, as in Xen.

When the driver domain is gone, the card is too: frames that were under way are lost, as frames may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from xenia.errors import ConfigError
from xenia.toolstack.config.device import Backing, DeviceConfig
from xenia.toolstack.config.mac import parse_mac, stable_mac
from xenia.toolstack.devices.device import DeviceState, Site
from xenia.toolstack.devices.served import ServedDevice
from xenia.xenbus.directories import Address


@dataclass(frozen=True, slots=True)
class ServedVifConfig(DeviceConfig):
    """A card, and who serves it.

    driver      the number of the domain that serves it
    number      the virtual device, from 0 on; None: the first that is free
    mac         its address; None: one that comes of the guest's name
    bridge      what the driver domain's script is told to put it into
    script      the hotplug script that says there when it may connect; nothing is said here then
    """

    kind = "served-vif"

    driver: int
    number: int | None = None
    mac: str | None = None
    bridge: str = ""
    script: str | None = None

    @property
    def name(self) -> str | None:
        """What it is called, by its number."""
        return None if self.number is None else f"vif{self.number}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def frontend_keys(self) -> dict[str, str]:
        """What the frontend is told."""
        return {"handle": str(self.number), "mac": self.mac or ""}

    def backend_keys(self) -> dict[str, str]:
        """What the backend is told."""
        # netback wants a script, be it none.
        keys = {"handle": str(self.number), "mac": self.mac or "", "type": "vif", "script": self.script or ""}
        if self.bridge:
            keys["bridge"] = self.bridge
        return keys | ({"hotplug-status": "connected"} if self.script is None else {})


def parse(words: str) -> ServedVifConfig:
    """See kinds.Module.  A driver domain is there for programs only."""
    raise ConfigError(f"the network card '{words}': a card of a driver domain has no words yet")


def read(values: Mapping[str, Any]) -> ServedVifConfig:
    """See kinds.Module."""
    return ServedVifConfig(**values)


def plug(site: Site, config: ServedVifConfig, behind: Backing) -> ServedVif:
    """See kinds.Module."""
    driver = site.driver(config.driver)
    config = _placed(site, config)
    assert config.number is not None
    vif = ServedVif(
        site.store_client(),
        config,
        Address("vif", site.domid, config.number, driver.domid),
        behind,
        is_served=lambda: driver.runs,
        frontend=config.frontend_keys(),
        backend=config.backend_keys(),
    )
    driver.serve(vif)
    return vif


def _placed(site: Site, config: ServedVifConfig) -> ServedVifConfig:
    """The same with a number and a MAC.  ConfigError where they are taken."""
    own = [device for device in site.devices if device.address.kind == "vif" and not device.removed]
    others = [device for device in site.neighbours if device.address.kind == "vif" and not device.removed]
    numbers = {device.address.device for device in own}
    number = config.number
    if number is None:
        number = next(free for free in range(len(numbers) + 1) if free not in numbers)
    if number in numbers:
        raise ConfigError(f"there is a network card {number} already")
    taken = {getattr(device.config, "mac", None) for device in (*own, *others)}
    mac = stable_mac(site.name, number, "", taken) if config.mac is None else parse_mac(config.mac)
    if mac in taken:
        raise ConfigError(f"there is a network card with the MAC {mac} already")
    return replace(config, number=number, mac=mac)


def resume(site: Site, state: DeviceState, behind: Backing) -> ServedVif:
    """See kinds.Module.  What its backend has of the guest cannot be had again."""
    raise ConfigError("a network card of a driver domain does not go on in another domain")


class ServedVif(ServedDevice):
    """A network card that is plugged into a domain and served by another."""

    config: ServedVifConfig

    @property
    def interface(self) -> str:
        """What it is called in the driver domain."""
        return f"vif{self.address.domid}.{self.address.device}"

    @property
    def statistics(self) -> dict[str, Any]:
        """What it is, as plain data; what it has done is known to the driver domain."""
        config = self.config
        return {"name": self.name, "state": self.state.name.lower(), "driver": config.driver, "mac": config.mac}
