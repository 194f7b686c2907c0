"""Disks of a guest: a storage layer, and the device on the bus that serves it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from string import ascii_lowercase
from typing import Any

from xenia.backends.vbd.device import Vbd
from xenia.backends.vbd.name import device_number, in_one_place
from xenia.backends.vbd.persist import VbdState
from xenia.errors import ConfigError
from xenia.foreign.foreign import Foreign
from xenia.machine.thread import HostThread
from xenia.storage.layer import Layer
from xenia.toolstack.config.disk import DiskConfig, parse_disk
from xenia.toolstack.devices.attached import AttachedDevice, published
from xenia.toolstack.devices.device import DeviceState, Site
from xenia.toolstack.releases import Releases
from xenia.xenbus.attachment import Attachment
from xenia.xenbus.directories import Address
from xenia.xenbus.persist import AttachmentState
from xenia.xenstore.client import Client

# What a frontend publishes of its first queue, by what xl block-list calls it.
_PUBLISHED = {
    "ring_ref": ("ring-ref", "ring-ref0", "queue-0/ring-ref", "queue-0/ring-ref0"),
    "event_channel": ("event-channel", "queue-0/event-channel"),
}


def free_name(taken: Collection[str]) -> str:
    """The first of xvda, xvdb, ... that none of those names stands in the way of.  ConfigError where there is none."""
    for letter in ascii_lowercase:
        if not any(in_one_place(f"xvd{letter}", name) for name in taken):
            return f"xvd{letter}"
    raise ConfigError("xvda to xvdz are all taken; give the disk a name beyond them, such as xvdaa")


def number_of(name: str) -> int:
    """The number of the virtual device of that name.  ConfigError for a name that no device has."""
    try:
        return device_number(name)
    except ValueError:
        raise ConfigError(f"'{name}' is no disk's name: use xvda, xvdb and so on") from None


def place(site: Site, name: str | None) -> tuple[str, int]:
    """That name, or the first that is free, and its number.  ConfigError where it is taken, or none."""
    taken = [device.name for device in site.devices if device.address.kind == "vbd" and not device.removed]
    name = name if name is not None else free_name(taken)
    number = number_of(name)
    for other in taken:
        if number == number_of(other):
            raise ConfigError(f"there is a disk {name} already")
        if in_one_place(name, other):
            raise ConfigError(f"a guest has one place for {other} and {name}: call one of them {free_name(taken)}")
    return name, number


parse = parse_disk


def read(values: Mapping[str, Any]) -> DiskConfig:
    """See kinds.Module."""
    return DiskConfig(**values)


def plug(site: Site, config: DiskConfig, layer: Layer) -> Disk:
    """See kinds.Module.  A driver domain cannot grant on what was granted to it: it may copy through pages of its own,
    unless the configuration says otherwise."""
    name, number = place(site, config.name)
    persistent = site.driver_domain if config.persistent is None else config.persistent
    vbd = Vbd(layer, replace(config, persistent=persistent), device=number)
    try:
        return Disk(site.store_client(), site.foreign, replace(config, name=name), number, layer, vbd)
    except BaseException:
        vbd.close()
        raise


def resume(site: Site, state: DeviceState, layer: Layer) -> Disk:
    """See kinds.Module."""
    config = read(state.config)
    vbd = Vbd.restore(layer, state.backend_of(VbdState))
    try:
        number = number_of(config.name or "")
        return Disk(site.store_client(), site.foreign, config, number, layer, vbd, resumes=state.attachment)
    except BaseException:
        vbd.close()
        raise


class Disk(AttachedDevice):
    """A disk that is plugged into a domain, with the layer that is its own to close."""

    config: DiskConfig

    def __init__(
        self,
        client: Client,
        foreign: Foreign,
        config: DiskConfig,
        device: int,
        layer: Layer,
        vbd: Vbd,
        *,
        resumes: AttachmentState | None = None,
        patience: float = 5.0,
    ) -> None:
        """Plug in `vbd`, which serves `layer`, as the virtual device of that number.

        resumes    it is plugged in, as a disk that was suspended left it
        patience   seconds without an answer that its requests may take when its guest is gone
        """
        super().__init__(vbd)
        self._client = client
        self.config = config
        self.device = device
        self.layer = self.behind = layer
        self.address = Address("vbd", foreign.domid, device)
        self._vbd = vbd
        self._patience = patience
        self.attached(
            Attachment(
                client,
                self.address,
                foreign,
                vbd,
                vbd.frontend_keys(),
                {"dev": self.name, **vbd.backend_keys()},
                resumes=resumes,
            )
        )
        vbd.on_resize(self._attachment.update)
        self._stuck: HostThread | None = None

    @property
    def statistics(self) -> dict[str, Any]:
        """What it (VbdStats) and the layers behind it have done, from the top down, as plain data."""
        layers = [{"layer": layer.name, **asdict(layer.counts())} for layer in self.layer.stack()]
        return {
            "name": self.name,
            "number": self.device,
            "size": self.layer.size,
            "cdrom": self.config.cdrom,
            "state": self.state.name.lower(),
            "backend_path": self.address.backend_path,
            **published(self._client, self.address, _PUBLISHED),
            **asdict(self._vbd.stats),
            "layers": layers,
        }

    def remove(self, *, keep: bool = False) -> None:
        """Take it away, whatever the guest does; its requests are finished first.  Again does nothing.

        keep   leave the layer open: it is the caller's from now on

        ConfigError where the layer did not close cleanly, with everything given back; or where its requests do not end:
        then they keep what they use until they do.
        """
        if not self._closed:
            with Releases() as releases:
                releases.do(self._attachment.remove)
                releases.do(self._wait_removed)
                if self._stuck is None:
                    releases.do(self._close, keep)

    def _wait_removed(self) -> None:
        """Wait as long as requests end; then leave what is there to a thread that has all the time of the world."""
        seen = self._vbd.stats
        while not self._attachment.wait_removed(self._patience):
            if self._vbd.stats == seen:
                self._stuck = HostThread(self._close_at_last, f"{self.name} waits")
                self._stuck.start()
                raise ConfigError(
                    f"the disk {self.name} did not close: it answers nothing for {self._patience:.0f} seconds now"
                )
            seen = self._vbd.stats

    def _close_at_last(self) -> None:
        with suppress(ConfigError):  # it was told already that this disk is lost
            self._attachment.wait_removed()
            self._close()

    def _let_go(self, keep: bool) -> None:
        with Releases() as releases:
            releases.do(self._vbd.close)
            if not keep:
                releases.do(self.close_behind)

    def close_behind(self) -> None:
        """Close the layer of a disk that was removed without it.  ConfigError, naming the disk, where it does not close
        cleanly."""
        try:
            self.layer.close()
        except OSError as error:
            lost = "what was not flushed may be lost"
            raise ConfigError(f"the disk {self.name} did not close: {error.strerror or error} ({lost})") from error
        except ConfigError as error:
            raise ConfigError(f"the disk {self.name} did not close: {error}") from error
