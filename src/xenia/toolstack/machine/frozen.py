"""A guest that is frozen: asked to suspend itself, torn down, and kept as a value until it goes on.

The guest takes part, as it does under any Xen (domain/build/persisted).  It is asked through control/shutdown in its
home in the store; a Linux freezes its processes and devices, and suspends.  Then everything of it but its disks' layers
is given back.  Where it goes on, its devices are plugged in anew, and its frontends ask again what was not answered.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from xenia.abi.xenbus import XenbusState
from xenia.backends.console.persist import ConsoleState
from xenia.backends.console.transcript import Transcript
from xenia.errors import ConfigError
from xenia.hypervisor.persist import save
from xenia.hypervisor.saved import SavedGuest
from xenia.persist import State
from xenia.shutdown import Reason
from xenia.toolstack.config.device import Backing
from xenia.toolstack.devices.device import Device
from xenia.toolstack.devices.kinds import read_config
from xenia.toolstack.machine.store_layout import HomeState, home, restore_home, save_home
from xenia.toolstack.releases import Releases
from xenia.xenbus.directories import state_at
from xenia.xenstore.client import Keys

if TYPE_CHECKING:
    from xenia.toolstack.machine.domain import Domain

# Seconds that a backend may take to be ready.
_PATIENCE: Final = 60.0
# Seconds after which it is seen that a domain was destroyed.
_GLANCE: Final = 0.2


@dataclass(frozen=True)
class SavedDevice(State):
    """A device that is plugged in anew: its frontend gives up the connection when it suspends.

    config      DeviceConfig.as_dict, with the name that it has
    connected   whether the guest's frontend was connected to it
    """

    VERSION: ClassVar[int] = 1

    kind: str
    config: dict[str, Any]
    connected: bool


@dataclass(frozen=True)
class DomainState(State):
    """All that a guest is, but for what is open: see Frozen."""

    VERSION: ClassVar[int] = 1

    name: str
    memory: int
    driver_domain: bool
    guest: SavedGuest
    console: ConsoleState
    home: HomeState
    devices: tuple[SavedDevice, ...]


class Frozen:
    """A frozen guest: `Machine.rebuild` lets it go on.  Once: what its devices stand on is then the new domain's.

    state   plain data
    going   held by whoever lets it go on, or gives it up
    """

    def __init__(self, state: DomainState, behind: tuple[Backing, ...], sink: Transcript) -> None:
        self.state = state
        self.behind = behind
        self.sink = sink
        self.used = False
        self.going = threading.Lock()

    def discard(self) -> None:
        """It shall never go on: close what its devices stand on.  ConfigError where that does not go cleanly."""
        with self.going:
            if self.used:
                return
            self.used = True
        with Releases() as releases:
            for behind in self.behind:
                releases.do(behind.close)


def freeze(domain: Domain, timeout: float) -> Frozen:
    """See Domain.freeze, which holds the domain's own lock for it."""
    if domain.max_vcpus > 1:
        raise ConfigError(f"the guest '{domain.name}' cannot be frozen: it has {domain.max_vcpus} vcpus, not one")
    _suspend(domain, time.monotonic() + timeout, timeout)
    console = domain.pause_console()
    try:
        devices = [device for device in domain.devices if not device.removed]
        state = DomainState(
            domain.name,
            domain.memory.size,
            domain.driver_domain,
            save(domain.handle),
            console,
            domain.xenstore.atomically(lambda keys: save_home(keys, domain.domid)),
            tuple(_save_device(domain, device) for device in devices),
        )
    except BaseException:
        if not domain.destroyed:
            domain.resume(console)
        raise
    frozen = Frozen(state, tuple(device.behind for device in devices), domain.sink)
    try:
        if domain.destroy(keep_layers=True):
            return frozen
    except BaseException:
        with suppress(ConfigError, OSError):
            frozen.discard()
        raise
    raise ConfigError(f"the guest '{domain.name}' cannot be frozen: it was destroyed meanwhile")


def _suspend(domain: Domain, end: float, timeout: float) -> None:
    """Ask the guest to suspend itself, and wait until it has."""
    what = f"the guest '{domain.name}' cannot be frozen"
    control = f"{home(domain.domid)}/control"
    if not domain.runs:
        raise ConfigError(f"{what}: it does not run")
    if domain.serves:
        raise ConfigError(f"{what}: it serves devices to others")
    if domain.xenstore.get(f"{control}/feature-suspend") != "1":
        raise ConfigError(f"{what}: its kernel does not offer to suspend itself (control/feature-suspend), or not yet")
    if not _settle_devices(domain, end):
        raise ConfigError(f"{what}: its devices are still being connected after {timeout:g} seconds")
    domain.xenstore.write(f"{control}/shutdown", "suspend")
    shutdown = domain.handle.wait(max(end - time.monotonic(), 0))
    if domain.destroyed:
        raise ConfigError(f"{what}: it was destroyed meanwhile")
    if shutdown is None and domain.handle.shutdown is None:
        if not domain.xenstore.atomically(lambda keys: _take_back(keys, f"{control}/shutdown")):
            domain.expect_late_suspend()
        raise ConfigError(f"{what}: it did not suspend itself within {timeout:g} seconds, and goes on")
    if shutdown is None or shutdown.reason is not Reason.SUSPEND or shutdown.halted:
        raise ConfigError(f"{what}: it ended instead")


def _settle_devices(domain: Domain, end: float) -> bool:
    """Wait until no device is half connected: a Linux that is asked to suspend itself meanwhile waits for its disks,
    and the disks for the thread that was asked.  Answers whether that is so before `end`."""
    changed = threading.Event()
    watch = domain.xenstore.watch(f"{home(domain.domid)}/device", lambda _: changed.set())
    try:
        while any(_is_half_connected(domain, device) for device in domain.devices if not device.removed):
            if time.monotonic() >= end or domain.destroyed:
                return False
            changed.wait(min(end - time.monotonic(), _GLANCE))
            changed.clear()
        domain.reconnecting = []
        return True
    finally:
        watch.close()


def _is_half_connected(domain: Domain, device: Device) -> bool:
    match _frontend_state(domain, device):
        case XenbusState.INITIALISED:
            return True
        case XenbusState.INITIALISING | XenbusState.INIT_WAIT:
            return device in domain.reconnecting or device.state is XenbusState.CONNECTED
        case _:
            return False


def _save_device(domain: Domain, device: Device) -> SavedDevice:
    connected = _frontend_state(domain, device) is XenbusState.CONNECTED
    return SavedDevice(device.kind, device.config.as_dict(), connected)


def _frontend_state(domain: Domain, device: Device) -> XenbusState:
    return state_at(domain.xenstore, device.address.frontend_path)


def _take_back(keys: Keys, path: str) -> bool:
    """Take the request back, unless the guest has read it."""
    if keys.get(path) != "suspend":
        return False
    keys.write(path, "")
    return True


def go_on(domain: Domain, frozen: Frozen) -> None:
    """Give a domain that was rebuilt its home and its devices.  ConfigError where one cannot be plugged in."""
    state = frozen.state
    domain.introduce()
    domain.xenstore.atomically(lambda keys: restore_home(keys, domain.domid, state.home))
    for saved, behind in zip(state.devices, frozen.behind, strict=True):
        device = domain.attach(read_config(saved.kind, saved.config), behind)
        if saved.connected:
            domain.reconnecting.append(device)
        # A frontend that comes back looks at once what is offered.
        if not device.wait(XenbusState.INIT_WAIT, _PATIENCE):
            raise ConfigError(f"the device {device.name} of the guest '{state.name}' does not begin")
