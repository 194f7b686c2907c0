"""A machine that runs can be asked, by others of the same user, over a socket of its own.

Each `xenia run` has one, NAME.PID in $XDG_RUNTIME_DIR/xenia, or else in a directory of the user's among the temporary
files; the daemon has one for all its domains, `daemon`, and a request's `domain` says which is meant.  A line of JSON
asks, `{"verb": "statistics"}` with what else the verb needs, and a line of JSON answers: `{"answer": ...}` or
`{"error": "..."}`, of the daemon with its `build` beside.  Files that the guest is to use come with the line as open
descriptors, for its process opens none.  A process that was killed leaves its socket; the next one that finds it takes
it away.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xenia.errors import ConfigError, refusal_of_host
from xenia.toolstack.config.device import MOST_DESCRIPTORS
from xenia.toolstack.runtime import runtime_directory

_log = logging.getLogger(__name__)

_LONGEST_REQUEST = 65536
_BACKLOG = 128  # clients that ask at once
_UCRED = struct.Struct("=iII")  # linux/socket.h: process, user, group
_PATIENCE = 5.0  # seconds for a client to say its line, and for a guest to answer


Handler = Callable[[Mapping[str, Any]], object]
"""Carries out a request, and returns what JSON can say.  It may raise ConfigError."""


class ControlServer:
    """Answers `verbs` by calling them, each on a thread of its own, from `start` until it is closed.

    Nobody but this user is answered, whoever else may reach the socket.
    """

    def __init__(
        self, name: str, verbs: Mapping[str, Handler], path: Path | None = None, build: str | None = None
    ) -> None:
        """path    where the socket is; None: where one of a guest of that name in this process is looked for
        build   is told with each refusal

        ConfigError when there is no place for it.
        """
        self.path = path if path is not None else runtime_directory() / f"{name}.{os.getpid()}"
        self._verbs = verbs
        self._refused = {} if build is None else {"build": build}
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self.path.unlink(missing_ok=True)  # of another process that had our number
            self._listener.bind(str(self.path))
            self.path.chmod(0o600)
            self._listener.listen(_BACKLOG)
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
            if not _is_ours(client):
                client.close()
                continue
            threading.Thread(target=self._answer, args=(client,), name="control", daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, suppress(OSError):  # who asked may leave
            client.settimeout(_PATIENCE)
            with _received(client) as (line, descriptors):
                reply = self.reply(line, descriptors)
            if "error" in reply:
                reply |= self._refused
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
        except Exception as failure:
            if (refusal := refusal_of_host(failure)) is not None:
                return {"error": str(refusal)}
            _log.exception("%s failed", verb)
            return {"error": f"{verb} failed by a fault in Xenia; what it says of it is where the guest was started"}

    def close(self) -> None:
        """Answer nobody any more, and take the socket away."""
        self.path.unlink(missing_ok=True)
        self._listener.shutdown(socket.SHUT_RDWR)  # which ends `accept`
        if self._thread.ident is not None:
            self._thread.join()
        self._listener.close()


def daemon_path() -> Path:
    """Where the daemon of this user listens."""
    return runtime_directory() / "daemon"


def _is_ours(client: socket.socket) -> bool:
    """Whether somebody of this user asks."""
    _, user, _ = _UCRED.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return bool(user == os.getuid())


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
