"""Who asks guests that run, over their control sockets: those of `xenia run`, and the daemon's domains."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from xenia.errors import ConfigError
from xenia.toolstack.control.build import build
from xenia.toolstack.control.control import daemon_path
from xenia.toolstack.runtime import runtime_directory

_PATIENCE = 5.0  # seconds for a guest to answer
_SHORT = 2.0  # seconds for each of many
_has_answered = threading.Event()  # the daemon, to this process


class NoSuchGuest(ConfigError):
    """Nobody of that name runs."""


class Answers(NamedTuple):
    """What guests answered, and why others did not, in a line for each."""

    answers: list[dict[str, Any]]
    silent: list[str]


@dataclass(frozen=True)
class Place:
    """Where one guest answers.

    path    the socket, of its own process or of the daemon
    pid     that process
    domid   of the daemon's domain; None: the guest has the process for itself
    """

    path: Path
    name: str
    pid: int
    domid: int | None = None

    @property
    def number(self) -> int:
        """The guest's number for an operator: the domain's, or that of its process."""
        return self.pid if self.domid is None else self.domid

    def __str__(self) -> str:
        return f"guest '{self.name}' ({self.number})"

    def starter(self, streams: Sequence[str], files: Sequence[int]) -> None:
        """Have it run a command: `toolstack/commands/process.py`'s Starter."""
        self.ask("exec", descriptors=files, streams=streams)

    def is_answered(self) -> bool:
        """Whether the process is there; its socket is taken away otherwise."""
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            try:
                client.connect(str(self.path))
            except ConnectionRefusedError:
                self.path.unlink(missing_ok=True)
                return False
            except BlockingIOError:
                return True  # too many wait for it already
            except OSError:
                return False  # ends just now
        return True

    def ask(self, verb: str, *, patience: float = _PATIENCE, descriptors: Sequence[int] = (), **request: object) -> Any:
        """What it answers to a verb.  NoSuchGuest where it has ended; ConfigError where it refuses, or does not answer
        in so many seconds."""
        address = {} if self.domid is None else {"domain": self.domid}
        try:
            reply = _exchange(self.path, {"verb": verb, **address, **request}, patience, descriptors)
        except (TimeoutError, BlockingIOError):
            raise ConfigError(f"{self} does not answer") from None
        except OSError:
            raise NoSuchGuest(f"{self} has just ended") from None
        if self.domid is not None:
            _has_answered.set()
        if "error" in reply:
            raise ConfigError(f"{self}: {reply['error']}{'' if self.domid is None else _whose_fault(reply)}")
        return reply["answer"]


def _exchange(path: Path, request: Mapping[str, object], patience: float, descriptors: Sequence[int]) -> dict[str, Any]:
    """The reply, which has an `answer` or an `error`.  OSError where there is none; ConfigError where it is no such."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(patience)
        client.connect(str(path))
        line = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(client, [line], descriptors) if descriptors else 0
        if sent < len(line):  # who has it all may have answered, and be gone
            client.sendall(line[sent:])
        with client.makefile("rb") as answer:
            line = answer.readline()
    if not line.endswith(b"\n"):
        raise ConnectionResetError("it has ended")
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict) or not {"answer", "error"} & reply.keys():
        raise ConfigError(f"what answers at {path} makes no sense")
    return reply


def ask_daemon(verb: str, *, patience: float = _PATIENCE, descriptors: Sequence[int] = (), **request: object) -> Any:
    """What the daemon of this user answers.  NoSuchGuest where there is none; ConfigError where it refuses."""
    try:
        reply = _exchange(daemon_path(), {"verb": verb, **request}, patience, descriptors)
    except (TimeoutError, BlockingIOError):
        raise ConfigError("the daemon does not answer") from None
    except FileNotFoundError:
        raise NoSuchGuest("no daemon is running (xenia daemon)") from None
    except OSError:
        raise NoSuchGuest("no daemon is running any more (xenia daemon)") from None
    _has_answered.set()
    if "error" in reply:
        raise ConfigError(f"{reply['error']}{_whose_fault(reply)}")
    return reply["answer"]


def has_answered() -> bool:
    """Whether the daemon has said something to this process."""
    return _has_answered.is_set()


def other_build() -> str | None:
    """What to do about the daemon that runs, where it is of another build of Xenia than this process."""
    try:
        reply = _exchange(daemon_path(), {"verb": "about"}, _SHORT, ())
    except (OSError, ConfigError):
        return None
    if "error" in reply:
        return None
    about = reply["answer"]
    if not isinstance(about, dict) or "build" not in about:
        return f"what answers at {daemon_path()} is no daemon of Xenia's, or of a much older build"
    if about["build"] == build():
        return None
    return (
        f"the daemon (process {about.get('pid')}) is of another build of Xenia: 'xenia daemon --stop' ends it "
        "(--force: with its domains), and the next client starts one of this build"
    )


def _whose_fault(refusal: Mapping[str, object]) -> str:
    """Behind what the daemon says when it refuses, which tells its build, but for older ones."""
    return "" if refusal.get("build") == build() or (line := other_build()) is None else f" ({line})"


def places() -> list[Place]:
    """Where every guest answers: the daemon's domains by their numbers, then those of `xenia run` by their names.
    ConfigError where the daemon runs and does not answer."""
    return [*_of_the_daemon(), *_runs()]


def find(guest: str | None) -> list[Place]:
    """The guests that run, or those of one number, a domain's or a process's, or else of one name.  NoSuchGuest when
    there is no such one; ConfigError when it may be the daemon's, which does not answer."""
    running = _runs()
    try:
        running = [*_of_the_daemon(), *running]
    except ConfigError:  # the guests of `xenia run` are there, whatever has become of the daemon
        if guest is None or not any(guest in (one.name, str(one.number)) for one in running):
            raise
    found = [one for one in running if guest in (None, str(one.number))] or [
        one for one in running if one.name == guest
    ]
    if guest is not None and not found:
        names = f"running: {', '.join(one.name for one in running)}" if running else "none is running"
        raise NoSuchGuest(f"no guest '{guest}' is running ({names})")
    return found


def find_one(guest: str) -> Place:
    """The one that is meant.  ConfigError when there is none or more than one."""
    found = find(guest)
    if len(found) > 1:
        numbers = ", ".join(str(one.number) for one in found)
        raise ConfigError(f"more than one guest '{guest}' is running; say which by its process: {numbers}")
    return found[0]


def process_of(name: str) -> int | None:
    """The process of a guest of that name that runs, if there is one."""
    with suppress(ConfigError):
        return next((one.pid for one in find(name) if one.name == name), None)
    return None


def ask_all(verb: str, guest: str | None = None, *, patience: float = _SHORT, **request: Any) -> Answers:
    """What each guest that runs, or those of one name or number, answer; `pid` in each says whose it is, and `number`
    which it is for an operator.

    All are asked at once, and none is waited for longer than `patience` seconds.  ConfigError when no such guest runs.
    """
    found = find(guest)
    answers: dict[Place, dict[str, Any]] = {}
    silent: dict[Place, str] = {}

    def ask_one(one: Place) -> None:
        try:
            answers[one] = {"pid": one.pid, "number": one.number, **one.ask(verb, patience=patience, **request)}
        except ConfigError as error:
            silent[one] = str(error)

    threads = [threading.Thread(target=ask_one, args=(one,), daemon=True) for one in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Answers([answers[one] for one in found if one in answers], [silent[one] for one in found if one in silent])


def ask(
    guest: str, verb: str, *, patience: float = _PATIENCE, descriptors: Sequence[int] = (), **request: object
) -> Any:
    """What the one guest of that name or number answers.

    patience      seconds that it may take
    descriptors   what it is to have a copy of, MOST_DESCRIPTORS at the most

    ConfigError when there is none or more than one, and when it refuses.
    """
    return find_one(guest).ask(verb, patience=patience, descriptors=descriptors, **request)


def _runs() -> list[Place]:
    paths = sorted(path for path in runtime_directory().iterdir() if path.name.rpartition(".")[2].isdigit())
    named = ((path, *path.name.rpartition(".")) for path in paths)
    return [one for path, name, _, pid in named if (one := Place(path, name, int(pid))).is_answered()]


def _of_the_daemon() -> list[Place]:
    try:
        rows = ask_daemon("domains")
    except NoSuchGuest:
        return []
    return [Place(daemon_path(), row["name"], row["pid"], row["domid"]) for row in rows]
