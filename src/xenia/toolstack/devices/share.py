"""Folders of the host's in a guest: a server's process, and the device on the bus that leads to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from xenia.backends.p9.device import P9
from xenia.backends.p9.persist import P9State
from xenia.foreign.foreign import Foreign
from xenia.persist import misfit
from xenia.toolstack.config.share import MOST_SHARES, ShareConfig, parse_later
from xenia.toolstack.devices.attached import AttachedDevice
from xenia.toolstack.devices.device import DeviceState, Site
from xenia.toolstack.releases import Releases
from xenia.toolstack.shares.share import Share
from xenia.xenbus.attachment import Attachment
from xenia.xenbus.directories import Address
from xenia.xenbus.persist import AttachmentState
from xenia.xenstore.client import Client

DEVICE = "9pfs"
parse = parse_later


def read(values: Mapping[str, Any]) -> ShareConfig:
    """See kinds.Module."""
    config = ShareConfig(**values)
    if misfit(config) is None:
        config.check()
    return config


def plug(site: Site, config: ShareConfig, share: Share) -> SharedFolder:
    """See kinds.Module."""
    here = [device for device in site.devices if isinstance(device, SharedFolder) and not device.removed]
    config = config.called(device.name for device in here)
    numbers = {device.address.device for device in here}
    number = next(number for number in range(MOST_SHARES) if number not in numbers)
    return SharedFolder(site.store_client(), site.foreign, config, number, share, P9(share.server))


def resume(site: Site, state: DeviceState, share: Share) -> SharedFolder:
    """See kinds.Module."""
    backend = P9.restore(share.server, state.backend_of(P9State), share.waiting)
    share.waiting = []
    config = read(state.config)
    number = state.attachment.device
    return SharedFolder(
        site.store_client(), site.foreign, config, number, share, backend, resumes=state.attachment
    )  # fmt: skip


class SharedFolder(AttachedDevice):
    """A folder that is plugged into a domain, with the server that is its own to end."""

    config: ShareConfig

    def __init__(
        self,
        client: Client,
        foreign: Foreign,
        config: ShareConfig,
        number: int,
        share: Share,
        backend: P9,
        *,
        resumes: AttachmentState | None = None,
        patience: float = 5.0,
    ) -> None:
        """resumes    it is plugged in, as one that was suspended left it
        patience   seconds that its backend may take to let go of a guest that is gone
        """
        super().__init__(backend)
        self.config = config
        self.behind = self._share = share
        self.address = Address(DEVICE, foreign.domid, number)
        self._p9 = backend
        self._patience = patience
        said = {"tag": self.name}
        attachment = Attachment(
            client, self.address, foreign, backend, said, {**said, "path": config.path, "security_model": "none"},
            resumes=resumes,
        )  # fmt: skip
        self.attached(attachment)
        backend.on_fault(attachment.shut)

    @property
    def statistics(self) -> dict[str, Any]:
        """What it is and has carried (P9Stats), as plain data."""
        return {
            "name": self.name,
            "number": self.address.device,
            "path": self.config.path,
            "mount": self.config.mount,
            "read_only": self.config.read_only,
            "cow": self.config.cow,
            "state": self.state.name.lower(),
            "fault": self._p9.fault,
            "backend_path": self.address.backend_path,
            **asdict(self._p9.stats),
        }

    def is_called(self, name: str) -> bool:
        """By its tag, its number, or where it is on the host or in the guest."""
        return name in (self.name, str(self.address.device), self.config.path, self.config.mount)

    def remove(self, *, keep: bool = False) -> None:
        """See Device.remove."""
        if not self._closed:
            with Releases() as releases:
                releases.do(self._attachment.remove)
                releases.do(self._attachment.wait_removed, self._patience)
                releases.do(self._close, keep)

    def _let_go(self, keep: bool) -> None:
        if keep:
            self._share.waiting = self._p9.left()
        else:
            self.close_behind()
