"""Running commands in a guest that runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from xenia.errors import ConfigError
from xenia.toolstack.guest.state import State
from xenia.toolstack.guest.verbs import RemoteVerb, Request, argument
from xenia.toolstack.machine.commands import STREAMS

if TYPE_CHECKING:
    from xenia.toolstack.guest.guest import Guest


@dataclass(frozen=True)
class RunCommand(RemoteVerb[None]):
    """Have the guest's agent run a command.  Legal when built, where it waits, or running.

    streams, files   see Commands.start

    What becomes of the command is told on the control socket.
    """

    streams: Sequence[str]
    files: list[int]

    legal = frozenset({State.BUILT, State.RUNNING})
    name = "run a command in"
    word = "exec"
    alone = False

    def begin(self, guest: Guest) -> Callable[[], None]:
        return partial(guest.require_domain().start_command, self.streams, self.files)

    def request(self) -> dict[str, Sequence[str]]:
        return {"streams": self.streams}

    @property
    def descriptors(self) -> Sequence[int]:
        return self.files

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"exec": cls._read}

    @classmethod
    def _read(cls, request: Request) -> Self:
        streams, files = argument(request, "streams", list), request.get("descriptors", [])
        if not all(isinstance(one, str) and one in STREAMS for one in streams) or len(set(streams)) != len(streams):
            raise ConfigError("the request has streams that no command has")
        if len(files) != 2 + len(streams):
            raise ConfigError("the request has not a file for each stream")
        return cls(streams, files)
