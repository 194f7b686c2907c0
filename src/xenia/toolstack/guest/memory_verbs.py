"""How much memory a guest that runs is to have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from xenia.toolstack.guest.state import State
from xenia.toolstack.guest.verbs import RemoteVerb, Request, argument

if TYPE_CHECKING:
    from xenia.toolstack.guest.guest import Guest


@dataclass(frozen=True)
class SetMemory(RemoteVerb[None]):
    """Domain.set_memory; with `maximum` Domain.set_max_memory.  Legal when built or running."""

    size: int
    maximum: bool = False

    legal = frozenset({State.BUILT, State.RUNNING})
    name = "set the memory of"

    def begin(self, guest: Guest) -> Callable[[], None]:
        domain = guest.require_domain()
        return partial(domain.set_max_memory if self.maximum else domain.set_memory, self.size)

    @property
    def word(self) -> str:
        return "mem-max" if self.maximum else "mem-set"

    def request(self) -> dict[str, Any]:
        return {"size": self.size}

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {
            "mem-set": lambda request: cls(argument(request, "size", int)),
            "mem-max": lambda request: cls(argument(request, "size", int), True),
        }
