"""Disks of a guest: a storage layer, and the device on the bus that serves it."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import asdict
from string import ascii_lowercase
from typing import Any

from xenia.abi.blkif import device_number
from xenia.backends.storage.layer import Layer
from xenia.backends.vbd.device import Vbd
from xenia.backends.vbd.stats import VbdStats
from xenia.backends.xenbus.attachment import Address, Attachment
from xenia.backends.xenbus.foreign import Foreign
from xenia.backends.xenstore.client import Client
from xenia.errors import ConfigError

_PATIENCE = 5.0  # seconds that a disk's requests may take to end when its guest is gone


def free_name(taken: Collection[int]) -> str:
    """The first of xvda, xvdb, ... whose number is not taken.  ConfigError where all are."""
    for letter in ascii_lowercase:
        if device_number(f"xvd{letter}") not in taken:
            return f"xvd{letter}"
    raise ConfigError("xvda to xvdz are all taken; give the disk a name beyond them, such as xvdaa")


def number_of(name: str) -> int:
    """The number of the virtual device of that name.  ConfigError for a name that no device has."""
    try:
        return device_number(name)
    except ValueError:
        raise ConfigError(f"'{name}' is no disk's name: use xvda, xvdb and so on") from None


class Disk:
    """A disk that is plugged into a domain, with the layer that is its own to close."""

    def __init__(self, client: Client, foreign: Foreign, name: str, device: int, layer: Layer, vbd: Vbd) -> None:
        """Plug in `vbd`, which serves `layer`, as the virtual device of that number."""
        self.name = name
        self.device = device
        self.layer = layer
        self._vbd = vbd
        self._attachment = Attachment(
            client, Address("vbd", foreign.domid, device), foreign, vbd, vbd.frontend_keys(), vbd.backend_keys()
        )
        vbd.on_resize(self._attachment.update)
        self._closing = threading.Lock()
        self._closed = False

    @property
    def attachment(self) -> Attachment:
        """The device on the bus."""
        return self._attachment

    @property
    def removed(self) -> bool:
        """Whether it was unplugged or removed, so that its layer serves it no more."""
        return self._closed

    @property
    def stats(self) -> VbdStats:
        """What it has done."""
        return self._vbd.stats

    @property
    def statistics(self) -> dict[str, Any]:
        """What it and the layers behind it have done, from the top down, as plain data."""
        layers = [{"layer": layer.name, **asdict(layer.statistics)} for layer in self.layer.stack()]
        state = self._attachment.state.name.lower()
        return {"name": self.name, "size": self.layer.size, "state": state, **asdict(self.stats), "layers": layers}

    def unplug(self, timeout: float | None = None) -> bool:
        """Ask the guest to let go of it, and close it once it has; answers whether it did within `timeout` seconds."""
        self._attachment.unplug()
        if not self._attachment.wait_removed(timeout):
            return False
        self._close()
        return True

    def remove(self, *, keep_layer: bool = False) -> None:
        """Take it away, whatever the guest does; its requests are finished first.  Again does nothing.

        keep_layer   leave the layer open: it is the caller's from now on
        """
        if not self._closed:
            self._attachment.remove()
            self._attachment.wait_removed(_PATIENCE)
            self._close(keep_layer)

    def _close(self, keep_layer: bool = False) -> None:
        with self._closing:
            if not self._closed:
                self._closed = True
                self._vbd.close()
                if not keep_layer:
                    self.layer.close()
