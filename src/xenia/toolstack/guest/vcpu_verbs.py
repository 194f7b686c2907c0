"""What can be done with the vcpus of a guest that runs."""

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
class SetVcpus(RemoteVerb[int]):
    """Ask the guest to use so many vcpus: it brings others up, or takes them down, soon.

    Legal when built or running.  Returns the number.  ConfigError where it has fewer (maxvcpus).
    """

    vcpus: int

    legal = frozenset({State.BUILT, State.RUNNING})
    name = "set the vcpus of"
    word = "vcpu-set"

    def begin(self, guest: Guest) -> Callable[[], int]:
        return partial(self._set, guest)

    def _set(self, guest: Guest) -> int:
        guest.require_domain().set_vcpus(self.vcpus)
        return self.vcpus

    def request(self) -> dict[str, Any]:
        return {"vcpus": self.vcpus}

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"vcpu-set": cls._read}

    @classmethod
    def _read(cls, request: Request) -> Self:
        return cls(argument(request, "vcpus", int))
