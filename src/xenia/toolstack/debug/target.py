"""A domain under a debugger: its vcpus stop and go together, and say why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from xenia.errors import ConfigError, GuestFault
from xenia.hypervisor import debugger as hardware, life
from xenia.hypervisor.debugger import Debugger

if TYPE_CHECKING:
    from xenia.toolstack.machine.domain import Domain


class Why(Enum):
    """Why a domain stands."""

    ATTACHED = auto()
    INTERRUPTED = auto()
    STEPPED = auto()
    BREAKPOINT = auto()
    WATCHPOINT = auto()


@dataclass(frozen=True)
class Stop:
    """Why and where it stopped: the vcpu, and of a watchpoint its address."""

    why: Why
    vcpu: int = 0
    address: int = 0


class Does(Enum):
    """What a vcpu does when the domain goes on."""

    STAYS = auto()
    RUNS = auto()
    STEPS = auto()


_WHY = {
    hardware.STEPPED: Why.STEPPED,
    hardware.BREAKPOINT: Why.BREAKPOINT,
    hardware.WATCHPOINT: Why.WATCHPOINT,
}
Place = tuple[int, int, int]
"""Where to stop: what of CODE, WRITE, READ, the address, of data its length."""


class Target:
    """One domain, which stands from the moment that it has a debugger."""

    def __init__(self, domain: Domain) -> None:
        """ConfigError where it has one already, or its engine knows of none."""
        self.domain = domain
        self.stands = True
        self._places: dict[Place, int] = {}  # how often each was asked for
        self._set: list[Place] = []
        self._pending: list[Stop] = []
        domain.pauses.hold()
        try:
            self._debugger = Debugger(domain.handle)
        except BaseException:
            domain.pauses.release()
            raise
        self.descriptor = self._debugger.descriptor

    @property
    def has_ended(self) -> bool:
        """The domain has shut down, or is destroyed."""
        return not self.domain.runs

    @property
    def vcpus(self) -> list[int]:
        """Those that the guest has brought up; the first where there is none."""
        return [n for n in range(self.domain.max_vcpus) if self._debugger.is_up(n)] or [0]

    # --- where it is to stop

    def add(self, place: Place) -> None:
        """Stop there too, from when it goes on.  ConfigError where there are too many."""
        if place not in self._places and len(self._places) >= hardware.MOST_STOPS:
            raise ConfigError(f"a debugger can have {hardware.MOST_STOPS} breakpoints and watchpoints")
        self._places[place] = self._places.get(place, 0) + 1

    @property
    def places(self) -> list[Place]:
        """All of them."""
        return list(self._places)

    def take(self, place: Place) -> None:
        """Not any more; once for each time that it was asked for."""
        left = self._places.get(place, 0) - 1
        if left > 0:
            self._places[place] = left
        else:
            self._places.pop(place, None)

    # --- going on, and stopping

    def go(self, what: Mapping[int, Does]) -> None:
        """Let it go on: each vcpu as it is said, and those of which nothing is said stay.  It stays as it is where one
        has stopped already and nobody was told: `stopped` tells.

        On a step alone it has the breakpoints that it went on with last.
        """
        self._pending = [stop for stop in self._pending if self._is_true(stop)]
        if self._pending:
            return
        # A step needs no breakpoints, and GDB takes all away for it and sets them again.
        if Does.RUNS in what.values() and self._set != sorted(self._places):
            self._set = sorted(self._places)
            self._debugger.set_stops(self._set)
        for number in range(self.domain.max_vcpus):
            does = what.get(number, Does.STAYS)
            self._debugger.let(number, runs=does is not Does.STAYS, steps=does is Does.STEPS)
        self.stands = False
        self.domain.pauses.release()

    def _is_true(self, stop: Stop) -> bool:
        """Whether a stop that nobody was told of is one still."""
        if stop.why is Why.BREAKPOINT:
            place = (hardware.CODE, stop.address, 0)
            return place in self._places and self.domain.vcpus[stop.vcpu].registers["rip"] == stop.address
        return stop.why is Why.WATCHPOINT and any(place[1] == stop.address for place in self._places)

    def stopped(self) -> Stop | None:
        """Why it stands, where a vcpu has stopped by itself; it does from then on."""
        found = [Stop(_WHY[why], number, address) for number, why, address in self._debugger.taken()]
        if found and not self.stands:
            self._stand()
            found += [Stop(_WHY[why], number, address) for number, why, address in self._debugger.taken()]
        self._pending += found
        return self._pending.pop(0) if self._pending else None

    def stop(self) -> None:
        """It stands when this returns."""
        if not self.stands:
            self._stand()

    def _stand(self) -> None:
        self.domain.pauses.hold()
        self.stands = True

    def detach(self) -> None:
        """Let it go on as if there had never been a debugger."""
        self.stop()
        self._debugger.detach()
        self.domain.pauses.release()

    def kill(self) -> None:
        """End it."""
        life.crash(self.domain.handle, "its debugger killed it")

    # --- memory

    def read(self, vcpu: int, address: int, size: int) -> bytes:
        """What a vcpu has mapped there, up to where nothing is mapped."""
        try:
            return self.domain.memory.read(address, size, vcpu=vcpu)
        except GuestFault as fault:
            return self.domain.memory.read(address, fault.va - address, vcpu=vcpu)
