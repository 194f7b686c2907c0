"""A guest's core, into a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from xenia.errors import ConfigError
from xenia.toolstack.config.core import CoreFormat
from xenia.toolstack.guest.state import State
from xenia.toolstack.guest.verbs import RemoteVerb, Request, argument

if TYPE_CHECKING:
    from xenia.toolstack.guest.guest import Guest


@dataclass(frozen=True)
class DumpCore(RemoteVerb[None]):
    """Domain.write_core: the file's descriptor comes with it.  Legal while it has a domain.

    ConfigError where the file cannot be written, or the guest is destroyed meanwhile.
    """

    file: Sequence[int]
    form: str = "xen"
    live: bool = False
    crash: bool = False

    legal = frozenset({State.BUILT, State.RUNNING, State.SHUTDOWN})
    alone = False
    name = "dump the core of"
    word = "dump-core"
    patience = 3600.0

    def begin(self, guest: Guest) -> Callable[[], None]:
        return partial(guest.require_domain().write_core, self.file[0], self.form, live=self.live, crash=self.crash)

    def request(self) -> dict[str, Any]:
        return {"form": self.form, "live": self.live, "crash": self.crash}

    @property
    def descriptors(self) -> Sequence[int]:
        return self.file

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"dump-core": cls._read}

    @classmethod
    def _read(cls, request: Request) -> Self:
        files = request.get("descriptors", [])
        form = argument(request, "form", str)
        if len(files) != 1:
            raise ConfigError("the request comes with no file to write to")
        if form not in {one.value for one in CoreFormat}:
            raise ConfigError(f"a core is of the form {' or '.join(one.value for one in CoreFormat)}, not '{form}'")
        return cls(files, form, argument(request, "live", bool), argument(request, "crash", bool))
