"""Where the daemon of this user is found, and what is left of one that was killed.

In $XDG_RUNTIME_DIR/xenia: `daemon` is its socket, `daemon.lock` is locked as long as it lives, and `daemon.json` says
which domains it has.  Whoever finds that and nobody who holds the lock knows that it was killed, and what went with it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xenia.errors import ConfigError
from xenia.toolstack.runtime import runtime_directory

_PAUSES = (0.01, 0.02, 0.05, 0.1)  # seconds until it is tried again to be the daemon
_GLANCE = 0.02  # seconds until it is looked again whether there is one


@dataclass(frozen=True)
class Killed:
    """A daemon that ended without a word: its process, and the domains that ended with it."""

    pid: int
    domains: tuple[str, ...]

    def __str__(self) -> str:
        lost = f"; its domains ended with it: {', '.join(self.domains)}" if self.domains else " with no domain"
        return f"the daemon (process {self.pid}) was killed{lost}"


def hold() -> int:
    """Be the user's one daemon: a descriptor that says so as long as it is open.  ConfigError where there is one."""
    descriptor = os.open(_lock_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _has_locked(descriptor):
        holder = os.pread(descriptor, 32, 0).decode().strip()
        os.close(descriptor)
        raise ConfigError(f"the daemon runs already, in process {holder or 'of an unknown number'}")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _has_locked(descriptor: int) -> bool:
    """Whether it could be had; `is_held` of another process has the lock, too, for a moment."""
    for pause in (*_PAUSES, None):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if pause is not None:
                time.sleep(pause)
        else:
            return True
    return False


def await_end(timeout: float) -> bool:
    """Wait until no daemon lives any more; whether that is so within so many seconds."""
    end = time.monotonic() + timeout
    while is_held():
        if time.monotonic() >= end:
            return False
        time.sleep(_GLANCE)
    return True


def is_held() -> bool:
    """Whether a daemon lives."""
    try:
        descriptor = os.open(_lock_path(), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def note(domains: list[dict[str, Any]]) -> None:
    """Say which domains the daemon has."""
    path = _state_path()
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"pid": os.getpid(), "domains": domains}))
    new.replace(path)


def forget() -> None:
    """The daemon ends as it should."""
    _state_path().unlink(missing_ok=True)


def killed() -> Killed | None:
    """The last daemon, where it was killed and no other has begun since."""
    if is_held():
        return None
    return left()


def left() -> Killed | None:
    """What a daemon left behind that did not take its leave.  For who holds the lock."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        state = json.loads(_state_path().read_text())
        return Killed(int(state["pid"]), tuple(str(domain["name"]) for domain in state["domains"]))
    return None


def _lock_path() -> Path:
    return runtime_directory() / "daemon.lock"


def _state_path() -> Path:
    return runtime_directory() / "daemon.json"
