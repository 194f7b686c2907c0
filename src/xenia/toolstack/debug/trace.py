"""The newest hypercalls of a domain, for whoever debugs it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from xenia.errors import ConfigError
from xenia.toolstack.machine.observers import Hypercall, Observer

if TYPE_CHECKING:
    from xenia.toolstack.machine.domain import Domain

KEPT: Final = 4096
_SHOWN: Final = 20


class Trace:
    """Off at first, and the domain then pays nothing for it (domain/observers)."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._observer: Observer | None = None
        self._calls: deque[Hypercall] = deque(maxlen=KEPT)

    def on(self, *names: str) -> None:
        """Keep the newest from now on, of these names or all; nothing of before.  ConfigError for a name that is
        none."""
        self.off()
        self._observer = self._domain.on_hypercall(self._calls.append, *names)
        self._calls.clear()

    def off(self) -> None:
        """Keep no more; what was kept can be shown still."""
        if self._observer is not None:
            self._observer.close()
            self._observer = None

    def show(self, number: int = _SHOWN) -> str:
        """So many of the newest, a line for each, the oldest first: seconds before the newest, vcpu, call, result."""
        if number < 1:
            raise ConfigError(f"show how many of the newest, 1 to {KEPT}")
        lost = 0
        if self._observer is not None:
            self._observer.catch_up()
            lost = self._observer.lost
        calls = list(self._calls)[-number:]
        if not calls:
            return "no hypercall was traced (monitor trace on)\n"
        lines = [_line(call, calls[-1].time) for call in calls]
        return "\n".join(lines + ([f"{lost} more came too fast to be kept"] if lost else [])) + "\n"


def _line(call: Hypercall, now: float) -> str:
    arguments = ", ".join(f"{argument:#x}" for argument in call.args)
    result = "" if call.result is None else f" = {call.result}"
    return f"{call.time - now:>11.6f} vcpu {call.vcpu}  {call.name}({arguments}){result}"
