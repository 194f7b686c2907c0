"""Disks of a guest: what the operator writes, and the device that comes of it."""

from __future__ import annotations

from dataclasses import dataclass

from xenia.abi.blkif import SECTOR_SIZE, device_number
from xenia.backends.storage.layer import Layer
from xenia.backends.storage.stack import open_stack
from xenia.backends.vbd.device import Vbd
from xenia.backends.vbd.stats import VbdStats
from xenia.backends.xenbus.attachment import Address, Attachment
from xenia.backends.xenbus.foreign import Foreign
from xenia.backends.xenstore.client import Client
from xenia.errors import ConfigError

MAX_DISKS = 26
_PATIENCE = 5.0  # seconds that a disk's requests may take to end when its guest is gone


@dataclass(frozen=True, slots=True)
class DiskConfig:
    """One disk as the operator wrote it: a stack of storage layers, and how the guest may use it."""

    stack: str
    read_only: bool = False


def parse_disk(text: str) -> DiskConfig:
    """STACK[,ro].  ConfigError when there is no stack."""
    stack = text.removesuffix(",ro")
    if not stack or stack == "ro":
        raise ConfigError(f"the disk '{text}' names no file")
    return DiskConfig(stack, stack != text)


def open_disk(config: DiskConfig) -> Layer:
    """The storage behind a disk.  ConfigError."""
    return open_stack(config.stack, config.read_only)


def disk_name(index: int) -> str:
    """xvda, xvdb, ... for the disks in the order they were given."""
    if index >= MAX_DISKS:
        raise ConfigError(f"a guest has at most {MAX_DISKS} disks")
    return f"xvd{chr(ord('a') + index)}"


def disk_number(name: str) -> int:
    """The number of virtual device `name`.  ConfigError for a name that no device has."""
    try:
        return device_number(name)
    except ValueError:
        raise ConfigError(f"'{name}' is no disk's name: use xvda to xvdz") from None


class Disk:
    """A disk that is plugged into a domain, with the layer that is its own to close."""

    def __init__(
        self,
        client: Client,
        foreign: Foreign,
        name: str,
        layer: Layer,
        *,
        read_only: bool = False,
        cdrom: bool = False,
        sector_size: int = SECTOR_SIZE,
        persistent: bool = False,
    ) -> None:
        """The options are Vbd's.  ConfigError for a name that no device has."""
        self.name = name
        self.layer = layer
        device = disk_number(name)
        self._vbd = Vbd(
            layer, device=device, read_only=read_only, cdrom=cdrom, sector_size=sector_size, persistent=persistent
        )
        self._attachment = Attachment(
            client,
            Address("vbd", foreign.domid, device),
            foreign,
            self._vbd,
            self._vbd.frontend_keys(),
            self._vbd.backend_keys(),
        )
        self._vbd.on_resize(self._attachment.update)
        self._closed = False

    @property
    def attachment(self) -> Attachment:
        """The device on the bus."""
        return self._attachment

    @property
    def removed(self) -> bool:
        """Whether it is gone from the bus."""
        return self._attachment.removed

    @property
    def stats(self) -> VbdStats:
        """What it has done."""
        return self._vbd.stats

    def unplug(self, timeout: float | None = None) -> bool:
        """Ask the guest to let go of it, and close it once it has; answers whether it did within `timeout` seconds."""
        self._attachment.unplug()
        if not self._attachment.wait_removed(timeout):
            return False
        self._close()
        return True

    def remove(self) -> None:
        """Take it away, whatever the guest does; its requests are finished first.  Again does nothing."""
        if not self._closed:
            self._attachment.remove()
            self._attachment.wait_removed(_PATIENCE)
            self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._vbd.close()
            self.layer.close()
