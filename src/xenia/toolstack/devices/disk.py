"""Disks of a guest: a storage layer, and the device on the bus that serves it."""

from __future__ import annotations

import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict
from string import ascii_lowercase
from typing import Any

from xenia.backends.vbd.device import Vbd
from xenia.backends.vbd.name import device_number, in_one_place
from xenia.backends.vbd.stats import VbdStats
from xenia.errors import ConfigError
from xenia.foreign.foreign import Foreign
from xenia.machine.thread import HostThread
from xenia.storage.layer import Layer
from xenia.toolstack.releases import Releases
from xenia.xenbus.attachment import Address, Attachment
from xenia.xenstore.client import Client

_PATIENCE = 5.0  # seconds without an answer that a disk's requests may take when its guest is gone


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


class Disk:
    """A disk that is plugged into a domain, with the layer that is its own to close."""

    def __init__(self, client: Client, foreign: Foreign, name: str, device: int, layer: Layer, vbd: Vbd) -> None:
        """Plug in `vbd`, which serves `layer`, as the virtual device of that number."""
        self.name = name
        self.device = device
        self.layer = layer
        self._vbd = vbd
        self._attachment = Attachment(
            client,
            Address("vbd", foreign.domid, device),
            foreign,
            vbd,
            vbd.frontend_keys(),
            {"dev": name, **vbd.backend_keys()},
        )
        vbd.on_resize(self._attachment.update)
        self._closing = threading.Lock()
        self._closed = False
        self._stuck: HostThread | None = None

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
        try:
            self._attachment.unplug()
            if not self._attachment.wait_removed(timeout):
                return False
        except Exception:
            self.remove()  # a fault of ours: it is over
            raise
        self._close()
        return True

    def remove(self, *, keep_layer: bool = False) -> None:
        """Take it away, whatever the guest does; its requests are finished first.  Again does nothing.

        keep_layer   leave the layer open: it is the caller's from now on

        ConfigError where the layer did not close cleanly, with everything given back; or where its requests do not end:
        then they keep what they use until they do.
        """
        if not self._closed:
            with Releases() as releases:
                releases.do(self._attachment.remove)
                releases.do(self._wait_removed)
                if self._stuck is None:
                    releases.do(self._close, keep_layer)

    def _wait_removed(self) -> None:
        """Wait as long as requests end; then leave what is there to a thread that has all the time of the world."""
        seen = self.stats
        while not self._attachment.wait_removed(_PATIENCE):
            if self.stats == seen:
                self._stuck = HostThread(self._close_at_last, f"{self.name} waits")
                self._stuck.start()
                raise ConfigError(
                    f"the disk {self.name} did not close: it answers nothing for {_PATIENCE:.0f} seconds now"
                )
            seen = self.stats

    def _close_at_last(self) -> None:
        with suppress(ConfigError):  # it was told already that this disk is lost
            self._attachment.wait_removed()
            self._close()

    def _close(self, keep_layer: bool = False) -> None:
        with self._closing:
            if not self._closed:
                self._closed = True
                with Releases() as releases:
                    releases.do(self._vbd.close)
                    if not keep_layer:
                        releases.do(self.close_layer)

    def close_layer(self) -> None:
        """Close the layer of a disk that was removed without it.  ConfigError, naming the disk, where it does not close
        cleanly."""
        try:
            self.layer.close()
        except OSError as error:
            lost = "what was not flushed may be lost"
            raise ConfigError(f"the disk {self.name} did not close: {error.strerror or error} ({lost})") from error
        except ConfigError as error:
            raise ConfigError(f"the disk {self.name} did not close: {error}") from error
