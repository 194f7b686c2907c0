"""What a guest gets of the processors that it shares with others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from xenia.errors import ConfigError
from xenia.toolstack.config.cpus import parse_affinity
from xenia.toolstack.guest.state import State
from xenia.toolstack.guest.verbs import RemoteVerb, Request, argument

if TYPE_CHECKING:
    from xenia.toolstack.guest.guest import Guest


@dataclass(frozen=True)
class PinVcpu(RemoteVerb[None]):
    """Let a vcpu, or all (None), run on these processors only, and better on those; both in the words of config/cpus.

    Legal when built or running.  ConfigError where there is no such vcpu, or none of the processors.
    """

    vcpu: int | None
    hard: str = "-"
    soft: str = "-"

    legal = frozenset({State.BUILT, State.RUNNING})
    name = "pin a vcpu of"
    word = "vcpu-pin"

    def begin(self, guest: Guest) -> Callable[[], None]:
        return partial(self._pin, guest)

    def _pin(self, guest: Guest) -> None:
        sched = guest.require_domain().sched
        hard, soft = (parse_affinity(text, sched.nr_pcpus or 1) for text in (self.hard, self.soft))
        for vcpu in range(guest.require_domain().max_vcpus) if self.vcpu is None else (self.vcpu,):
            sched.pin(vcpu, hard, soft)

    def request(self) -> dict[str, Any]:
        return {"vcpu": self.vcpu, "hard": self.hard, "soft": self.soft}

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"vcpu-pin": cls._read}

    @classmethod
    def _read(cls, request: Request) -> Self:
        vcpu = None if request.get("vcpu") is None else argument(request, "vcpu", int)
        return cls(vcpu, argument(request, "hard", str), argument(request, "soft", str))


@dataclass(frozen=True)
class SetShare(RemoteVerb[None]):
    """Give it another weight, or cap (DomainSched); None: as before.  Legal when built or running.

    ConfigError, and nothing is changed, where it cannot have them.
    """

    weight: int | None = None
    cap: int | None = None

    legal = frozenset({State.BUILT, State.RUNNING})
    name = "set the share of"
    word = "sched-credit2"

    def begin(self, guest: Guest) -> Callable[[], None]:
        return partial(self._set, guest)

    def _set(self, guest: Guest) -> None:
        sched = guest.require_domain().sched
        if not sched.nr_pcpus:
            raise ConfigError("its vcpus have host threads of their own, so it shares no processor by weights and caps")
        cap = sched.cap
        if self.cap is not None:
            sched.cap = self.cap
        if self.weight is not None:
            try:
                sched.weight = self.weight
            except ConfigError:
                sched.cap = cap
                raise

    def request(self) -> dict[str, Any]:
        return {"weight": self.weight, "cap": self.cap}

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"sched-credit2": cls._read}

    @classmethod
    def _read(cls, request: Request) -> Self:
        weight, cap = (
            None if request.get(name) is None else argument(request, name, int) for name in ("weight", "cap")
        )
        return cls(weight, cap)
