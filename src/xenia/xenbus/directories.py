"""The two directories of a split device in the store, one of each end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from xenia.abi.xenbus import XenbusState
from xenia.xenstore.client import Keys
from xenia.xenstore.permissions import Access, Permissions

_INITIALISING = str(int(XenbusState.INITIALISING))


class Address(NamedTuple):
    """Where a device is: which kind, of which domain, served by which."""

    kind: str  # vbd, vif, ...
    domid: int
    device: int
    backend_domid: int = 0

    @property
    def frontend_path(self) -> str:
        return f"/local/domain/{self.domid}/device/{self.kind}/{self.device}"

    @property
    def backend_name(self) -> str:
        """The backend's path relative to its domain's home."""
        return f"backend/{self.kind}/{self.domid}/{self.device}"

    @property
    def backend_path(self) -> str:
        return f"/local/domain/{self.backend_domid}/{self.backend_name}"


def make_directories(
    keys: Keys, address: Address, frontend_keys: Mapping[str, str], backend_keys: Mapping[str, str]
) -> None:
    """Plug a device in: each end's directory is its domain's own, and the other may read it."""
    frontend = {
        "backend": address.backend_path,
        "backend-id": str(address.backend_domid),
        "state": _INITIALISING,
        **frontend_keys,
    }
    _make(keys, address.frontend_path, frontend, address.domid, address.backend_domid)
    make_backend(keys, address, backend_keys, owner=address.backend_domid)


def make_backend(keys: Keys, address: Address, backend_keys: Mapping[str, str], owner: int) -> None:
    """The backend's alone."""
    backend = {
        "frontend": address.frontend_path,
        "frontend-id": str(address.domid),
        "online": "1",
        "state": _INITIALISING,
        **backend_keys,
    }
    _make(keys, address.backend_path, backend, owner, address.domid)


def _make(keys: Keys, path: str, values: Mapping[str, str], owner: int, reader: int) -> None:
    permissions = Permissions(owner, Access.NONE, ((reader, Access.READ),))
    keys.mkdir(path)
    keys.set_permissions(path, permissions)
    for key, value in values.items():
        keys.write(f"{path}/{key}", value)
        keys.set_permissions(f"{path}/{key}", permissions)


def state_at(keys: Keys, path: str) -> XenbusState:
    """The state of an end; UNKNOWN where it is missing or nonsense."""
    text = keys.get(f"{path}/state") or ""
    if len(text) == 1 and text in "012345678":
        return XenbusState(int(text))
    return XenbusState.UNKNOWN


def replace_key(keys: Keys, path: str, value: str) -> None:
    """Give a key another value, unless somebody removed it."""
    if keys.exists(path):
        keys.write(path, value)


def remove_all(keys: Keys, *paths: str) -> None:
    """Remove these paths, where they are there, and with the last of a guest's backends of a kind their folder."""
    for path in paths:
        if keys.exists(path):
            keys.remove(path)
            above = path.rpartition("/")[0]
            if "/backend/" in above and not keys.directory(above):
                keys.remove(above)
