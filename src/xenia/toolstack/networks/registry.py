"""The networks of this user that run, by name: each a process with a socket in $XDG_RUNTIME_DIR/xenia/net.

NAME is one that `xenia net create` left running, GUEST@PROCESS the private one of a guest's card number 0, and
GUEST:NUMBER@PROCESS that of another card.  A process takes its socket away when it ends; one that was killed leaves it,
and whoever finds it takes it away.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xenia.errors import ConfigError
from xenia.net.service.client import NetworkClient, find_network, kill_network
from xenia.toolstack.runtime import runtime_directory

OF_A_GUEST, OF_A_CARD = "@", ":"  # in the names of private ones
_LONGEST_PATH = 107  # struct sockaddr_un


def private_name(guest: str, process: int, card: int = 0) -> str:
    """What the network of a guest's own is called, of its process (or the daemon's number for it) and of the card."""
    return f"{guest}{f'{OF_A_CARD}{card}' if card else ''}{OF_A_GUEST}{process}"


def listen(name: str) -> socket.socket:
    """A socket on which a new network of that name is asked.  ConfigError where one runs already."""
    folder = runtime_directory("net")
    path = folder / name
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ConfigError(f"the path of a socket is too long: {path} (set XDG_RUNTIME_DIR to a shorter one)")
    listener = socket.socket(socket.AF_UNIX)
    try:
        with _held(folder):
            if _answers(path):
                raise ConfigError(f"there is a network '{name}' already (xenia net delete {name})")
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {path}: {error.strerror}") from None
    except BaseException:
        listener.close()
        raise
    return listener


def names() -> list[str]:
    """Those that run."""
    folder = runtime_directory("net")
    with _held(folder):
        return sorted(path.name for path in folder.iterdir() if _answers(path))


def find(name: str) -> NetworkClient:
    """The network of that name, or the private one of the guest that is called so, or of its card: `web`, its process,
    or `web:1`.  ConfigError where there is none, or more than one, or it does not answer."""
    return find_network(_path(name))


def kill(name: str) -> None:
    """End the process of the same, which does not do so when it is asked.  ConfigError."""
    path = _path(name)
    kill_network(path)
    with _held(path.parent):
        _answers(path)


def left_behind(name: str) -> bool:
    """Whether there is the socket of a network of that name that was killed; then it was taken away."""
    folder = runtime_directory("net")
    with _held(folder):
        return any(path.name == name and not _answers(path) for path in folder.iterdir())


def _path(name: str) -> Path:
    running = names()
    found = [name] if name in running else [one for one in running if name in _short(one)]
    if len(found) > 1:
        guests = {one.rpartition(OF_A_GUEST)[2] for one in found}
        more = f"more than one guest '{name}' has a network" if len(guests) > 1 else f"'{name}' has several networks"
        raise ConfigError(f"{more}: say which ({', '.join(found)})")
    if not found:
        others = f"running: {', '.join(running)}" if running else f"none is running: xenia net create {name}"
        raise ConfigError(f"no network '{name}' is running ({others})")
    return runtime_directory("net") / found[0]


def _short(name: str) -> tuple[str, ...]:
    """What a private network may be called besides."""
    whose, private, process = name.partition(OF_A_GUEST)
    return (whose, whose.partition(OF_A_CARD)[0], process) if private else ()


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Nobody else makes or takes away a socket meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _answers(path: Path) -> bool:
    """Whether somebody listens there; the socket of one that was killed is taken away."""
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(str(path))
        except BlockingIOError:
            return True  # many ask just now
        except ConnectionRefusedError:
            with suppress(OSError):
                path.unlink()
            return False
        except OSError:
            return False
    return True
