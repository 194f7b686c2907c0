"""What an operator does to the life of a guest that runs, besides starting and destroying it: xl's verbs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from xenia.errors import ConfigError
from xenia.toolstack.guest.state import State
from xenia.toolstack.guest.verbs import RemoteVerb, Request, argument

if TYPE_CHECKING:
    from xenia.toolstack.guest.guest import Guest

WISHES = ("poweroff", "reboot", "halt")


@dataclass(frozen=True)
class AskToEnd(RemoteVerb[None]):
    """Ask the guest to power off or reboot, which it does when it likes.  Legal when running."""

    wish: str

    legal = frozenset({State.RUNNING})
    name = "shut down"
    word = "shutdown"

    def begin(self, guest: Guest) -> Callable[[], None]:
        return partial(guest.require_domain().ask, "shutdown", self.wish)

    def request(self) -> dict[str, Any]:
        return {"wish": self.wish}

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"shutdown": cls._read}

    @classmethod
    def _read(cls, request: Request) -> Self:
        wish = argument(request, "wish", str)
        if wish not in WISHES:
            raise ConfigError(f"a guest is asked for {', '.join(WISHES)}, not '{wish}'")
        return cls(wish)


@dataclass(frozen=True)
class Pause(RemoteVerb[None]):
    """Let it not go on.  Legal when built, where it does not yet, or running."""

    legal = frozenset({State.BUILT, State.RUNNING})
    name = "pause"
    word = "pause"

    def begin(self, guest: Guest) -> Callable[[], None]:
        return guest.require_domain().pause

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"pause": lambda _: cls()}


@dataclass(frozen=True)
class Unpause(RemoteVerb[None]):
    """Let it go on.  Legal when built or running."""

    legal = frozenset({State.BUILT, State.RUNNING})
    name = "unpause"
    word = "unpause"

    def begin(self, guest: Guest) -> Callable[[], None]:
        return guest.require_domain().unpause

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"unpause": lambda _: cls()}


@dataclass(frozen=True)
class Sysrq(RemoteVerb[None]):
    """Press a key of Linux's magic SysRq.  Legal when running."""

    key: str

    legal = frozenset({State.RUNNING})
    name = "press a key of"
    word = "sysrq"

    def begin(self, guest: Guest) -> Callable[[], None]:
        return partial(guest.require_domain().ask, "sysrq", self.key)

    def request(self) -> dict[str, Any]:
        return {"key": self.key}

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"sysrq": cls._read}

    @classmethod
    def _read(cls, request: Request) -> Self:
        key = argument(request, "key", str)
        if len(key) != 1 or not key.isprintable():
            raise ConfigError(f"'{key}' is no letter")
        return cls(key)


@dataclass(frozen=True)
class SendNmi(RemoteVerb[None]):
    """Send a vcpu the interrupt that cannot be masked.  Legal when running."""

    vcpu: int = 0

    legal = frozenset({State.RUNNING})
    name = "send an NMI to"
    word = "nmi"

    def begin(self, guest: Guest) -> Callable[[], None]:
        return partial(guest.require_domain().send_nmi, self.vcpu)

    def request(self) -> dict[str, Any]:
        return {"vcpu": self.vcpu}

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"nmi": lambda request: cls(argument(request, "vcpu", int))}


@dataclass(frozen=True)
class Rename(RemoteVerb[None]):
    """Give the guest another name.  Legal while it has a domain.  ConfigError where that is none."""

    to: str

    legal = frozenset({State.BUILT, State.RUNNING, State.SHUTDOWN})
    name = "rename"
    word = "rename"

    def begin(self, guest: Guest) -> Callable[[], None]:
        return partial(self._rename, guest)

    def _rename(self, guest: Guest) -> None:
        guest.config = replace(guest.config, name=self.to)
        guest.require_domain().rename(self.to)

    def request(self) -> dict[str, Any]:
        return {"to": self.to}

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"rename": lambda request: cls(argument(request, "to", str))}


LIFE: tuple[type[RemoteVerb[Any]], ...] = (AskToEnd, Pause, Unpause, Sysrq, SendNmi, Rename)
