"""One guest from its configuration to its end, driven by verbs.

A verb is a value.  It says in which states it is legal; `Guest.do` refuses it in any other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Generic, TypeVar

from xenia.errors import ConfigError
from xenia.shutdown import Shutdown
from xenia.toolstack.boot import Boot
from xenia.toolstack.machine import Domain, Machine
from xenia.toolstack.machine_config import MachineConfig
from xenia.toolstack.vbd import open_disk, parse_disk

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

    legal = frozenset({State.DEFINED})
    name = "build"

    def apply(self, guest: Guest) -> None:
        config = guest.config
        memory = config.machine_memory or Machine.memory_for(config.memory)
        guest.machine = Machine(memory, scatter=config.scatter, xenstore_socket=config.xenstore)
        guest.domain = guest.machine.create_domain(
            self.boot.kernel,
            name=config.name,
            initrd=self.boot.ramdisk,
            cmdline=self.boot.command_line,
            memory=config.memory,
            clock=config.clock,
            console=self.sink,
        )
        for text in config.disks:
            disk = parse_disk(text)
            guest.domain.attach_disk(open_disk(disk), read_only=disk.read_only)
        guest.state = State.BUILT


@dataclass(frozen=True)
class Start(Verb[None]):
    """Let the vcpu run, on a host thread of its own.  Legal when built."""

    legal = frozenset({State.BUILT})
    name = "start"

    def apply(self, guest: Guest) -> None:
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

    def apply(self, guest: Guest) -> Shutdown | None:
        shutdown = guest.require_domain().wait(self.timeout)
        if shutdown is not None and guest.state is State.RUNNING:
            guest.state = State.SHUTDOWN
        return shutdown


@dataclass(frozen=True)
class Destroy(Verb[None]):
    """Stop the guest where it stands and give its memory back.  Legal always; destroying twice is nothing."""

    legal = frozenset(State)
    name = "destroy"

    def apply(self, guest: Guest) -> None:
        if guest.machine is not None and guest.state is not State.DESTROYED:
            guest.machine.close()
        guest.state = State.DESTROYED


class Guest:
    """A guest and the machine it lives in."""

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.state = State.DEFINED
        self.machine: Machine | None = None
        self.domain: Domain | None = None

    def do(self, verb: Verb[R]) -> R:
        """Carry out `verb`.  ConfigError in a state where it is not legal."""
        if self.state not in verb.legal:
            raise ConfigError(f"cannot {verb.name} guest '{self.config.name}': it is {self.state.value}")
        return verb.apply(self)

    def require_domain(self) -> Domain:
        """The domain, which every state but DEFINED has."""
        assert self.domain is not None
        return self.domain
