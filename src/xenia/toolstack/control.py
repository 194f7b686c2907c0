"""A machine that runs can be asked, by others of the same user, over a socket of its own.

Each `xenia run` has one, NAME.PID in $XDG_RUNTIME_DIR/xenia, or else in a directory of the user's among the temporary
files.  A line of JSON asks, `{"verb": "statistics"}`, and a line of JSON answers: `{"answer": ...}` or
`{"error": "..."}`.  Sockets that nobody answers are left from processes that were killed, and are taken away.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from xenia.errors import ConfigError

_log = logging.getLogger(__name__)

_LONGEST_REQUEST = 4096
_PATIENCE = 5.0  # seconds for either end to say its line


def runtime_directory() -> Path:
    """Where the sockets are; made when it is not there.  ConfigError when it is somebody else's or cannot be made."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    own = os.path.isabs(base) and os.access(base, os.W_OK)
    path = Path(base, "xenia") if own else Path(tempfile.gettempdir(), f"xenia-run-{os.getuid()}")
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        if path.is_symlink() or path.stat().st_uid != os.getuid():
            raise ConfigError(f"{path} belongs to someone else; set XDG_RUNTIME_DIR to a directory of yours")
    except OSError as error:
        raise ConfigError(f"cannot make {path}: {error.strerror} (set XDG_RUNTIME_DIR)") from None
    return path


class _Handler(socketserver.StreamRequestHandler):
    timeout = _PATIENCE

    def handle(self) -> None:
        with suppress(OSError):  # the client left
            line = self.rfile.readline(_LONGEST_REQUEST)
            assert isinstance(self.server, ControlServer)
            self.wfile.write(json.dumps(self.server.reply(line)).encode() + b"\n")


class ControlServer(socketserver.ThreadingUnixStreamServer):
    """Answers `verbs` by calling them, each on a thread of its own, until it is closed."""

    daemon_threads = True

    def __init__(self, name: str, verbs: Mapping[str, Callable[[], object]]) -> None:
        """ConfigError when there is no place for the socket."""
        self._path = runtime_directory() / f"{name}.{os.getpid()}"
        self._verbs = verbs
        try:
            self._path.unlink(missing_ok=True)  # of another process that had our number
            super().__init__(str(self._path), _Handler)
        except OSError as error:
            raise ConfigError(f"cannot listen on {self._path}: {error.strerror or error}") from None
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="control", daemon=True)
        self._thread.start()

    def reply(self, line: bytes) -> dict[str, object]:
        """The answer to one line; whatever it holds, it is answered."""
        try:
            request = json.loads(line)
            verb = request["verb"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"error": "a request is a line of JSON with a verb"}
        call = self._verbs.get(verb) if isinstance(verb, str) else None
        if call is None:
            return {"error": f"no such verb; there are {', '.join(self._verbs)}"}
        try:
            return {"answer": call()}
        except ConfigError as error:
            return {"error": str(error)}

    def handle_error(self, request: object, client_address: object) -> None:
        _log.exception("a request over %s failed", self._path)

    def close(self) -> None:
        """Answer nobody any more, and take the socket away."""
        self._path.unlink(missing_ok=True)
        self.shutdown()
        self._thread.join()
        self.server_close()


def ask(verb: str, guest: str | None = None) -> list[dict[str, Any]]:
    """What each guest that runs, or those of one name or process number, answer; `pid` in each says whose it is.

    ConfigError when no such guest runs.
    """
    answers = []
    names = []
    for path in sorted(_sockets()):
        name, _, pid = path.name.rpartition(".")
        if (reply := _ask_one(path, verb)) is None:
            continue
        names.append(name)
        if guest in (None, name, pid):
            if "error" in reply:
                raise ConfigError(f"guest '{name}' ({pid}): {reply['error']}")
            answers.append({"pid": int(pid), **reply["answer"]})
    if guest is not None and not answers:
        running = f"running: {', '.join(names)}" if names else "none is running"
        raise ConfigError(f"no guest '{guest}' is running ({running})")
    return answers


def _sockets() -> Iterator[Path]:
    for path in runtime_directory().iterdir():
        if path.name.rpartition(".")[2].isdigit() and path.is_socket():
            yield path


def _ask_one(path: Path, verb: str) -> dict[str, Any] | None:
    """The reply of one process; None when it is gone."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_PATIENCE)
        try:
            client.connect(str(path))
            client.sendall(json.dumps({"verb": verb}).encode() + b"\n")
            with client.makefile("rb") as answer:
                reply = json.loads(answer.readline())
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return None
        except (OSError, ValueError):
            return None  # ends just now
    return reply if isinstance(reply, dict) else None
