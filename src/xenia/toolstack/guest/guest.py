"""One guest from its configuration to its end, driven by verbs.

A verb is a value.  It says in which states it is legal; `Guest.do` refuses it in any other.
"""

from __future__ import annotations

import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import ClassVar, Generic, TypeVar

from xenia.errors import ConfigError
from xenia.shutdown import Shutdown
from xenia.storage.door import leaving
from xenia.storage.layer import Layer
from xenia.toolstack.config.disk import DiskConfig
from xenia.toolstack.config.machine import MachineConfig
from xenia.toolstack.devices.disk import Disk
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.provision.boot import Boot
from xenia.toolstack.releases import Releases

R = TypeVar("R")


class State(Enum):
    """Where a guest is in its life."""

    DEFINED = "defined"  # a configuration, nothing else
    BUILT = "built"  # memory taken, kernel loaded, not yet run
    RUNNING = "running"
    SHUTDOWN = "shut down"  # by itself, or crashed; memory still held
    DESTROYED = "destroyed"


class Verb(ABC, Generic[R]):
    """Something to do with a guest."""

    legal: ClassVar[frozenset[State]]
    name: ClassVar[str]
    waits: ClassVar[bool] = False  # for the guest: others are carried out meanwhile

    @abstractmethod
    def apply(self, guest: Guest) -> R:
        """Do it; `guest.state` is a legal one.  `Guest.do` is the only caller."""


@dataclass(frozen=True)
class Build(Verb[None]):
    """Take machine memory and load the kernel; the console goes to `sink`.  Legal once, when defined.

    ConfigError: no such memory, a disk that cannot be opened, or a kernel that cannot boot as a PV guest.
    """

    boot: Boot
    sink: Callable[[bytes], None]
    store: socket.socket | None = None  # where clients of the xenstore connect; else what the configuration says
    wall_in: Callable[[], None] = lambda: None  # called once all is open that has a name on the host

    legal = frozenset({State.DEFINED})
    name = "build"

    def apply(self, guest: Guest) -> None:
        config = guest.config
        memory = config.machine_memory or Machine.memory_for(config.memory)
        store = self.store if self.store is not None else config.xenstore
        layers: list[Layer] = []
        machine: Machine | None = None
        try:
            with leaving() if config.jail else nullcontext():
                for disk in config.disks:
                    layers.append(disk.open())
            self.wall_in()
            machine = Machine(memory, scatter=config.scatter, xenstore_socket=store, jail=config.jail)
            guest.domain = _domain(guest, machine, self.boot, self.sink)
            for disk, layer in zip(config.disks, layers, strict=True):
                guest.attach(disk, layer)
        except BaseException:
            with Releases() as releases:
                if machine is not None:
                    releases.do(machine.close)
                for layer in layers:
                    if not layer.closed:
                        releases.do(layer.close)
            raise
        guest.machine = machine
        guest.state = State.BUILT


@dataclass(frozen=True)
class Rebuild(Verb[None]):
    """Put a new domain, loaded like the first, in the place of one that has ended; the disks stay as they are.

    Legal when shut down.  ConfigError as for Build.
    """

    boot: Boot
    sink: Callable[[bytes], None]

    legal = frozenset({State.SHUTDOWN})
    name = "rebuild"

    def apply(self, guest: Guest) -> None:
        assert guest.machine is not None
        old = guest.require_domain()
        try:
            old.destroy(keep_layers=True)
            guest.domain = _domain(guest, guest.machine, self.boot, self.sink)
            for disk in old.disks:
                if not disk.layer.closed:  # as those are that were detached until then
                    guest.attach(replace(guest.disks[disk.name], name=disk.name), disk.layer)
        except BaseException:
            # A disk that the new domain has is closed with that one.
            theirs = [disk.layer for disk in guest.require_domain().disks] if guest.domain is not old else []
            with Releases() as releases:
                for disk in old.disks:
                    if disk.removed and disk.layer not in theirs:
                        releases.do(disk.close_behind)
            raise
        guest.state = State.BUILT


@dataclass(frozen=True)
class Start(Verb[None]):
    """Let the vcpu run, on a host thread of its own.  Legal when built."""

    legal = frozenset({State.BUILT})
    name = "start"

    def apply(self, guest: Guest) -> None:
        guest.show_window()
        guest.require_domain().start()
        guest.state = State.RUNNING


@dataclass(frozen=True)
class Wait(Verb[Shutdown | None]):
    """Wait until the guest shuts down, at most `timeout` seconds (None: for ever).  Legal when running or shut down.

    Returns how it ended, or None when it still runs.
    """

    timeout: float | None = None

    legal = frozenset({State.RUNNING, State.SHUTDOWN})
    name = "wait"
    waits = True

    def apply(self, guest: Guest) -> Shutdown | None:
        shutdown = guest.require_domain().wait(self.timeout)
        if shutdown is not None and guest.state is State.RUNNING:
            guest.state = State.SHUTDOWN
        return shutdown


@dataclass(frozen=True)
class AttachDisk(Verb[str]):
    """Plug a disk in.  Legal when built or running.  Returns the name that it has in the guest.

    ConfigError: it cannot be opened, or its name is taken.
    """

    disk: DiskConfig

    legal = frozenset({State.BUILT, State.RUNNING})
    name = "attach a disk to"

    def apply(self, guest: Guest) -> str:
        return guest.attach(self.disk, self.disk.open())


@dataclass(frozen=True)
class DetachDisk(Verb[None]):
    """Ask the guest to let go of a disk, and take it away once it has.  Legal when built or running.

    ConfigError when it has not within `timeout` seconds: it is in use, say.  With `force` it is taken away then, and
    what the guest still asks of it are errors.
    """

    disk: str
    timeout: float
    force: bool = False

    legal = frozenset({State.BUILT, State.RUNNING})
    name = "detach a disk from"
    waits = True

    def apply(self, guest: Guest) -> None:
        disk = guest.disk(self.disk)
        if disk.unplug(self.timeout):
            return
        if not self.force:
            raise ConfigError(f"the guest has not let go of {disk.name} yet: it is asked to (--force takes it away)")
        disk.remove()


@dataclass(frozen=True)
class ResizeDisk(Verb[int]):
    """Give a disk `size` bytes (None: as many as what is behind it has by now), which the guest sees at once.

    Legal when built or running.  Returns the size.  ConfigError when what is behind it cannot have that size, when
    that is no whole number of the disk's sectors, or without `shrink` where it is smaller than the one it had.
    """

    disk: str
    size: int | None = None
    shrink: bool = False

    legal = frozenset({State.BUILT, State.RUNNING})
    name = "resize a disk of"

    def apply(self, guest: Guest) -> int:
        layer = guest.disk(self.disk).layer
        try:
            if self.size is None:
                layer.refresh()
            else:
                self._check(layer.size, guest.disks[self.disk].sector_size, self.size)
                layer.resize(self.size)
        except OSError as error:
            raise ConfigError(f"cannot resize {self.disk}: {error.strerror or error}") from None
        return layer.size

    def _check(self, old: int, sector_size: int, new: int) -> None:
        if new % sector_size or not new:
            raise ConfigError(f"{self.disk} has sectors of {sector_size} bytes, and {new} bytes are no whole ones")
        if new < old and not self.shrink:
            raise ConfigError(f"{self.disk} has {old} bytes, and to cut it to {new} loses what is behind (--shrink)")


@dataclass(frozen=True)
class Destroy(Verb[None]):
    """Stop the guest where it stands and give its memory back.  Legal always; destroying twice is nothing.

    ConfigError, with all that done, where a disk did not close cleanly.
    """

    legal = frozenset(State)
    name = "destroy"

    def apply(self, guest: Guest) -> None:
        state, guest.state = guest.state, State.DESTROYED
        if guest.machine is not None and state is not State.DESTROYED:
            guest.machine.close()


class Guest:
    """A guest and the machine it lives in."""

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.state = State.DEFINED
        self.machine: Machine | None = None
        self.domain: Domain | None = None
        self.disks: dict[str, DiskConfig] = {}  # how each was configured, by the name it has in the guest
        self._window: tuple[int, int] | None = None  # the operator's, in rows and columns
        self._one_at_a_time = threading.Lock()

    def do(self, verb: Verb[R]) -> R:
        """Carry out `verb`, on any thread.  ConfigError in a state where it is not legal."""
        with nullcontext() if verb.waits else self._one_at_a_time:
            if self.state not in verb.legal:
                raise ConfigError(f"cannot {verb.name} guest '{self.config.name}': it is {self.state.value}")
            return verb.apply(self)

    def offer(self, data: bytes) -> int:
        """Give the guest's console input without waiting; how many of the bytes there was room for."""
        domain = self.domain
        return domain.console.offer(data) if domain is not None else 0

    def resize_window(self, rows: int, columns: int) -> None:
        """The window that shows the console has this size now."""
        self._window = (rows, columns)
        self.show_window()

    def show_window(self) -> None:
        """Tell the domain, which may be a new one, the size of the window."""
        if self.domain is not None and self._window is not None:
            self.domain.set_window_size(*self._window)

    def attach(self, config: DiskConfig, layer: Layer) -> str:
        """Plug `layer` in as `config` says; the disk's name.  Where this fails the layer is closed."""
        try:
            disk = self.require_domain().attach(config, layer)
        except BaseException:
            with suppress(OSError):  # nothing was written
                layer.close()
            raise
        self.disks[disk.name] = config
        return disk.name

    def disk(self, name: str) -> Disk:
        """The disk of that name.  ConfigError when there is none."""
        disks = {disk.name: disk for disk in self.require_domain().disks if not disk.removed}
        if name not in disks:
            raise ConfigError(f"there is no disk {name} ({', '.join(disks) or 'no disk at all'})")
        return disks[name]

    def require_domain(self) -> Domain:
        """The domain.  Precondition: it was built."""
        assert self.domain is not None
        return self.domain


def _domain(guest: Guest, machine: Machine, boot: Boot, sink: Callable[[bytes], None]) -> Domain:
    return machine.create_domain(
        boot.kernel,
        name=guest.config.name,
        initrd=boot.ramdisk,
        cmdline=boot.command_line,
        memory=guest.config.memory,
        clock=guest.config.clock,
        console=sink,
    )
