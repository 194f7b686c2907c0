"""The engines that there are, by the words that an operator uses for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from xenia.cpu.capabilities import Capabilities
from xenia.errors import ConfigError

if TYPE_CHECKING:
    from xenia.cpu.engine import Engine
    from xenia.machine.machine import MachineMemory


class EngineModule(Protocol):
    """What the module of an engine has."""

    CAPABILITIES: Capabilities

    def new(self, memory: MachineMemory) -> Engine:
        """A processor over that memory.  ConfigError where the host does not give what it takes."""

    def reserve(self, nr: int) -> int:
        """Map what `nr` processors yet to be made will need, while that may be mapped: for how many there is some."""

    def self_test(self) -> str:
        """What it is made of.  HypervisorBug where that is not as this build expects it."""


@dataclass(frozen=True)
class EngineKind:
    """One engine.

    name     the operator's word for it
    module   where it is; imported only when it is asked for
    offered  to operators; else it is for tests
    """

    name: str
    module: str
    offered: bool = True

    def load(self) -> EngineModule:
        """The engine itself."""
        return cast(EngineModule, import_module(self.module))

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return self.load().CAPABILITIES


DEFAULT = "emulated"
AUTO = "auto"
_kinds: dict[str, EngineKind] = {}


def register(kind: EngineKind) -> None:
    """Make an engine known."""
    _kinds[kind.name] = kind


def engines() -> tuple[EngineKind, ...]:
    """All that are known, those for tests too."""
    return tuple(_kinds.values())


def engine_kind(name: str) -> EngineKind:
    """The engine of that name.  ConfigError where there is none."""
    if name not in _kinds:
        offered = ", ".join([AUTO, *(kind.name for kind in engines() if kind.offered)])
        raise ConfigError(f"no engine is called {name!r}; there is: {offered}")
    return _kinds[name]


@cache  # who is walled in can look no more
def lack() -> str | None:
    """Why AUTO is the emulated engine on this host; None: it is the native one, and a program has run there."""
    try:
        engine_kind("native").load().self_test()
    except (ConfigError, ImportError, OSError) as reason:
        return str(reason)
    return None


def chosen(name: str) -> str:
    """The engine that a word means: AUTO is the native one where this host has what it takes, else the emulated one."""
    if name != AUTO:
        return name
    return "native" if lack() is None else DEFAULT


register(EngineKind("emulated", "xenia.cpu.engines.emulated.engine"))
register(EngineKind("native", "xenia.cpu.engines.native.engine"))
register(EngineKind("eager", "xenia.cpu.engines.native.eager", offered=False))
register(EngineKind("looking", "xenia.cpu.engines.native.looking", offered=False))
