"""A kind of devices that Xenia has not: a lamp, which a guest can only plug in.  It stands on nothing of the host's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from xenia.abi.xenbus import XenbusState
from xenia.errors import ConfigError
from xenia.persist import State
from xenia.toolstack.config.device import Backing, DeviceConfig
from xenia.toolstack.devices.device import Device, DeviceState, Site
from xenia.toolstack.devices.kinds import Kind
from xenia.xenbus.attachment import Attachment, Backend
from xenia.xenbus.directories import Address
from xenia.xenbus.frontend import Frontend
from xenia.xenbus.persist import AttachmentState

ROW = Kind("lamp", "lamp", "lamps", __name__)


@dataclass(frozen=True, slots=True)
class LampConfig(DeviceConfig):
    kind = "lamp"

    colour: str
    name: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def parse(words: str) -> LampConfig:
    """colour=COLOUR"""
    if not words.startswith("colour="):
        raise ConfigError(f"the lamp '{words}' has no colour")
    return LampConfig(words.removeprefix("colour="))


def read(values: Mapping[str, Any]) -> LampConfig:
    return LampConfig(**values)


def plug(site: Site, config: LampConfig, behind: Backing) -> Lamp:
    taken = {device.name for device in site.devices if device.kind == "lamp" and not device.removed}
    name = config.name or next(f"lamp{number}" for number in range(100) if f"lamp{number}" not in taken)
    return Lamp(site, replace(config, name=name), behind)


@dataclass(frozen=True)
class LampState(State):
    lit: int


def resume(site: Site, state: DeviceState, behind: Backing) -> Lamp:
    lamp = Lamp(site, read(state.config), behind, state.attachment)
    lamp.backend.lit = state.backend_of(LampState).lit
    return lamp


class Bulb(Backend):
    """The backend."""

    def __init__(self, colour: str) -> None:
        self._colour = colour
        self.lit = 0

    def prepare(self) -> Mapping[str, str]:
        return {"colour": self._colour}

    def connect(self, frontend: Frontend) -> Mapping[str, str]:
        self.lit += 1
        return {}

    def disconnect(self) -> None: ...

    def suspend(self) -> None: ...

    def resume(self, frontend: Frontend) -> Mapping[str, str]:
        return {}


class Lamp(Device):
    """The device."""

    config: LampConfig

    def __init__(self, site: Site, config: LampConfig, behind: Backing, resumes: AttachmentState | None = None) -> None:
        self.config, self.behind = config, behind
        self.address = Address("lamp", site.domid, int(self.name.removeprefix("lamp")))
        self._suspended = False
        self.backend = Bulb(config.colour)
        self._attachment = Attachment(site.store_client(), self.address, site.foreign, self.backend, resumes=resumes)

    @property
    def state(self) -> XenbusState:
        return self._attachment.state

    @property
    def removed(self) -> bool:
        return self._suspended or self._attachment.removed

    @property
    def statistics(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state.name.lower(),
            "colour": self.config.colour,
            "lit": self.backend.lit,
        }

    def wait(self, state: XenbusState, timeout: float | None = None) -> bool:
        return self._attachment.wait(state, timeout)

    def unplug(self, timeout: float | None = None) -> bool:
        self._attachment.unplug()
        gone = self._attachment.wait_removed(timeout)
        if gone:
            self.behind.close()
        return gone

    def remove(self, *, keep: bool = False) -> None:
        if self._suspended:
            return
        self._attachment.remove()
        self._attachment.wait_removed()
        if not keep:
            self.behind.close()

    def suspend(self) -> DeviceState:
        self._suspended = True
        return DeviceState.of(self.config, self._attachment.suspend(), LampState(self.backend.lit))
