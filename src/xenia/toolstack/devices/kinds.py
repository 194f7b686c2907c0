"""The kinds of devices that can be plugged in: a row for each, which is all that the rest of the toolstack knows.

A new device is a module with the functions of `Module` and a row here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from xenia.errors import ConfigError
from xenia.persist import misfit

if TYPE_CHECKING:
    from xenia.toolstack.config.device import DeviceConfig
    from xenia.toolstack.devices.device import Device, DeviceState, Site


class Module(Protocol):
    """What a kind's module has."""

    def parse(self, words: str) -> DeviceConfig:
        """What an operator's words ask for.  ConfigError."""

    def read(self, values: Mapping[str, Any]) -> DeviceConfig:
        """What DeviceConfig.as_dict said.  TypeError or ConfigError where the values describe none."""

    def plug(self, site: Site, config: Any, behind: Any) -> Device:
        """Plug one in that stands on `behind`, which DeviceConfig.open opened and which is the device's once this
        succeeds.  ConfigError."""

    def resume(self, site: Site, state: DeviceState, behind: Any) -> Device:
        """Go on as the device that left that state (Device.suspend), on what it stood on.  ConfigError."""


@dataclass(frozen=True)
class Kind:
    """A kind of devices.

    what      what one is called in a sentence
    verbs     xl's word for them: block-attach, network-list, ...; "" where they have no words for an operator
    listed    the list among a domain's statistics that they are in
    module    where its functions are; it is imported when one is needed, for a command that only asks a guest which
              runs does without backends
    """

    what: str
    verbs: str
    listed: str
    module: str

    @property
    def functions(self) -> Module:
        """What can be done with devices of this kind."""
        return cast(Module, import_module(self.module))


KINDS: dict[str, Kind] = {
    "disk": Kind("disk", "block", "disks", "xenia.toolstack.devices.disk"),
    "vif": Kind("network card", "network", "cards", "xenia.toolstack.devices.vif"),
    "share": Kind("shared folder", "share", "shares", "xenia.toolstack.devices.share"),
    "served-disk": Kind("disk", "", "served_disks", "xenia.toolstack.devices.served_disk"),
    "served-vif": Kind("network card", "", "served_vifs", "xenia.toolstack.devices.served_vif"),
}


def listed(devices: Iterable[Device]) -> dict[str, list[dict[str, Any]]]:
    """What devices are and have done, in a list for each kind; that of the disks is always there."""
    lists: dict[str, list[dict[str, Any]]] = {KINDS["disk"].listed: []}
    for device in devices:
        if not device.removed:
            lists.setdefault(KINDS[device.kind].listed, []).append(device.statistics)
    return lists


def read_config(kind: str, values: Mapping[str, Any]) -> DeviceConfig:
    """The configuration of a device of that kind, from plain data that may come from anywhere.  ConfigError."""
    if kind not in KINDS:
        raise ConfigError(f"there is no kind of devices '{kind}' ({', '.join(KINDS)})")
    config: DeviceConfig | None
    try:
        config = KINDS[kind].functions.read(values)
    except TypeError:
        config = None
    if config is None or misfit(config) is not None:
        raise ConfigError(f"the request describes no {KINDS[kind].what} that is known here: is this an older Xenia?")
    return config
