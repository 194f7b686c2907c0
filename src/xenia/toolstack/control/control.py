"""A machine that runs can be asked, by others of the same user, over a socket of its own.

Each `xenia run` has one, NAME.PID in $XDG_RUNTIME_DIR/xenia, or else in a directory of the user's among the temporary
files.  A line of JSON asks, `{"verb": "statistics"}` with what else the verb needs, and a line of JSON answers:
`{"answer": ...}` or `{"error": "..."}`.  Files that the guest is to use come with the line as open descriptors, for its
process opens none.  A process that was killed leaves its socket; the next one that finds it takes
it away.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from xenia.errors import ConfigError
from xenia.toolstack.config.device import MOST_DESCRIPTORS
from xenia.toolstack.runtime import runtime_directory

_log = logging.getLogger(__name__)

_LONGEST_REQUEST = 65536
_PATIENCE = 5.0  # seconds for a client to say its line, and for a guest to answer
_SHORT = 2.0  # seconds for each of many


Handler = Callable[[Mapping[str, Any]], object]
"""Carries out a request, and returns what JSON can say.  It may raise ConfigError."""


class ControlServer:
    """Answers `verbs` by calling them, each on a thread of its own, from `start` until it is closed."""

    def __init__(self, name: str, verbs: Mapping[str, Handler]) -> None:
        """ConfigError when there is no place for the socket."""
        self.path = runtime_directory() / f"{name}.{os.getpid()}"
        self._verbs = verbs
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self.path.unlink(missing_ok=True)  # of another process that had our number
            self._listener.bind(str(self.path))
            self._listener.listen()
        except OSError as error:
            self._listener.close()
            raise ConfigError(f"cannot listen on {self.path}: {error.strerror or error}") from None
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def start(self) -> None:
        """Answer, on a thread of its own.  Who asked earlier has been waiting."""
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._answer, args=(client,), name="control", daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, suppress(OSError):  # who asked may leave
            client.settimeout(_PATIENCE)
            with _received(client) as (line, descriptors):
                reply = self.reply(line, descriptors)
            client.sendall(json.dumps(reply).encode() + b"\n")

    def reply(self, line: bytes, descriptors: list[int] | None = None) -> dict[str, object]:
        """The answer to one line, whatever it holds.  A verb finds the `descriptors` that came with it under that name
        in the request, and takes out those that it keeps."""
        try:
            request = json.loads(line)
            verb = request["verb"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"error": "a request is a line of JSON with a verb"}
        call = self._verbs.get(verb) if isinstance(verb, str) else None
        if call is None:
            return {"error": f"no such verb; there are {', '.join(self._verbs)}"}
        try:
            return {"answer": call({**request, "descriptors": [] if descriptors is None else descriptors})}
        except ConfigError as error:
            return {"error": str(error)}
        except Exception:
            _log.exception("%s failed", verb)
            return {"error": f"{verb} failed by a fault in Xenia; what it says of it is where the guest was started"}

    def close(self) -> None:
        """Answer nobody any more, and take the socket away."""
        self.path.unlink(missing_ok=True)
        self._listener.shutdown(socket.SHUT_RDWR)  # which ends `accept`
        if self._thread.ident is not None:
            self._thread.join()
        self._listener.close()


@contextmanager
def _received(client: socket.socket) -> Iterator[tuple[bytes, list[int]]]:
    """A line, and the descriptors that came with it; those that are left in the list are closed."""
    line, descriptors = b"", list[int]()
    try:
        while b"\n" not in line and len(line) < _LONGEST_REQUEST:
            data, more, _, _ = socket.recv_fds(client, _LONGEST_REQUEST, MOST_DESCRIPTORS)
            descriptors += more
            if not data:
                break
            line += data
        yield line.partition(b"\n")[0], descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


class Answers(NamedTuple):
    """What guests answered, and why others did not, in a line for each."""

    answers: list[dict[str, Any]]
    silent: list[str]


def process_of(name: str) -> int | None:
    """The process of a guest of that name that runs, if there is one."""
    with suppress(ConfigError):
        return next((one.pid for one in _find(name) if one.name == name), None)
    return None


def ask_all(verb: str, guest: str | None = None, *, patience: float = _SHORT) -> Answers:
    """What each guest that runs, or those of one name or process number, answer; `pid` in each says whose it is.

    All are asked at once, and none is waited for longer than `patience` seconds.  ConfigError when no such guest runs.
    """
    found = _find(guest)
    answers: dict[int, dict[str, Any]] = {}
    silent: dict[int, str] = {}

    def ask_one(one: _Socket) -> None:
        try:
            answers[one.pid] = {"pid": one.pid, **one.ask({"verb": verb}, patience)}
        except ConfigError as error:
            silent[one.pid] = str(error)

    threads = [threading.Thread(target=ask_one, args=(one,), daemon=True) for one in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    order = [one.pid for one in found]
    return Answers([answers[pid] for pid in order if pid in answers], [silent[pid] for pid in order if pid in silent])


def ask(
    guest: str, verb: str, *, patience: float = _PATIENCE, descriptors: Sequence[int] = (), **request: object
) -> Any:
    """What the one guest of that name or process number answers.

    patience      seconds that it may take
    descriptors   what it is to have a copy of, MOST_DESCRIPTORS at the most

    ConfigError when there is none or more than one, and when it refuses.
    """
    found = _find(guest)
    if len(found) > 1:
        pids = ", ".join(str(one.pid) for one in found)
        raise ConfigError(f"more than one guest '{guest}' is running; say which by its process: {pids}")
    return found[0].ask({"verb": verb, **request}, patience, descriptors)


class _Socket:
    """Where one guest answers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name, _, pid = path.name.rpartition(".")
        self.pid = int(pid)

    def is_answered(self) -> bool:
        """Whether the process is there; its socket is taken away otherwise."""
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            try:
                client.connect(str(self._path))
            except ConnectionRefusedError:
                self._path.unlink(missing_ok=True)
                return False
            except BlockingIOError:
                return True  # too many wait for it already
            except OSError:
                return False  # ends just now
        return True

    def ask(self, request: Mapping[str, object], patience: float = _PATIENCE, descriptors: Sequence[int] = ()) -> Any:
        whose = f"guest '{self.name}' ({self.pid})"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(patience)
            try:
                client.connect(str(self._path))
                line = json.dumps(request).encode() + b"\n"
                sent = socket.send_fds(client, [line], descriptors) if descriptors else 0
                client.sendall(line[sent:])
                with client.makefile("rb") as answer:
                    reply = json.loads(answer.readline())
            except (TimeoutError, BlockingIOError):
                raise ConfigError(f"{whose} does not answer") from None
            except (OSError, ValueError):
                raise ConfigError(f"{whose} has just ended") from None
        if "error" in reply:
            raise ConfigError(f"{whose}: {reply['error']}")
        return reply["answer"]


def _find(guest: str | None) -> list[_Socket]:
    """The guests that run, or those of one name or process number.  ConfigError when there is no such one."""
    paths = sorted(path for path in runtime_directory().iterdir() if path.name.rpartition(".")[2].isdigit())
    running = [one for one in map(_Socket, paths) if one.is_answered()]
    found = [one for one in running if guest in (None, one.name, str(one.pid))]
    if guest is not None and not found:
        names = f"running: {', '.join(one.name for one in running)}" if running else "none is running"
        raise ConfigError(f"no guest '{guest}' is running ({names})")
    return found
