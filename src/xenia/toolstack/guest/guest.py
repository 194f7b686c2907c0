"""One guest from its configuration to its end, driven by verbs."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar

from xenia.errors import ConfigError
from xenia.toolstack.config.machine import MachineConfig
from xenia.toolstack.devices.kinds import KINDS
from xenia.toolstack.guest.state import State
from xenia.toolstack.guest.verbs import Verb

if TYPE_CHECKING:
    from xenia.toolstack.devices.device import Device
    from xenia.toolstack.devices.disk import Disk
    from xenia.toolstack.devices.vif import NetworkCard
    from xenia.toolstack.machine.domain import Domain
    from xenia.toolstack.machine.machine import Machine

R = TypeVar("R")


class Guest:
    """A guest, and the machine it lives in.

    config          what it was asked to be
    machine, domain where it lives, and its life of now; None before it is built
    owns_machine    whether the machine is its own, and goes with it
    """

    def __init__(self, config: MachineConfig, machine: Machine | None = None) -> None:
        """machine   one that it has in common with others; None: it gets one of its own when it is built"""
        self.config = config
        self.machine = machine
        self.domain: Domain | None = None
        self.owns_machine = machine is None
        self._state = State.DEFINED  # RUNNING even when it has ended by itself: see `state`
        self._window: tuple[int, int] | None = None  # the operator's, in rows and columns
        self._in_turn = threading.Lock()  # held by a verb that is alone, as long as it takes
        self._looking = threading.Lock()  # held, never for long, for `_state` and `domain` to agree

    @property
    def state(self) -> State:
        """Where it is in its life."""
        state, domain = self._state, self.domain
        if state is State.RUNNING and domain is not None and domain.shutdown is not None:
            return State.SHUTDOWN
        return state

    def do(self, verb: Verb[R]) -> R:
        """Carry out `verb`, on any thread.  ConfigError in a state where it is not legal."""
        with self._in_turn if verb.alone else nullcontext():
            with self._looking:
                state = self.state
                if state not in verb.legal:
                    raise ConfigError(f"cannot {verb.name} guest '{self.config.name}': it is {state.value}")
                finish = verb.begin(self)
            return finish()

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

    def device(self, kind: str, name: str) -> Device:
        """Its device of that kind and name.  ConfigError when there is none."""
        there = [device for device in self.require_domain().devices if device.kind == kind and not device.removed]
        for device in there:
            if device.is_called(name):
                return device
        what = KINDS[kind].what
        raise ConfigError(
            f"there is no {what} {name} ({', '.join(device.name for device in there) or f'no {what} at all'})"
        )

    def disk(self, name: str) -> Disk:
        """Its disk of that name.  ConfigError when there is none."""
        device: Disk = self.device("disk", name)  # type: ignore[assignment]  # as the row of that kind has them
        return device

    def card(self, name: str) -> NetworkCard:
        """Its network card of that name.  ConfigError when there is none."""
        device: NetworkCard = self.device("vif", name)  # type: ignore[assignment]  # as the row of that kind has them
        return device

    def require_domain(self) -> Domain:
        """The domain.  Precondition: it was built."""
        assert self.domain is not None
        return self.domain

    def become(self, state: State, domain: Domain | None = None) -> None:
        """A verb has brought it into another state, with another domain or the one that it had.  Verbs only."""
        with self._looking:
            self._state = state
            if domain is not None:
                self.domain = domain
