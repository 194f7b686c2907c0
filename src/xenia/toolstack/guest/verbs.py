"""What can be done with a guest: verbs, which are values.

A verb carries its name, its arguments and the states in which it is legal; `Guest.do` refuses it in any other.  One
that may come from another process (`RemoteVerb`) has a form in JSON, too, and both ends of the control socket are made
of that.  Those that make domains are in `build.py`: nothing here needs a machine to be imported.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from xenia.errors import ConfigError
from xenia.shutdown import Shutdown
from xenia.storage.door import handed
from xenia.toolstack.config.device import DeviceConfig
from xenia.toolstack.devices.kinds import KINDS, read_config
from xenia.toolstack.guest.state import State
from xenia.toolstack.machine.hypervisor_log import newest
from xenia.toolstack.releases import Releases

if TYPE_CHECKING:
    from xenia.toolstack.guest.guest import Guest

R = TypeVar("R")
T = TypeVar("T")

PATIENCE = 10.0  # seconds for a guest to let go of a device
_MARGIN = 10.0  # and for the answer to come
_SHORT = 5.0

Request = Mapping[str, Any]


class Verb(ABC, Generic[R]):
    """Something to do with a guest.

    legal   the states in which it can be done
    alone   whether it waits until others that are alone have been carried out.  One that waits for the guest, or only
            looks, is not
    """

    legal: ClassVar[frozenset[State]]
    alone: ClassVar[bool] = True

    @property
    @abstractmethod
    def name(self) -> str:
        """Completes: cannot ... guest 'web'."""

    @abstractmethod
    def begin(self, guest: Guest) -> Callable[[], R]:
        """The rest of it, which may take long.  `guest.state` is a legal one, and does not change before this returns.

        `Guest.do` is the only caller.
        """


class RemoteVerb(Verb[R]):
    """One that another process may ask for; what it answers is plain data.

    word        what it is called there; of some verbs each kind of devices has its own
    patience    seconds that the answer may take
    """

    patience: ClassVar[float] = _SHORT

    @property
    @abstractmethod
    def word(self) -> str: ...

    def request(self) -> dict[str, Any]:
        """The arguments, as JSON can say them."""
        return {}

    @property
    def descriptors(self) -> Sequence[int]:
        """Open files that go with the request."""
        return ()

    @classmethod
    @abstractmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        """By word: what makes the verb of a request, which may say anything.  ConfigError where that cannot be."""


# --- A guest's life


@dataclass(frozen=True)
class Start(Verb[None]):
    """Let the vcpu run, on a host thread of its own.  Legal when built."""

    legal = frozenset({State.BUILT})
    name = "start"

    def begin(self, guest: Guest) -> Callable[[], None]:
        return partial(self._start, guest)

    def _start(self, guest: Guest) -> None:
        guest.show_window()
        guest.require_domain().start()
        guest.become(State.RUNNING)


@dataclass(frozen=True)
class Wait(Verb[Shutdown | None]):
    """Wait until the guest shuts down, at most `timeout` seconds (None: for ever).  Legal when running or shut down.

    Returns how it ended, with all it had to say brought out, or None when it still runs.
    """

    timeout: float | None = None

    legal = frozenset({State.RUNNING, State.SHUTDOWN})
    name = "wait"
    alone = False

    def begin(self, guest: Guest) -> Callable[[], Shutdown | None]:
        return partial(guest.require_domain().wait, self.timeout)


@dataclass(frozen=True)
class Destroy(Verb[None]):
    """Stop the guest where it stands and give its memory back.  Legal always; destroying twice is nothing.

    A machine of its own goes, too, unless it has other domains.  ConfigError, with all that done, where a disk did not
    close cleanly.
    """

    legal = frozenset(State)
    name = "destroy"

    def begin(self, guest: Guest) -> Callable[[], None]:
        if guest.state is State.DESTROYED:
            return lambda: None
        return partial(self._destroy, guest)

    def _destroy(self, guest: Guest) -> None:
        guest.become(State.DESTROYED)
        with Releases() as releases:
            if guest.domain is not None:
                releases.do(guest.domain.destroy)
            if guest.owns_machine and guest.machine is not None and not guest.machine.domains:
                releases.do(guest.machine.close)


# --- Looking at it


@dataclass(frozen=True)
class Statistics(RemoteVerb[dict[str, Any]]):
    """Domain.statistics.  ConfigError while there is no domain."""

    legal = frozenset(State)
    name = "look at"
    word = "statistics"
    alone = False

    def begin(self, guest: Guest) -> Callable[[], dict[str, Any]]:
        domain = guest.domain
        if domain is None or domain.destroyed:
            raise ConfigError("it has no domain just now")
        return lambda: domain.statistics

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"statistics": lambda _: cls()}


@dataclass(frozen=True)
class Summary(RemoteVerb[dict[str, Any]]):
    """Domain.summary.  ConfigError while there is no domain."""

    legal = frozenset(State)
    name = "look at"
    word = "domain"
    alone = False

    def begin(self, guest: Guest) -> Callable[[], dict[str, Any]]:
        domain = guest.domain
        if domain is None or domain.destroyed:
            raise ConfigError("it has no domain just now")
        return lambda: domain.summary

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"domain": lambda _: cls()}


@dataclass(frozen=True)
class Dmesg(RemoteVerb[dict[str, Any]]):
    """The newest of Machine.dmesg that an answer has room for, and the guest's name.  ConfigError: no machine yet.

    clear       forget it then
    """

    clear: bool = False

    legal = frozenset(State)
    name = "look at"
    word = "dmesg"
    alone = False

    def begin(self, guest: Guest) -> Callable[[], dict[str, Any]]:
        machine = guest.machine
        if machine is None:
            raise ConfigError("it has no machine yet")

        def read() -> dict[str, Any]:
            lines = newest(machine.dmesg)
            if self.clear:
                machine.clear_dmesg()
            return {"name": guest.config.name, "lines": lines}

        return read

    def request(self) -> dict[str, Any]:
        return {"clear": self.clear}

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"dmesg": lambda request: cls(request.get("clear") is True)}


# --- Its devices


@dataclass(frozen=True)
class Handover:
    """Open files of another process's, by name.  Those that are not taken stay with whoever received them."""

    names: Sequence[str]
    descriptors: list[int]

    @contextmanager
    def taken(self) -> Iterator[None]:
        """What is opened within is taken from here; the rest is closed."""
        opened = list(zip(self.names, self.descriptors, strict=True))
        self.descriptors.clear()
        with handed(opened):
            yield


@dataclass(frozen=True)
class AttachDevice(RemoteVerb[str]):
    """Plug a device in.  Legal when built or running.  Returns the name that it has in the guest.

    files   what it stands on, opened by who asks; None: it is opened here

    ConfigError: it cannot be opened, or its name is taken.
    """

    config: DeviceConfig
    files: Handover | None = None

    legal = frozenset({State.BUILT, State.RUNNING})
    patience = _MARGIN

    @property
    def name(self) -> str:
        return f"attach a {KINDS[self.config.kind].what} to"

    def begin(self, guest: Guest) -> Callable[[], str]:
        return partial(self._attach, guest)

    def _attach(self, guest: Guest) -> str:
        with self.files.taken() if self.files is not None else nullcontext():
            return guest.require_domain().attach(self.config).name

    @property
    def word(self) -> str:
        return f"{KINDS[self.config.kind].verbs}-attach"

    def request(self) -> dict[str, Any]:
        names = list(self.files.names) if self.files is not None else []
        return {self.config.kind: self.config.as_dict(), "opened": names}

    @property
    def descriptors(self) -> Sequence[int]:
        return self.files.descriptors if self.files is not None else ()

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {f"{kind.verbs}-attach": partial(cls._read, name) for name, kind in KINDS.items() if kind.verbs}

    @classmethod
    def _read(cls, kind: str, request: Request) -> Self:
        config = read_config(kind, argument(request, kind, dict))
        names, descriptors = request.get("opened", []), request.get("descriptors", [])
        if (
            not isinstance(names, list)
            or len(names) != len(descriptors)
            or not all(isinstance(name, str) for name in names)
        ):
            raise ConfigError("the request has not a name for each descriptor")
        return cls(config, Handover(names, descriptors))


@dataclass(frozen=True)
class DetachDevice(RemoteVerb[None]):
    """Ask the guest to let go of a device, and take it away once it has.  Legal when built or running.

    ConfigError when it has not within `timeout` seconds: it is in use, say.  With `force` it is taken away then, and
    what the guest still asks of it are errors.
    """

    kind: str
    device: str
    timeout: float = PATIENCE
    force: bool = field(default=False, kw_only=True)

    legal = frozenset({State.BUILT, State.RUNNING})
    alone = False
    patience = PATIENCE + _MARGIN

    @property
    def name(self) -> str:
        return f"detach a {KINDS[self.kind].what} from"

    def begin(self, guest: Guest) -> Callable[[], None]:
        device = guest.device(self.kind, self.device)

        def detach() -> None:
            if device.unplug(self.timeout):
                return
            if not self.force:
                asked = f"the guest has not let go of {device.name} yet: it is asked to (--force takes it away)"
                raise ConfigError(asked)
            device.remove()

        return detach

    @property
    def word(self) -> str:
        return f"{KINDS[self.kind].verbs}-detach"

    def request(self) -> dict[str, Any]:
        return {"name": self.device, "force": self.force}

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {f"{kind.verbs}-detach": partial(cls._read, name) for name, kind in KINDS.items() if kind.verbs}

    @classmethod
    def _read(cls, kind: str, request: Request) -> Self:
        return cls(kind, argument(request, "name", str), force=argument(request, "force", bool))


@dataclass(frozen=True)
class ResizeDisk(RemoteVerb[int]):
    """Give a disk `size` bytes (None: as many as what is behind it has by now), which the guest sees at once.

    Legal when built or running.  Returns the size.  ConfigError when what is behind it cannot have that size, when
    that is no whole number of the disk's sectors, or without `shrink` where it is smaller than the one it had.
    """

    disk: str
    size: int | None = None
    shrink: bool = False

    legal = frozenset({State.BUILT, State.RUNNING})
    name = "resize a disk of"
    word = "block-resize"
    patience = _MARGIN

    def begin(self, guest: Guest) -> Callable[[], int]:
        return partial(self._resize, guest)

    def _resize(self, guest: Guest) -> int:
        disk = guest.disk(self.disk)
        layer = disk.layer
        try:
            if self.size is None:
                layer.refresh()
            else:
                self._check(layer.size, disk.config.sector_size, self.size)
                layer.resize(self.size)
        except OSError as error:
            raise ConfigError(f"cannot resize {self.disk}: {error.strerror or error}") from None
        return layer.size

    def _check(self, old: int, sector_size: int, new: int) -> None:
        if new % sector_size or not new:
            raise ConfigError(f"{self.disk} has sectors of {sector_size} bytes, and {new} bytes are no whole ones")
        if new < old and not self.shrink:
            raise ConfigError(f"{self.disk} has {old} bytes, and to cut it to {new} loses what is behind (--shrink)")

    def request(self) -> dict[str, Any]:
        return {"name": self.disk, "size": self.size, "shrink": self.shrink}

    @classmethod
    def readers(cls) -> dict[str, Callable[[Request], Self]]:
        return {"block-resize": cls._read}

    @classmethod
    def _read(cls, request: Request) -> Self:
        size = None if request.get("size") is None else argument(request, "size", int)
        return cls(argument(request, "name", str), size, request.get("shrink") is True)


REMOTE: tuple[type[RemoteVerb[Any]], ...] = (
    Statistics, Summary, Dmesg, AttachDevice, DetachDevice, ResizeDisk,
)  # fmt: skip


def argument(request: Request, name: str, kind: type[T]) -> T:
    """An argument of a request.  ConfigError where it is missing, or of another kind."""
    value = request.get(name)
    if not isinstance(value, kind):
        raise ConfigError(f"the request has no '{name}' that is {kind.__name__}")
    return value
